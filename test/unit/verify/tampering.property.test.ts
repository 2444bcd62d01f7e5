import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { decodeCommit, encodeCommit } from '../../../src/core/commit.ts'
import { encodeMsgpack } from '../../../src/core/encodeMsgpack.ts'
import type { NamedAnchor } from '../../../src/verify/anchors.ts'
import type { ExportedMessage } from '../../../src/verify/exportLine.ts'
import { createVerifier, type Report } from '../../../src/verify/verifier.ts'
import { countOf, isLongRun } from '../../fixtures/counts.ts'
import {
  createHistory,
  createSampleHistory,
  createSigner,
  type History,
  toEncrypted,
} from '../../fixtures/ledgerHistory.ts'
import { writeResults } from '../../fixtures/results.ts'

/**
 * Whoever holds the storage and not the keys may do anything to the messages. Each class below is one kind of thing; the
 * ledger is healthy before, so every run must end in FAIL, and a pure cut of the tail in `unanchored` at best.
 */
const RUNS = countOf('tamperings')

const history = createSampleHistory(9)
/** Same root, same origin, another life: what a restored backup or a test run with the real keys would leave. */
const twin = createHistory()
twin.created()
twin.opened('epoch-1')
for (let id = 900; id < 909; id++) {
  if (id === 904) twin.opened('epoch-2')
  twin.append([toEncrypted(id)])
}
const attacker = createSigner('attacker')

type Messages = readonly ExportedMessage[]
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

const at = (index: number): ExportedMessage => {
  const message = messages[index]
  if (message === undefined) throw new Error('no such message')
  return message
}
const withPayload = (index: number, payload: Uint8Array): Messages => messages.with(index, { ...at(index), payload })
/** Numbers messages as a stream would that was written anew. */
const renumber = (given: Messages): Messages => given.map((message, index) => ({ ...message, seq: index + 1 }))

interface Parts {
  readonly head: Record<string, unknown>
  readonly kid: string
  readonly signature: Uint8Array
}
/** Takes a message apart, lets the attacker bend it, and puts it together with the events it had. */
const reassemble = (index: number, bend: (parts: Parts) => Partial<Parts>): Messages => {
  const { payload } = at(index)
  const decoded = decodeCommit(payload)
  if (!decoded.ok) throw new Error(decoded.error)
  const { head, kid, signature } = decoded.value
  const parts = {
    head: {
      v: 1,
      origin: head.origin,
      epoch: head.epoch,
      seq: head.seq,
      subject: head.subject,
      first: head.first,
      count: head.count,
      time: head.timeMs,
      prev: head.prev,
      events_root: head.eventsRoot,
    },
    kid,
    signature,
  }
  const bent = { ...parts, ...bend(parts) }
  const envelope = encodeMsgpack([encodeMsgpack(bent.head), bent.kid, bent.signature])
  const length = Buffer.alloc(4)
  length.writeUInt32LE(envelope.length)
  const rest = payload.subarray(4 + Buffer.from(payload).readUInt32LE(0))
  return withPayload(index, Buffer.concat([length, envelope, rest]))
}

const index = fc.nat(size - 1)
const pair = fc.tuple(index, index).filter(([a, b]) => a !== b)
const flip = (bytes: Uint8Array, where: number, bit: number): Uint8Array => {
  const copy = Buffer.from(bytes)
  const place = where % copy.length
  copy[place] = (copy[place] ?? 0) ^ (1 << bit)
  return copy
}

const HEAD_BENDS: readonly ((head: Record<string, unknown>) => Record<string, unknown>)[] = [
  (head) => ({ ...head, origin: 'vectors/fedcba9876543210' }),
  (head) => ({ ...head, epoch: Number(head['epoch']) + 1 }),
  (head) => ({ ...head, seq: Number(head['seq']) + 1 }),
  (head) => ({ ...head, subject: head['subject'] === 'kms.ledger.state' ? 'kms.ledger.usage' : 'kms.ledger.state' }),
  (head) => ({ ...head, first: Number(head['first']) + 1 }),
  (head) => ({ ...head, count: Number(head['count']) + 1 }),
  (head) => ({ ...head, time: Number(head['time']) + 1 }),
  (head) => ({ ...head, prev: attacker.publicKey }),
  (head) => ({ ...head, events_root: attacker.publicKey }),
  (head) => ({ ...head, v: 2 }),
  (head) => ({ ...head, extra: 1 }),
]

/** A commit of the attacker's own, chained and counted as it must be, signed by whatever key it has. */
const forge = (place: number, kid: string): Messages => {
  const before = decodeCommit(at(place - 1).payload)
  const real = decodeCommit(at(place).payload)
  if (!before.ok || !real.ok) throw new Error('the sample does not decode')
  const { epoch, seq, subject, first, origin } = real.value.head
  const { message } = encodeCommit({
    ...{ origin, epoch, seq, subject, first, timeMs: 0, prev: before.value.hash, kid, sign: attacker.sign },
    events: real.value.events.map(({ bytes }) => bytes),
  })
  return withPayload(place, message)
}

const CLASSES: Readonly<Record<string, fc.Arbitrary<Messages>>> = {
  'edit a bit': fc
    .tuple(index, fc.nat(), fc.nat(7))
    .map(([one, where, bit]) => withPayload(one, flip(at(one).payload, where, bit))),
  'edit bytes': fc
    .tuple(index, fc.nat(), fc.uint8Array({ minLength: 1, maxLength: 40 }))
    .map(([one, where, bytes]) => {
      const payload = Buffer.from(at(one).payload)
      payload.set(bytes.subarray(0, payload.length - (where % payload.length)), where % payload.length)
      return withPayload(one, payload)
    })
    .filter((given) => given.some(({ payload }, one) => !Buffer.from(payload).equals(at(one).payload))),
  'cut or extend a message': fc
    .tuple(index, fc.nat(), fc.boolean())
    .map(([one, where, isCut]) =>
      withPayload(
        one,
        isCut
          ? at(one).payload.subarray(0, where % at(one).payload.length)
          : Buffer.concat([at(one).payload, Buffer.of(where & 0xff)]),
      ),
    ),
  insert: fc
    .tuple(
      index,
      fc.oneof(
        fc.uint8Array(),
        index.map((other) => at(other).payload),
      ),
    )
    .map(([one, payload]) => renumber([...messages.slice(0, one), { ...at(one), payload }, ...messages.slice(one)])),
  'delete, leaving a hole': fc.nat(size - 2).map((one) => messages.toSpliced(one, 1)),
  'delete, renumbered': fc.nat(size - 2).map((one) => renumber(messages.toSpliced(one, 1))),
  'swap payloads': pair.map(([a, b]) =>
    messages.with(a, { ...at(a), payload: at(b).payload }).with(b, { ...at(b), payload: at(a).payload }),
  ),
  'swap messages': pair.map(([a, b]) => messages.with(a, at(b)).with(b, at(a))),
  'duplicate, same sequence': index.map((one) => messages.toSpliced(one, 0, at(one))),
  'duplicate, renumbered': index.map((one) => renumber(messages.toSpliced(one, 0, at(one)))),
  'cut the head off': fc.integer({ min: 1, max: size - 1 }).map((count) => messages.slice(count)),
  'cut the head off, renumbered': fc.integer({ min: 1, max: size - 1 }).map((count) => renumber(messages.slice(count))),
  'splice one message of another history': fc
    .integer({ min: 2, max: size - 1 })
    .map((one) => withPayload(one, twin.messages[one]?.payload ?? Buffer.alloc(0)))
    .filter((given) => given.some(({ payload }, one) => !Buffer.from(payload).equals(at(one).payload))),
  'splice the rest of another history': fc
    .integer({ min: 3, max: size - 1 })
    .map((one) => [...messages.slice(0, one), ...twin.messages.slice(one)]),
  'edit the head': fc
    .tuple(index, fc.constantFrom(...HEAD_BENDS))
    .map(([one, bend]) => reassemble(one, ({ head }) => ({ head: bend(head) }))),
  'edit the kid': fc
    .tuple(index, fc.constantFrom(attacker.kid, history.root().kid, createSigner('epoch-1').kid))
    .map(([one, kid]) => reassemble(one, () => ({ kid })))
    .filter((given) => given.some(({ payload }, one) => !Buffer.from(payload).equals(at(one).payload))),
  'edit the signature': fc
    .tuple(index, fc.nat(63), fc.nat(7))
    .map(([one, where, bit]) => reassemble(one, ({ signature }) => ({ signature: flip(signature, where, bit) }))),
  'sign with S + L': index.map((one) => reassemble(one, ({ signature }) => ({ signature: addOrder(signature) }))),
  'edit the subject': index.map((one) =>
    messages.with(one, {
      ...at(one),
      subject: at(one).subject === 'kms.ledger.state' ? 'kms.ledger.usage' : 'kms.ledger.state',
    }),
  ),
  "wrong key under the attacker's kid": fc.integer({ min: 1, max: size - 1 }).map((one) => forge(one, attacker.kid)),
  'wrong key under the right kid': fc.integer({ min: 1, max: size - 1 }).map((one) => {
    const decoded = decodeCommit(at(one).payload)
    return forge(one, decoded.ok ? decoded.value.kid : '')
  }),
  'move a message to another stream': index
    .filter((one) => one > 0)
    .map((one) => messages.with(one, { ...at(one), stream: 'OTHER' })),
}

/** The second S of a signature: the same equation, which a verifier without S < L would accept. */
const addOrder = (signature: Uint8Array): Uint8Array => {
  const order = 2n ** 252n + 27742317777372353535851937790883648493n
  const s = BigInt(`0x${Buffer.from(signature.subarray(32)).reverse().toString('hex')}`) + order
  return Buffer.concat([signature.subarray(0, 32), Buffer.from(s.toString(16).padStart(64, '0'), 'hex').reverse()])
}

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
