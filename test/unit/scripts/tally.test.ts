import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'

const tally = fileURLToPath(new URL('../../../scripts/tally.mjs', import.meta.url))
let dir: string
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'kms-tally-'))
})
afterAll(() => rm(dir, { recursive: true, force: true }))

const runTally = (report: string, checks: string, tests: string): Promise<readonly [string, number]> =>
  new Promise((resolve) => {
    const child = execFile(process.execPath, [tally, report, checks, tests], (_, stdout) => {
      resolve([stdout, child.exitCode ?? -1])
    })
  })

const file = (status: string, assertions: number) => ({ status, assertionResults: Array.from({ length: assertions }) })

test.each([
  [
    'all is well',
    { numPassedTests: 3, numFailedTests: 0, testResults: [file('passed', 3)] },
    '0',
    '0',
    '4 passed, 0 failed\n',
    0,
  ],
  [
    'a test failed',
    { numPassedTests: 2, numFailedTests: 1, testResults: [file('failed', 3)] },
    '0',
    '1',
    '3 passed, 1 failed\n',
    1,
  ],
  [
    'a check failed',
    { numPassedTests: 3, numFailedTests: 0, testResults: [file('passed', 3)] },
    '1',
    '0',
    '3 passed, 1 failed\n',
    1,
  ],
  [
    'a file could not be loaded',
    { numPassedTests: 3, numFailedTests: 0, testResults: [file('passed', 3), file('failed', 0)] },
    '0',
    '1',
    '4 passed, 1 failed\n',
    1,
  ],
  [
    'the run failed without a failed test',
    { numPassedTests: 3, numFailedTests: 0, testResults: [file('passed', 3)] },
    '0',
    '124',
    '4 passed, 1 failed\n',
    1,
  ],
  ['no test ran', { numPassedTests: 0, numFailedTests: 0, testResults: [] }, '0', '0', '1 passed, 1 failed\n', 1],
])('the tally when %s', async (_, report, checks, tests, line, exitCode) => {
  const path = join(dir, 'report.json')
  await writeFile(path, JSON.stringify(report))
  expect(await runTally(path, checks, tests)).toEqual([line, exitCode])
})

test('the tally when the runner wrote no report', async () => {
  expect(await runTally(join(dir, 'none.json'), '0', '1')).toEqual(['1 passed, 1 failed\n', 1])
})
