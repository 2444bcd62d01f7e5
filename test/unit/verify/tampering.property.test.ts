import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { decodeCommit } from '../../../src/core/commit.ts'
import type { NamedAnchor } from '../../../src/verify/anchors.ts'
import type { Report } from '../../../src/verify/report.ts'
import { createVerifier } from '../../../src/verify/verifier.ts'
import { countOf, isLongRun } from '../../fixtures/counts.ts'
import { createHistory, createSampleHistory, type History } from '../../fixtures/ledgerHistory.ts'
import { writeResults } from '../../fixtures/results.ts'
import { createRichHistory } from '../../fixtures/richHistory.ts'
import { createTamperings, createTwin, type Messages } from '../../fixtures/tamperings.ts'

/**
 * Whoever holds the storage and not the keys may do anything to the messages. Each class below is one kind of thing; the
 * ledger is healthy before, so every run must end in FAIL, and a pure cut of the tail in `unanchored` at best.
 */
const RUNS = countOf('tamperings')

const history = createSampleHistory(9)
const rich = createRichHistory()
const twin = createTwin(history.messages.length)

const { messages } = history
const size = messages.length

const verify = (given: Messages, anchors: readonly NamedAnchor[] = [], pin = history.pin, fast = false): Report => {
  const verifier = createVerifier({ pin, anchors, fast })
  for (const message of given) verifier.add(message)
  return verifier.finish()
}
const hashAt = (of: History, seq: number): string => {
  const decoded = decodeCommit(of.messages[seq - 1]?.payload ?? Buffer.alloc(0))
  if (!decoded.ok) throw new Error(decoded.error)
  return Buffer.from(decoded.value.hash).toString('hex')
}
const headFile: NamedAnchor = { name: 'head file', size, hash: hashAt(history, size) }

const CLASSES = createTamperings(history, twin)
const RICH_CLASSES = createTamperings(rich, createTwin(rich.messages.length))

const found = new Map<string, number>()
afterAll(async () => {
  if (isLongRun)
    await writeResults('tampering', 'Tampered ledgers', [
      'Every one of these ended in FAIL. A pure cut of the tail is reported as an unanchored tail where no anchor lies beyond.',
      '',
      '| what was done to the stored messages | ledgers, all found |',
      '|---|---:|',
      ...[...found].map(([name, count]) => `| ${name} | ${count} |`),
    ])
  const rows = [...found].map(([name, count]) => `  ${String(count).padStart(6)}  ${name}`)
  console.log(['tampered ledgers, every one found:', ...rows].join('\n'))
})

describe('tampering', () => {
  test('is not seen in the ledger as it was written', () => {
    for (const fast of [false, true]) {
      expect(verify(rich.messages, [], rich.pin, fast)).toMatchObject({ verdict: 1, findings: [] })
      expect(verify(messages, [headFile], history.pin, fast)).toMatchObject({ verdict: 0, findings: [] })
      expect(verify(messages, [], history.pin, fast)).toMatchObject({ verdict: 1, findings: [] })
    }
  })

  test.each(Object.entries(CLASSES))('%s is found in every ledger', (name, tampered) => {
    fc.assert(
      fc.property(tampered, (given) => {
        const report = verify(given)
        expect(report.verdict).toBe(2)
        expect(report.lines.at(-1)).toMatch(/^FAIL at \d+: ./)
        found.set(name, (found.get(name) ?? 0) + 1)
      }),
      { numRuns: RUNS },
    )
  })

  test.each(Object.entries(RICH_CLASSES))('%s is found in a ledger with all special commits', (_name, tampered) => {
    fc.assert(
      fc.property(tampered, (given) => {
        expect(verify(given, [], rich.pin).verdict).toBe(2)
      }),
      { numRuns: countOf('tamperingsOfSpecials') },
    )
  })

  test('another ledger, or this one under another pin, is found at its first commit', () => {
    const names = fc.string({ minLength: 1 }).filter((name) => name !== 'root')
    fc.assert(
      fc.property(names, fc.boolean(), (name, isOrigin) => {
        const other = isOrigin ? { ...history.pin, origin: 'other/0123456789abcdef' } : createHistory(name).pin
        const report = verify(messages, [], other)
        expect(report.findings[0]?.seq).toBe(1)
        expect(report.verdict).toBe(2)
        found.set('other pin or origin', (found.get('other pin or origin') ?? 0) + 1)
      }),
      { numRuns: RUNS },
    )
  })

  test('a pure cut of the tail is an unanchored tail, and FAIL where an anchor lies beyond it', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: size - 1 }), fc.boolean(), (kept, fast) => {
        const cut = messages.slice(0, kept)
        expect(verify(cut, [], history.pin, fast)).toMatchObject({ verdict: 1, lastSeq: kept, findings: [] })
        expect(verify(cut, [], history.pin, fast).lines.at(-1)).toBe(`unanchored tail 1..${kept}`)
        const report = verify(cut, [headFile], history.pin, fast)
        expect(report.verdict).toBe(2)
        expect(report.lines.at(-1)).toMatch(new RegExp(`^FAIL at ${kept + 1}: shorter than anchor`))
        found.set('tail cut before an anchor', (found.get('tail cut before an anchor') ?? 0) + 1)
      }),
      { numRuns: RUNS },
    )
  })

  test('a fork by the real keys is found by an anchor, and by nothing else', () => {
    expect(verify(twin.messages)).toMatchObject({ verdict: 1 })
    expect(verify(twin.messages, [{ name: 'receipt', size: 4, hash: hashAt(history, 4), index: 0 }])).toMatchObject({
      verdict: 2,
    })
  })

  test('is found in fast reading as well: the signatures it checks cover, through prev, all before them', () => {
    for (const [name, tampered] of Object.entries(CLASSES))
      fc.assert(
        fc.property(tampered, (given) => {
          const { verdict } = verify(given, [], history.pin, true)
          expect({ name, verdict }).toEqual({ name, verdict: 2 })
        }),
        { numRuns: Math.ceil(RUNS / 10) },
      )
  })
})
