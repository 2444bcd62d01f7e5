import { describe, expect, test } from 'vitest'
import { decodeCommit } from '../../../src/core/commit.ts'
import { resumeVerifier } from '../../../src/verify/resumedVerifier.ts'
import { formatResumePoint, parseResumePoint, type ResumePoint } from '../../../src/verify/resumePoint.ts'
import { createVerifier } from '../../../src/verify/verifier.ts'
import type { History } from '../../fixtures/ledgerHistory.ts'
import { createMendedHistory, createRichHistory } from '../../fixtures/richHistory.ts'
import type { Messages } from '../../fixtures/tamperings.ts'

const verifyWhole = ({ pin }: History, messages: Messages) => {
  const verifier = createVerifier({ pin, anchors: [], keepsTree: true })
  for (const message of messages) verifier.add(message)
  const report = verifier.finish()
  return { report, point: verifier.toResumePoint(report) }
}
const resume = ({ pin }: History, point: ResumePoint, messages: Messages, lastSeq?: number) => {
  const inner = createVerifier({ pin, anchors: [], resumed: point, keepsTree: true })
  const verifier = resumeVerifier(inner, point)
  for (const message of messages) verifier.add(message)
  const report = verifier.finish(lastSeq)
  return { report, point: inner.toResumePoint(report) }
}
/** A point that went through a file. */
const saved = ({ pin }: History, point: ResumePoint | undefined): ResumePoint | undefined => {
  if (point === undefined) return undefined
  const parsed = parseResumePoint(formatResumePoint(point, pin), pin)
  if (!parsed.ok) throw new Error(parsed.error)
  return parsed.value
}

describe('a run that resumes', () => {
  test.each([
    ['all special commits', createRichHistory()],
    ['recoveries', createMendedHistory()],
  ])('says what one whole run says, wherever it was parted, over a ledger with %s', (_name, history) => {
    const { messages, pin } = history
    const whole = verifyWhole(history, messages)
    let parted = 0
    for (let count = 1; count < messages.length; count++) {
      const point = saved(history, verifyWhole(history, messages.slice(0, count)).point)
      if (point === undefined) continue
      parted++
      for (const source of [messages, messages.slice(count - 1), messages.slice(count)]) {
        const { report, point: next } = resume(history, point, source)
        expect({ ...report, lines: report.lines.slice(1) }).toEqual(whole.report)
        expect(report.lines[0]).toBe(`resumed after ${point.chain.seq}, which an earlier run has verified`)
        expect(next && formatResumePoint(next, pin)).toBe(whole.point && formatResumePoint(whole.point, pin))
      }
    }
    expect(parted).toBeGreaterThan(5)
  })

  const history = createRichHistory()
  const { messages, pin } = history
  const point = saved(history, verifyWhole(history, messages.slice(0, 8)).point)
  if (point === undefined) throw new Error('the sample has no gap')

  test('finds what was tampered with after the point, and another commit at the point', () => {
    const bend = (seq: number): Messages =>
      messages.map((one) => (one.seq === seq ? { ...one, payload: one.payload.subarray(1) } : one))
    expect(resume(history, point, bend(10)).report.lines.at(-1)).toMatch(/^FAIL at 10: /)
    expect(resume(history, point, bend(8)).report.lines.at(-1)).toMatch(/^FAIL at 8: not the commit/)
    expect(resume(history, point, bend(3)).report.verdict).toBe(1)
  })

  test('finds that the ledger is shorter than it was', () => {
    const { report } = resume(history, point, messages.slice(0, 5))
    expect(report).toMatchObject({ verdict: 2 })
    expect(report.lines.at(-1)).toBe('FAIL at 6: shorter than the state file, which ends at 8')
    expect(resume(history, point, [], 7).report.lines.at(-1)).toMatch(/^FAIL at 8: shorter than the state file/)
  })

  test('finds that messages between the point and the source are missing', () => {
    expect(resume(history, point, messages.slice(9)).report.lines.at(-1)).toMatch(/^FAIL at 9: the message is missing/)
  })

  test('keeps what the earlier run was anchored to', () => {
    const decoded = decodeCommit(messages[5]?.payload ?? Buffer.alloc(0))
    const hash = decoded.ok ? Buffer.from(decoded.value.hash).toString('hex') : ''
    const verifier = createVerifier({ pin, anchors: [{ name: 'receipt', size: 6, hash }], keepsTree: true })
    for (const message of messages.slice(0, 8)) verifier.add(message)
    const anchored = saved(history, verifier.toResumePoint(verifier.finish()))
    expect(anchored && resume(history, anchored, messages).report).toMatchObject({
      ...{ verdict: 1, anchoredTo: 6, anchoredBy: 'receipt' },
    })
  })

  test('is refused on a file of another ledger, and on one that is malformed', () => {
    const text = formatResumePoint(point, pin)
    expect(parseResumePoint(text, { ...pin, origin: 'other/0123456789abcdef' }).ok).toBe(false)
    const file = JSON.parse(text)
    const isOk = (changed: unknown): boolean => parseResumePoint(JSON.stringify(changed), pin).ok
    expect(isOk(file)).toBe(true)
    const members = Object.keys(file).filter((name) => name !== 'anchored_by')
    expect(members.filter((name) => isOk({ ...file, [name]: 'x' }))).toEqual([])
    const ofChain = Object.keys(file.chain).filter((name) => !['stream', 'next_stream'].includes(name))
    expect(ofChain.filter((name) => isOk({ ...file, chain: { ...file.chain, [name]: 'x' } }))).toEqual([])
    expect(isOk({ ...file, chain: { ...file.chain, seq: 0 } })).toBe(false)
  })
})
