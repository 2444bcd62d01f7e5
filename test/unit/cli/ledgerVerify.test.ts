import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { runCli } from '../../../src/cli/program.ts'
import { formatProgress, showProgress } from '../../../src/cli/progress.ts'
import { decodeCommit } from '../../../src/core/commit.ts'
import { formatExportLine } from '../../../src/verify/exportLine.ts'
import { formatVkey } from '../../../src/verify/vkey.ts'
import { createSampleHistory } from '../../fixtures/ledgerHistory.ts'
import { NO_SERVICES } from '../../fixtures/noServices.ts'

const { messages, pin } = createSampleHistory(9)
const lines = messages.map((message) => `${formatExportLine(message)}\n`)
const hashAt = (seq: number): string => {
  const decoded = decodeCommit(messages[seq - 1]?.payload ?? Buffer.alloc(0))
  return decoded.ok ? Buffer.from(decoded.value.hash).toString('hex') : ''
}

let dir: string
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'kms-verify-'))
})
afterEach(() => rm(dir, { recursive: true, force: true }))

const verify = async (...more: readonly string[]) => {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()]
  const env = { KMS_DATA_DIR: join(dir, 'data'), KMS_NATS_PORT: '1', KMS_HTTP_PORT: '1' }
  const terminal = { stdin: Readable.from([]), stdout, stderr, showsProgress: false, env, root: dir }
  const code = await runCli(['ledger', 'verify', '--root-key', formatVkey(pin), ...more], terminal, NO_SERVICES)
  return { code, stdout: String(stdout.read() ?? ''), stderr: String(stderr.read() ?? '') }
}

describe('ledger verify --resume', () => {
  test('goes on where the run ended that wrote the file, and says so', async () => {
    const [file, state] = [join(dir, 'ledger.jsonl'), join(dir, 'state.json')]
    await writeFile(file, lines.slice(0, 7).join(''))
    expect(await verify('--file', file, '--resume', state)).toMatchObject({ code: 1 })
    await writeFile(file, lines.join(''))
    const anchor = `12:${hashAt(12)}`
    const resumed = await verify('--file', file, '--resume', state, '--anchor', anchor, '--json')
    expect(resumed.code).toBe(0)
    expect(JSON.parse(resumed.stdout)).toMatchObject({ resumed_after: 7, last_seq: 12, commits: 12 })
    expect((await verify('--file', file, '--resume', state)).stdout).toMatch(/^resumed after 12,/)
  })

  test('leaves the file as it was when the verdict is FAIL', async () => {
    const [file, state] = [join(dir, 'ledger.jsonl'), join(dir, 'state.json')]
    await writeFile(file, lines.slice(0, 7).join(''))
    await verify('--file', file, '--resume', state)
    const before = await readFile(state, 'utf8')
    await writeFile(file, lines.toSpliced(8, 1).join(''))
    expect(await verify('--file', file, '--resume', state)).toMatchObject({ code: 2 })
    expect(await readFile(state, 'utf8')).toBe(before)
  })

  test('could not run with an anchor of an earlier size, or a file of another kind', async () => {
    const [file, state] = [join(dir, 'ledger.jsonl'), join(dir, 'state.json')]
    await writeFile(file, lines.join(''))
    await verify('--file', file, '--resume', state)
    const early = await verify('--file', file, '--resume', state, '--anchor', `4:${hashAt(4)}`)
    expect(early).toMatchObject({ code: 3, stderr: expect.stringContaining('lies before 12') })
    await writeFile(state, '{}')
    expect(await verify('--file', file, '--resume', state)).toMatchObject({ code: 3 })
  })
})

describe('ledger verify of an archive', () => {
  test('reads all segments of the directory in order', async () => {
    await mkdir(join(dir, 'archive'))
    for (const [index, part] of [lines.slice(0, 4), lines.slice(4, 9), lines.slice(9)].entries())
      await writeFile(join(dir, 'archive', `0000000${index + 1}.jsonl`), part.join(''))
    const anchored = await verify('--file', join(dir, 'archive'), '--anchor', `12:${hashAt(12)}`)
    expect(anchored).toMatchObject({ code: 0, stdout: expect.stringContaining('ok to 12, anchored by --anchor') })
    await rm(join(dir, 'archive', '00000002.jsonl'))
    expect(await verify('--file', join(dir, 'archive'))).toMatchObject({
      ...{ code: 2, stdout: expect.stringContaining('FAIL at 5: the messages 5 to 9 are missing') },
    })
  })

  test('could not run where there is no segment, or a checkpoint that is none', async () => {
    expect(await verify('--file', dir)).toMatchObject({ code: 3, stderr: expect.stringContaining('no segment') })
    await writeFile(join(dir, '00000001.jsonl'), lines.join(''))
    await writeFile(join(dir, '00000001.checkpoint'), 'no note')
    expect(await verify('--file', dir)).toMatchObject({ code: 3 })
  })

  test('could not run with a witness key that is none', async () => {
    await writeFile(join(dir, '00000001.jsonl'), lines.join(''))
    for (const key of ['nonsense', formatVkey(pin)])
      expect(await verify('--file', dir, '--witness-key', key)).toMatchObject({ code: 3 })
  })
})

describe('progress', () => {
  test('is a bar with rate and time left, or a count where the end is not known', () => {
    expect(formatProgress({ what: 'verifying', done: 250, total: 1000 }, 5)).toBe(
      'verifying [########......................] 25 %, 5/s, 2 min 30 s left',
    )
    expect(formatProgress({ what: 'verifying', done: 1000, total: 1000 }, 12_345)).toBe(
      `verifying [${'#'.repeat(30)}] 100 %, 12,345/s, 0 s left`,
    )
    expect(formatProgress({ what: 'verifying', done: 1234 }, 7)).toBe('verifying 1,234, 7/s')
  })

  test('is silent where nobody watches, and passes every item on', async () => {
    async function* items() {
      yield* [1, 2, 3]
    }
    const stderr = new PassThrough()
    const seen: number[] = []
    const shown = showProgress({ stderr, showsProgress: false }, items(), (done) => ({ what: 'x', done }))
    for await (const item of shown) seen.push(item)
    expect([seen, stderr.read()]).toEqual([[1, 2, 3], null])
  })
})
