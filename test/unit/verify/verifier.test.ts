import { beforeEach, describe, expect, test } from 'vitest'
import { decodeCommit, encodeCommit } from '../../../src/core/commit.ts'
import { encodeMsgpack } from '../../../src/core/encodeMsgpack.ts'
import { type NamedAnchor, parseAnchorFlag, parseHeadFile, parseReceipt } from '../../../src/verify/anchors.ts'
import type { Report } from '../../../src/verify/report.ts'
import { createVerifier } from '../../../src/verify/verifier.ts'
import { verifyMessages } from '../../../src/verify/verifyExport.ts'
import {
  createHistory,
  createSampleHistory,
  createSigner,
  type History,
  ORIGIN,
  toEncrypted,
} from '../../fixtures/ledgerHistory.ts'

let history: History
beforeEach(() => {
  history = createSampleHistory(6)
})

const verify = (of: History, anchors: readonly NamedAnchor[] = [], lastSeq?: number): Report => {
  const verifier = createVerifier({ pin: of.pin, anchors })
  for (const message of of.messages) verifier.add(message)
  return verifier.finish(lastSeq)
}
const hashAt = (seq: number, of = history): string => {
  const decoded = decodeCommit(of.messages.find((message) => message.seq === seq)?.payload ?? Buffer.alloc(0))
  return decoded.ok ? Buffer.from(decoded.value.hash).toString('hex') : ''
}
const anchorAt = (size: number, of = history): NamedAnchor => ({ name: 'head file', size, hash: hashAt(size, of) })
const OTHER_HASH = 'ab'.repeat(32)

describe('the verdict', () => {
  test('is 0 where the newest anchor is the last commit', () => {
    const report = verify(history, [anchorAt(3), anchorAt(9)])
    expect(report).toMatchObject({ verdict: 0, lastSeq: 9, anchoredTo: 9 })
    expect(report.lines.at(-1)).toBe('ok to 9, anchored by head file')
  })

  test('is 1 where good commits stand after the highest matching anchor', () => {
    const report = verify(history, [anchorAt(3), { ...anchorAt(5), name: '--anchor' }])
    expect(report).toMatchObject({ verdict: 1, anchoredTo: 5 })
    expect(report.lines.at(-1)).toBe('unanchored tail 6..9')
    expect(verify(history).lines.at(-1)).toBe('unanchored tail 1..9')
  })

  test('is FAIL at N+1 where an anchor lies beyond the end, though all commits are good', () => {
    const report = verify(history, [anchorAt(9), { name: 'head file', size: 12, hash: OTHER_HASH }])
    expect(report.verdict).toBe(2)
    expect(report.lines.at(-1)).toBe('FAIL at 10: shorter than anchor (head file at 12)')
  })

  test('is FAIL at the size of an anchor that remembers another commit', () => {
    const report = verify(history, [anchorAt(9), { name: '--anchor', size: 4, hash: OTHER_HASH }])
    expect(report.lines.at(-1)).toBe('FAIL at 4: not what the anchor remembers (--anchor)')
  })

  test('is FAIL for an empty ledger', () => {
    const report = verify(createHistory())
    expect(report).toMatchObject({ verdict: 2, lastSeq: 0 })
    expect(report.lines.at(-1)).toBe('FAIL at 1: the ledger is empty')
  })

  test('is FAIL where the stream says that it had more messages than it gives', () => {
    expect(verify(history, [anchorAt(9)], 11).lines.at(-1)).toBe(
      'FAIL at 10: the messages 10 to 11 are missing at the end',
    )
  })

  test('names every finding, and those that only follow from one as a number', () => {
    const given = [...history.messages]
    const broken = given.map((message) =>
      message.seq === 4 || message.seq === 7 ? { ...message, payload: message.payload.subarray(1) } : message,
    )
    const verifier = createVerifier({ pin: history.pin, anchors: [anchorAt(3), anchorAt(9)] })
    for (const message of broken) verifier.add(message)
    const report = verifier.finish()
    expect(report.findings.map(({ seq }) => seq)).toEqual([4, 7, 9])
    expect(report.lines).toContain('and 4 commits that follow a bad one')
    expect(report.lines.at(-1)).toMatch(/^FAIL at 4: /)
  })

  test('keeps at most 1000 findings and counts the rest', () => {
    const verifier = createVerifier({ pin: history.pin, anchors: [] })
    for (const message of history.messages) verifier.add(message)
    for (let seq = 10; seq < 1510; seq++) verifier.add({ seq, subject: 'kms.ledger.usage', payload: Buffer.of(1) })
    expect(verifier.finish()).toMatchObject({ verdict: 2, findingsOmitted: 500 })
  })

  test('counts events of unknown types and does not refuse them', () => {
    const e = createSigner('epoch-2')
    const { seq, hash, events, epoch } = history.state()
    const { message } = encodeCommit({
      ...{ origin: ORIGIN, epoch, seq: seq + 1, first: events, timeMs: 1, prev: hash, kid: e.kid, sign: e.sign },
      subject: 'kms.ledger.state',
      events: [encodeMsgpack({ type: 'KeyPolished', v: 1, data: {} })],
    })
    history.appendRaw(message, 'kms.ledger.state')
    expect(verify(history)).toMatchObject({ verdict: 1, unknownEvents: 1, findings: [] })
  })
})

describe('a recovery', () => {
  test('leaves the verdict as it would be and says so on every run', () => {
    history.appendRaw(Buffer.from('a stranger'))
    history.skip()
    history.recovered()
    history.opened('epoch-3')
    history.append([toEncrypted(1)])
    const report = verify(history, [anchorAt(14)])
    expect(report).toMatchObject({ verdict: 0, findings: [] })
    expect(report.lines[0]).toBe('recovered 10..11: "a stranger wrote into the stream"')
  })

  test('does not cure what it does not name', () => {
    history.appendRaw(Buffer.from('a stranger'))
    history.recovered({ to: 11 })
    expect(verify(history)).toMatchObject({ verdict: 2 })
    expect(verify(history).lines.at(-1)).toMatch(/^FAIL at 10: /)
  })

  test('gives up the anchors that it lists as lost, and no others', () => {
    const lost = { size: 10, hash: OTHER_HASH }
    history.appendRaw(Buffer.from('a stranger'))
    history.recovered({ lost: [lost] })
    expect(verify(history, [{ name: 'head file', ...lost }])).toMatchObject({ verdict: 1, anchoredTo: 0 })
    expect(verify(history, [{ name: 'head file', ...lost, hash: 'cd'.repeat(32) }])).toMatchObject({ verdict: 2 })
    expect(verify(history, [{ name: 'head file', size: 10, hash: hashAt(9) }])).toMatchObject({ verdict: 2 })
  })

  test('after which the chain is cut below a lost anchor is not shorter than it', () => {
    const lost = { size: 40, hash: OTHER_HASH }
    history.recovered({ lost: [lost] })
    expect(verify(history, [{ name: 'head file', ...lost }, anchorAt(10)])).toMatchObject({ verdict: 0 })
  })
})

describe('anchors', () => {
  test('are read from a head file of this ledger', () => {
    const text = JSON.stringify({ v: 1, origin: ORIGIN, size: 9, hash: OTHER_HASH })
    expect(parseHeadFile(`${text}\n`, ORIGIN)).toEqual({
      ok: true,
      value: { name: 'head file', size: 9, hash: OTHER_HASH },
    })
    expect(parseHeadFile(text, 'other/0123456789abcdef')).toMatchObject({
      ok: false,
      error: expect.stringMatching(/another ledger/),
    })
  })

  test.each([
    '',
    '{',
    'null',
    '[]',
    '{"v":2}',
    `{"v":1,"origin":"${ORIGIN}","size":0,"hash":"${OTHER_HASH}"}`,
    `{"v":1,"origin":"${ORIGIN}","size":1.5,"hash":"${OTHER_HASH}"}`,
    `{"v":1,"origin":"${ORIGIN}","size":1,"hash":"AB"}`,
  ])('are not read from the head file %s', (text) => {
    expect(parseHeadFile(text, ORIGIN).ok).toBe(false)
  })

  test('are read from the flag size:hash', () => {
    expect(parseAnchorFlag(`9:${OTHER_HASH}`)).toEqual({
      ok: true,
      value: { name: '--anchor', size: 9, hash: OTHER_HASH },
    })
    for (const text of [
      '',
      '9',
      `0:${OTHER_HASH}`,
      `-1:${OTHER_HASH}`,
      `9:${OTHER_HASH}0`,
      `9:${OTHER_HASH.toUpperCase()}`,
    ])
      expect(parseAnchorFlag(text).ok).toBe(false)
  })

  test('are receipts, whose event must exist in the commit', () => {
    const receipt = (seq: number, index: number) => parseReceipt(JSON.stringify({ seq, index, hash: hashAt(seq) }))
    const verdictOf = (seq: number, index: number) => {
      const anchor = receipt(seq, index)
      return anchor.ok ? verify(history, [anchor.value]).verdict : anchor.error
    }
    expect(verdictOf(9, 2)).toBe(0)
    expect(verdictOf(9, 3)).toBe(2)
    expect(parseReceipt('{"seq":1,"hash":"x"}').ok).toBe(false)
  })
})

describe('verifying a stream', () => {
  async function* from(of: History) {
    yield* of.messages
  }

  test('stops at the last sequence there was when it started', async () => {
    const verifier = createVerifier({ pin: history.pin, anchors: [anchorAt(7)] })
    expect(await verifyMessages(verifier, from(history), 7)).toMatchObject({ verdict: 0, lastSeq: 7, commits: 7 })
  })

  test('misses what the stream does not give', async () => {
    const verifier = createVerifier({ pin: history.pin, anchors: [] })
    expect(await verifyMessages(verifier, from(history), 12)).toMatchObject({ verdict: 2, lastSeq: 12 })
  })
})
