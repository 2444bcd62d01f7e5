import { execFileSync } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { blake3 } from '@noble/hashes/blake3.js'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { formatExportLine } from '../../../src/verify/exportLine.ts'
import { parseVkey } from '../../../src/verify/vkey.ts'
import { countOf, isLongRun } from '../../fixtures/counts.ts'
import { createHistory, createSampleHistory, type History } from '../../fixtures/ledgerHistory.ts'
import { createLineTamperings } from '../../fixtures/lineTamperings.ts'
import { judgeHere, judgeInPython, PYTHON, type VerifierCase } from '../../fixtures/pythonVerifier.ts'
import { createMendedHistory, createRichHistory } from '../../fixtures/richHistory.ts'
import { EDGES } from '../../fixtures/strangeMsgpack.ts'
import { createTamperings, createTwin, type Messages } from '../../fixtures/tamperings.ts'
import { anyWalk, appendStrange } from '../../fixtures/walks.ts'

/** The verifier in Python is written from docs/LEDGER.md alone: where it disagrees, one of the three is wrong. */
const SEED = Number(process.env['KMS_TEST_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
const RUNS = countOf('differential')
const ROOT = join(import.meta.dirname, '../../..')

const toLines = (messages: Messages): string => messages.map((message) => `${formatExportLine(message)}\n`).join('')

/** Draws from every class, asks both, and names the class and the seed where they differ. Gives how many were FAIL. */
const compare = async (cases: readonly (VerifierCase & { readonly name: string })[]): Promise<number> => {
  const theirs = await judgeInPython(cases)
  let failing = 0
  for (const [index, one] of cases.entries()) {
    const ours = await judgeHere(one)
    expect({ name: one.name, seed: SEED, index, ...theirs[index] }).toEqual({
      name: one.name,
      seed: SEED,
      index,
      ...ours,
    })
    if (ours.exit === 2) failing++
  }
  return failing
}

const draw = <T>(classes: Readonly<Record<string, fc.Arbitrary<T>>>): readonly (readonly [string, T])[] =>
  Object.entries(classes).flatMap(([name, arbitrary]) =>
    fc.sample(arbitrary, { numRuns: RUNS, seed: SEED }).map((drawn) => [name, drawn] as const),
  )

const toTamperings = (history: History) =>
  draw(createTamperings(history, createTwin(history.messages.length))).map(([name, messages]) => ({
    ...{ name, pin: history.pin, lines: toLines(messages) },
  }))

/** Generous: many small ledgers by a slow hash, on a machine that may be busy. */
const TIMEOUT = { timeout: isLongRun ? 14_400_000 : 120_000 }

describe('the verifier in Python agrees', TIMEOUT, () => {
  test('on every vector', async () => {
    const folder = join(ROOT, 'test/vectors')
    const readJson = async (path: string) => JSON.parse(await readFile(join(folder, path), 'utf8'))
    const pin = parseVkey((await readJson('keys.json')).vkey)
    if (!pin.ok) throw new Error(pin.error)
    const index: readonly {
      readonly file: string
      readonly anchors: readonly { readonly size: number; readonly hash: string }[]
      readonly exit: number
    }[] = await readJson('exports/index.json')
    const cases = await Promise.all(
      index.map(async ({ file, anchors }) => ({
        ...{ name: file, pin: pin.value, lines: await readFile(join(folder, 'exports', file)) },
        anchors: anchors.map((anchor) => ({ name: '--anchor', ...anchor })),
      })),
    )
    expect(await compare(cases)).toBe(index.filter(({ exit }) => exit === 2).length)
  })

  test('that every tampered ledger is FAIL, and where', async () => {
    const cases = [...toTamperings(createSampleHistory(9)), ...toTamperings(createRichHistory())]
    expect(await compare(cases)).toBe(cases.length)
  })

  test('on what was done to a ledger that was recovered', async () => {
    expect(await compare(toTamperings(createMendedHistory()))).toBeGreaterThan(0)
  })

  test('on exports whose lines were tampered with', async () => {
    const history = createRichHistory()
    const drawn = draw(createLineTamperings(toLines(history.messages)))
    expect(await compare(drawn.map(([name, lines]) => ({ name, pin: history.pin, lines })))).toBeGreaterThan(0)
  })

  test('on each value at the edges of the encoding, in an event of a type known, unknown, or of the ledger', async () => {
    const cases = ['DataEncrypted', 'KeyPolished', 'LedgerRolled'].flatMap((type) =>
      EDGES.map((value) => {
        const history = createHistory()
        history.created()
        history.opened('epoch-1')
        appendStrange(history, { type, value, isWide: false, isState: false })
        const name = `${type} ${value.toString('hex')}`
        return { name, pin: history.pin, lines: toLines(history.messages) }
      }),
    )
    const failing = await compare(cases)
    expect(failing).toBeGreaterThan(EDGES.length)
    expect(failing).toBeLessThan(cases.length)
  })

  test('on ledgers by the real keys that bend the rules, in any encoding, with any anchors', async () => {
    const drawn = fc.sample(anyWalk, { numRuns: RUNS * 40, seed: SEED })
    const failing = await compare(
      drawn.map(({ pin, messages, anchors }) => ({ name: 'walk', pin, anchors, lines: toLines(messages) })),
    )
    expect(failing).toBeGreaterThan(0)
    expect(failing).toBeLessThan(drawn.length)
  })
})

describe('BLAKE3 in Python', () => {
  test('is BLAKE3, from nothing to several chunks, and of the published inputs', () => {
    const lengths = [0, 1, 63, 64, 65, 127, 128, 129, 1023, 1024, 1025, 2048, 2049, 3072, 3073, 4096, 5120, 8193, 31744]
    const inputOf = (length: number) => Uint8Array.from({ length }, (_, index) => index % 251)
    const program = `import sys; from blake3_pure import blake3
for n in ${JSON.stringify(lengths)}: print(blake3(bytes(i % 251 for i in range(n))).hex())`
    const printed = execFileSync(PYTHON, ['-B', '-c', program], { cwd: join(ROOT, 'examples'), encoding: 'utf8' })
    const hashes = printed.trim().split('\n')
    expect(hashes).toEqual(lengths.map((length) => Buffer.from(blake3(inputOf(length))).toString('hex')))
    // Of the test vectors that are published with the hash function.
    expect(hashes[0]).toBe('af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262')
    expect(hashes.at(-1)).toBe('62b6960e1a44bcc1eb1a611a8d6235b6b4b78f32e7abc4fb4c6cdcce94895c47')
  })
})
