import { Unpackr } from 'msgpackr'
import { describe, expect, test } from 'vitest'
import { LIMITS } from '../../../schemas/limits.ts'
import { decodeCommit, encodeCommit, encodeEvent, hashEnvelope, toSubject } from '../../../src/core/commit.ts'
import { encodeMsgpack } from '../../../src/core/encodeMsgpack.ts'
import { toMerkleRoot } from '../../../src/core/merkle.ts'
import { readFields } from '../../../src/core/recordedEvent.ts'
import {
  createSigner,
  ORIGIN,
  TIME_MS,
  toEncrypted,
  toInternalEvent,
  toKeyCreated,
} from '../../fixtures/ledgerHistory.ts'

const signer = createSigner('commit test')
const USAGE = 'kms.ledger.usage'

const frame = (...parts: readonly Uint8Array[]): Uint8Array =>
  Buffer.concat(
    parts.flatMap((part) => {
      const length = Buffer.alloc(4)
      length.writeUInt32LE(part.length)
      return [length, part]
    }),
  )

const event = encodeEvent(toEncrypted(1))

/** A head's members as an attacker may write them; `undefined` leaves one out. */
const toHeadFields = (events: readonly Uint8Array[], bend: Readonly<Record<string, unknown>> = {}) => ({
  v: 1,
  origin: ORIGIN,
  epoch: 1,
  seq: 3,
  subject: USAGE,
  first: 2,
  count: events.length,
  time: TIME_MS,
  prev: new Uint8Array(32),
  events_root: toMerkleRoot(events),
  ...bend,
})
const toMessage = (head: Uint8Array, events: readonly Uint8Array[] = [event], envelope?: Uint8Array): Uint8Array =>
  frame(envelope ?? encodeMsgpack([head, signer.kid, signer.sign(head)]), ...events)

const withHead = (bend: Readonly<Record<string, unknown>>): Uint8Array =>
  toMessage(encodeMsgpack(toHeadFields([event], bend)))
const withEvent = (bytes: Uint8Array): Uint8Array => toMessage(encodeMsgpack(toHeadFields([bytes])), [bytes])
const withEnvelope = (envelope: Uint8Array): Uint8Array => toMessage(Buffer.alloc(0), [event], envelope)

const errorOf = (message: Uint8Array): string => {
  const decoded = decodeCommit(message)
  return decoded.ok ? 'accepted' : decoded.error
}

const reordered = (): Uint8Array => {
  const { v, ...rest } = toHeadFields([event])
  return encodeMsgpack({ ...rest, v })
}
const floatHead = (): Uint8Array => {
  const head = Buffer.from(encodeMsgpack(toHeadFields([event], { epoch: 'FFFFFFFF' })))
  const at = head.indexOf('FFFFFFFF') - 1
  head[at] = 0xcb
  head.writeDoubleBE(1, at + 1)
  return head
}
const good = encodeMsgpack(toHeadFields([event]))
const signature = new Uint8Array(64)

const REFUSED: readonly (readonly [string, () => Uint8Array, RegExp])[] = [
  ['no bytes', () => Buffer.alloc(0), /empty/],
  ['a cut length', () => Buffer.concat([toMessage(good), Buffer.of(1, 0)]), /length is cut off/],
  ['a cut event', () => toMessage(good).subarray(0, -1), /reaches past the end/],
  ['trailing bytes that are no event', () => Buffer.concat([toMessage(good), Buffer.of(0, 0, 0, 0)]), /count differs/],
  ['an event more', () => toMessage(good, [event, event]), /count differs/],
  ['no event', () => toMessage(encodeMsgpack(toHeadFields([])), []), /count is 0/],
  [
    '257 events',
    () => toMessage(encodeMsgpack(toHeadFields(Array(257).fill(event))), Array(257).fill(event)),
    /more than 256/,
  ],
  [
    'an event above 64 KiB',
    () => withEvent(encodeMsgpack({ type: 'X', data: { x: new Uint8Array(65536) } })),
    /an event is larger/,
  ],
  ['a message above 512 KiB', () => Buffer.alloc(512 * 1024 + 1), /message is larger/],
  ['an envelope of two', () => withEnvelope(encodeMsgpack([good, signer.kid])), /the envelope is not/],
  ['an envelope of four', () => withEnvelope(encodeMsgpack([good, signer.kid, signature, 1])), /the envelope is not/],
  ['an envelope that is a map', () => withEnvelope(encodeMsgpack({ a: 1 })), /the envelope is not/],
  ['a binary kid', () => withEnvelope(encodeMsgpack([good, new Uint8Array(32), signature])), /the envelope is not/],
  ['an uppercase kid', () => withEnvelope(encodeMsgpack([good, 'A'.repeat(32), signature])), /kid/],
  ['a signature of 63 bytes', () => withEnvelope(encodeMsgpack([good, signer.kid, new Uint8Array(63)])), /signature/],
  [
    'bytes after the envelope',
    () => withEnvelope(Buffer.concat([encodeMsgpack([good, signer.kid, signature]), Buffer.of(0)])),
    /envelope: bytes follow/,
  ],
  ['bytes after the head', () => toMessage(Buffer.concat([good, Buffer.of(0)])), /head: bytes follow/],
  ['a head that is an array', () => toMessage(encodeMsgpack([1])), /the head is not a map/],
  ['another order of head keys', () => toMessage(reordered()), /in this order/],
  ['an unknown head key', () => withHead({ extra: 1 }), /in this order/],
  ['a missing head key', () => withHead({ time: undefined }), /in this order/],
  ['a float in the head', () => toMessage(floatHead()), /head: floats/],
  ['v 2', () => withHead({ v: 2 }), /head.v/],
  ['an origin without random part', () => withHead({ origin: 'kms' }), /head.origin/],
  ['an origin with capitals', () => withHead({ origin: 'KMS/0123456789abcdef' }), /head.origin/],
  ['a negative epoch', () => withHead({ epoch: -1 }), /uints/],
  ['a textual seq', () => withHead({ seq: '3' }), /uints/],
  ['a count of 2 with one event', () => withHead({ count: 2 }), /count differs/],
  ['prev of 31 bytes', () => withHead({ prev: new Uint8Array(31) }), /head.prev/],
  ['prev as text', () => withHead({ prev: 'x' }), /head.prev/],
  ['events_root of 33 bytes', () => withHead({ events_root: new Uint8Array(33) }), /head.events_root/],
  ['another events_root', () => withHead({ events_root: new Uint8Array(32) }), /not the root of the events/],
  ['a foreign subject', () => withHead({ subject: 'kms.other' }), /not a subject of the ledger/],
  ['a usage event on the state subject', () => withHead({ subject: 'kms.ledger.state' }), /no state change stands/],
  ['a state event on the usage subject', () => withEvent(encodeEvent(toKeyCreated(1))), /a state change stands/],
  ['an event with trailing bytes', () => withEvent(Buffer.concat([event, Buffer.of(1)])), /event 0: bytes follow/],
  ['an event that is an array', () => withEvent(encodeMsgpack([1])), /event 0: is not a map/],
  ['an event without type', () => withEvent(encodeMsgpack({ data: {} })), /event 0: type/],
  ['an event whose type is a number', () => withEvent(encodeMsgpack({ type: 1, data: {} })), /event 0: type/],
  ['an event without data', () => withEvent(encodeMsgpack({ type: 'X' })), /event 0: data/],
  ['an event whose data is a list', () => withEvent(encodeMsgpack({ type: 'X', data: [] })), /event 0: data/],
  [
    'an event with a duplicate key',
    () => withEvent(Buffer.from('83a474797065a158a46461746180a474797065a159', 'hex')),
    /event 0: a key stands twice/,
  ],
  [
    'ill-formed UTF-8 in an event',
    () => withEvent(Buffer.from('82a474797065a1ffa46461746180', 'hex')),
    /event 0: a string is not/,
  ],
]

describe('a commit', () => {
  test.each(REFUSED)('is refused with %s', (_name, make, reason) => {
    expect(errorOf(make())).toMatch(reason)
  })

  test('is accepted with wide ints and map headers, unknown event types and unknown members', () => {
    expect(errorOf(toMessage(good))).toBe('accepted')
    const wide = Buffer.concat([Buffer.from('de000a', 'hex'), good.subarray(1)])
    expect(errorOf(toMessage(wide))).toBe('accepted')
    expect(errorOf(withEvent(encodeMsgpack({ type: 'KeyPolished', data: {}, later: { x: 1 } })))).toBe('accepted')
    const unknown = encodeMsgpack({ type: 'KeyPolished', data: {} })
    const head = encodeMsgpack(toHeadFields([unknown], { subject: 'kms.ledger.state' }))
    expect(errorOf(toMessage(head, [unknown]))).toBe('accepted')
    const many = encodeMsgpack({
      type: 'X',
      data: {},
      ...Object.fromEntries([...Array(50).keys()].map((n) => [`k${n}`, n])),
    })
    expect(errorOf(withEvent(many))).toBe('accepted')
  })

  test('decodes to what was encoded, and hashes its envelope', () => {
    const events = [toEncrypted(7), toKeyCreated(8)].map(encodeEvent)
    const input = {
      origin: ORIGIN,
      epoch: 2,
      seq: 9,
      first: 40,
      timeMs: TIME_MS,
      prev: new Uint8Array(32).fill(1),
      events,
    }
    const encoded = encodeCommit({
      ...input,
      subject: toSubject(['DataEncrypted', 'KeyCreated']),
      kid: signer.kid,
      sign: signer.sign,
    })
    const decoded = decodeCommit(encoded.message)
    if (!decoded.ok) throw new Error(decoded.error)
    expect(decoded.value.head).toMatchObject({ origin: ORIGIN, epoch: 2, seq: 9, first: 40, count: 2, timeMs: TIME_MS })
    expect(decoded.value.head.subject).toBe('kms.ledger.state')
    expect(decoded.value.hash).toEqual(hashEnvelope(encoded.envelope))
    expect(decoded.value.hash).toEqual(encoded.hash)
    expect(decoded.value.events.map(({ type }) => type)).toEqual(['DataEncrypted', 'KeyCreated'])
  })

  test('cannot be encoded without event, with more than 256, or above 512 KiB', () => {
    const encode = (events: readonly Uint8Array[]) =>
      encodeCommit({
        origin: ORIGIN,
        epoch: 1,
        seq: 1,
        first: 0,
        timeMs: 0,
        prev: new Uint8Array(32),
        subject: USAGE,
        events,
        ...signer,
      })
    expect(() => encode([])).toThrow('1 to 256')
    expect(() => encode(Array(257).fill(event))).toThrow('1 to 256')
    expect(() => encode(Array(9).fill(new Uint8Array(LIMITS.eventBytesMax)))).toThrow('larger')
  })
})

describe('an event', () => {
  test('keeps the order of its members, has no absent ones and reads back in another decoder', () => {
    const bytes = encodeEvent(toEncrypted(1))
    const foreign = new Unpackr({ useRecords: false, mapsAsObjects: true }).unpack(bytes)
    expect(Object.keys(foreign)).toEqual(
      'id type v action principal authn transport resources outcome request_id decision context_hash data'.split(' '),
    )
    expect(Object.keys(foreign.resources[0])).toEqual(['type', 'id', 'version'])
    expect(foreign.data).toEqual(toEncrypted(1).data)
  })

  test('has ints of 53 bits and no floats', () => {
    const bytes = encodeEvent(toInternalEvent('KeysListed', { items: Number.MAX_SAFE_INTEGER }, 1))
    const fields = readFields({ bytes, type: 'KeysListed' })
    expect(fields.data).toEqual({ items: Number.MAX_SAFE_INTEGER })
    expect(bytes.includes(0xcf) || bytes.includes(0xd3)).toBe(true)
    expect(bytes.includes(0xcb)).toBe(false)
    expect(() => encodeEvent(toInternalEvent('KeysListed', { items: 1.5 }, 1))).toThrow()
  })

  test('above 64 KiB is not encoded', () => {
    const data = { sha256: new Uint8Array(70_000), policies: 1 }
    expect(() => encodeEvent(toInternalEvent('PolicySetLoaded', data, 1))).toThrow('larger')
  })
})
