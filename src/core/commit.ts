import { blake3 } from '@noble/hashes/blake3.js'
import { kindOf } from '../../schemas/eventKinds.ts'
import type { Event } from '../../schemas/events.ts'
import { LIMITS } from '../../schemas/limits.ts'
import { SUBJECT_STATE, SUBJECT_USAGE } from '../../schemas/streams.ts'
import { isSignedBy, type VerifyKey } from './ed25519.ts'
import { encodeMsgpack } from './encodeMsgpack.ts'
import { toMerkleRoot } from './merkle.ts'
import { packEvent } from './packEvent.ts'
import { parseEvent, type RecordedEvent } from './recordedEvent.ts'
import { must, ok, type Result } from './result.ts'
import { decodeStrictMsgpack } from './strictMsgpack.ts'

/** The signed part of a commit (docs/LEDGER.md, "Head"). */
export interface Head {
  readonly origin: string
  readonly epoch: number
  /** The stream sequence this message must get. */
  readonly seq: number
  readonly subject: string
  /** Events before this commit. */
  readonly first: number
  readonly count: number
  /** Unix milliseconds; data of the writer, never order, never verified. */
  readonly timeMs: number
  /** Hash of the last valid commit; zeros at genesis. */
  readonly prev: Uint8Array
  readonly eventsRoot: Uint8Array
}

/** A commit whose syntax, limits and Merkle root hold. Its place in the chain and its signature are `chain.ts`'s. */
export interface Commit {
  readonly head: Head
  readonly headBytes: Uint8Array
  readonly kid: string
  readonly signature: Uint8Array
  /** The data of the commit's leaf in the ledger's Merkle tree. */
  readonly envelope: Uint8Array
  /** BLAKE3 of the envelope: what the next commit's `prev` must be. */
  readonly hash: Uint8Array
  readonly events: readonly RecordedEvent[]
}

/** What {@link toHead} needs; the rest of the head follows from the events. `subject` comes from {@link toSubject}. */
export interface HeadInput {
  readonly origin: string
  readonly epoch: number
  readonly seq: number
  readonly first: number
  readonly timeMs: number
  readonly prev: Uint8Array
  readonly subject: string
  /** Bytes of {@link encodeEvent}. */
  readonly events: readonly Uint8Array[]
}

/** A commit ready to publish: `message` is the payload, `hash` the receipt's (hex it for `Nats-Msg-Id`). */
export interface EncodedCommit {
  readonly message: Uint8Array
  readonly envelope: Uint8Array
  readonly head: Uint8Array
  readonly hash: Uint8Array
  readonly seq: number
  readonly first: number
  readonly count: number
}

/** One event's bytes: members in the order of docs/LEDGER.md, absent ones left out. Throws above `eventBytesMax`. */
export const encodeEvent = (event: Event): Uint8Array => {
  const bytes = packEvent({
    id: event.id,
    type: event.type,
    v: event.v,
    action: event.action,
    principal: { id: event.principal.id, type: event.principal.type },
    authn: { method: event.authn.method },
    transport: event.transport,
    resources: event.resources.map(({ type, id, version }) => ({ type, id, version })),
    outcome: event.outcome,
    code: event.code,
    request_id: event.request_id,
    decision: event.decision && {
      pdp: event.decision.pdp,
      policy_version: event.decision.policy_version,
      reasons: event.decision.reasons,
      obligations: event.decision.obligations,
    },
    context_hash: event.context_hash,
    data: event.data,
  })
  must(bytes.length <= LIMITS.eventBytesMax, `an event of type ${event.type} is larger than ${LIMITS.eventBytesMax}`)
  return bytes
}

/** Bytes of a head. Throws on a count or size that no reader would accept. */
export const toHead = (input: HeadInput): Uint8Array => {
  must(input.events.length >= 1 && input.events.length <= LIMITS.commitEventsMax, 'a commit holds 1 to 256 events')
  return encodeMsgpack({
    v: 1,
    origin: input.origin,
    epoch: input.epoch,
    seq: input.seq,
    subject: input.subject,
    first: input.first,
    count: input.events.length,
    time: input.timeMs,
    prev: input.prev,
    events_root: toMerkleRoot(input.events),
  })
}

/** What is signed: `chatelaine/sign/v1` ‖ 00 ‖ head. */
export const toSignedBytes = (head: Uint8Array): Uint8Array => Buffer.concat([SIGN_LABEL, head])

/** Joins head and signature to a publishable commit; for a signer that answers later (`ledger-root` in the HSM). */
export const sealCommit = (
  input: HeadInput,
  signed: { readonly head: Uint8Array; readonly kid: string; readonly signature: Uint8Array },
): EncodedCommit => {
  const envelope = encodeMsgpack([signed.head, signed.kid, signed.signature])
  const message = toFramed([envelope, ...input.events])
  must(message.length <= LIMITS.commitBytesMax, `a commit is larger than ${LIMITS.commitBytesMax} bytes`)
  return {
    message,
    envelope,
    head: signed.head,
    hash: hashEnvelope(envelope),
    seq: input.seq,
    first: input.first,
    count: input.events.length,
  }
}

/** A commit by a signer at hand (an epoch key): head, signature over it, envelope, message. */
export const encodeCommit = (
  input: HeadInput & { readonly kid: string; readonly sign: (message: Uint8Array) => Uint8Array },
): EncodedCommit => {
  const head = toHead(input)
  return sealCommit(input, { head, kid: input.kid, signature: input.sign(toSignedBytes(head)) })
}

/** Whether the head was signed by this key; whether this key may sign it is the chain's to say. */
export const isCommitSignedBy = (key: VerifyKey, commit: Commit): boolean =>
  isSignedBy(key, toSignedBytes(commit.headBytes), commit.signature)

/** BLAKE3(`chatelaine/commit/v1` ‖ 00 ‖ envelope): kid and signature are under the chain too. */
export const hashEnvelope = (envelope: Uint8Array): Uint8Array => blake3(Buffer.concat([COMMIT_LABEL, envelope]))

/** `kms.ledger.state` if any event changes state, else `kms.ledger.usage`. */
export const toSubject = (types: readonly string[]): string =>
  types.some((type) => kindOf(type) === 'state') ? SUBJECT_STATE : SUBJECT_USAGE

/**
 * Syntax, limits and Merkle root of a message; says in words what is wrong. It does not judge the width of ints and
 * map headers, nor the place in the chain. Byte strings in the result are views of `payload`: do not write to it.
 */
export const decodeCommit = (payload: Uint8Array): Result<Commit, string> => {
  const frames = parseFrames(payload)
  if (!frames.ok) return frames
  const [envelopeBytes, ...eventBytes] = frames.value
  const envelope = parseEnvelope(envelopeBytes)
  if (!envelope.ok) return envelope
  const head = parseHead(envelope.value.headBytes)
  if (!head.ok) return head
  if (head.value.count !== eventBytes.length) return bad('head.count differs from the events present')
  if (!Buffer.from(head.value.eventsRoot).equals(toMerkleRoot(eventBytes)))
    return bad('head.events_root is not the root of the events')
  const events: RecordedEvent[] = []
  for (const [index, bytes] of eventBytes.entries()) {
    const event = parseEvent(bytes)
    if (!event.ok) return bad(`event ${index}: ${event.error}`)
    events.push(event.value)
  }
  const misfit = findSubjectMisfit(head.value.subject, events)
  if (misfit !== undefined) return bad(misfit)
  return ok({
    head: head.value,
    ...envelope.value,
    envelope: envelopeBytes,
    hash: hashEnvelope(envelopeBytes),
    events,
  })
}

/** Head, key id, signature and hash of an envelope alone: what a proof has of a commit. Syntax only, as in {@link decodeCommit}. */
export const decodeEnvelope = (
  bytes: Uint8Array,
): Result<Pick<Commit, 'head' | 'headBytes' | 'kid' | 'signature' | 'hash'>, string> => {
  const envelope = parseEnvelope(bytes)
  if (!envelope.ok) return envelope
  const head = parseHead(envelope.value.headBytes)
  return head.ok ? ok({ head: head.value, ...envelope.value, hash: hashEnvelope(bytes) }) : head
}

const SIGN_LABEL = Buffer.from('chatelaine/sign/v1\0', 'latin1')
const COMMIT_LABEL = Buffer.from('chatelaine/commit/v1\0', 'latin1')

const HEAD_ENCODING = { depthMax: 1, allowFloats: false, allowNil: false } as const

const bad = (error: string): { readonly ok: false; readonly error: string } => ({ ok: false, error })

const toFramed = (parts: readonly Uint8Array[]): Uint8Array =>
  Buffer.concat(
    parts.flatMap((part) => {
      const length = Buffer.alloc(4)
      length.writeUInt32LE(part.length)
      return [length, part]
    }),
  )

/** Splits a message into envelope and events: u32le length ‖ bytes each, nothing left over. */
const parseFrames = (payload: Uint8Array): Result<readonly [Uint8Array, ...Uint8Array[]], string> => {
  if (payload.length > LIMITS.commitBytesMax) return bad(`the message is larger than ${LIMITS.commitBytesMax} bytes`)
  const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.length)
  const frames: Uint8Array[] = []
  for (let at = 0; at < bytes.length; ) {
    const start = at + 4
    if (start > bytes.length) return bad('a length is cut off')
    const end = start + bytes.readUInt32LE(at)
    if (end > bytes.length) return bad('a length reaches past the end of the message')
    if (frames.length > LIMITS.commitEventsMax) return bad(`more than ${LIMITS.commitEventsMax} events`)
    if (frames.length > 0 && end - start > LIMITS.eventBytesMax)
      return bad(`an event is larger than ${LIMITS.eventBytesMax} bytes`)
    frames.push(bytes.subarray(start, end))
    at = end
  }
  const [envelope, ...events] = frames
  return envelope === undefined ? bad('the message is empty') : ok([envelope, ...events])
}

const parseEnvelope = (bytes: Uint8Array): Result<Pick<Commit, 'headBytes' | 'kid' | 'signature'>, string> => {
  const decoded = decodeStrictMsgpack(bytes, HEAD_ENCODING)
  if (!decoded.ok) return bad(`envelope: ${decoded.error}`)
  const parts = Array.isArray(decoded.value) ? decoded.value : []
  const [headBytes, kid, signature]: unknown[] = parts
  if (parts.length !== 3 || !isBytes(headBytes) || typeof kid !== 'string' || !isBytes(signature))
    return bad('the envelope is not [head: bin, kid: str, signature: bin]')
  if (!KID_PATTERN.test(kid)) return bad('the kid is not 32 lowercase hex digits')
  return signature.length === 64 ? ok({ headBytes, kid, signature }) : bad('the signature is not 64 bytes')
}

const HEAD_KEYS = 'v origin epoch seq subject first count time prev events_root'
const ORIGIN_PATTERN = /^[a-z0-9-]{1,32}\/[0-9a-f]{16}$/
const KID_PATTERN = /^[0-9a-f]{32}$/

const parseHead = (bytes: Uint8Array): Result<Head, string> => {
  const decoded = decodeStrictMsgpack(bytes, HEAD_ENCODING)
  if (!decoded.ok) return bad(`head: ${decoded.error}`)
  if (!isMap(decoded.value) || Object.keys(decoded.value).join(' ') !== HEAD_KEYS)
    return bad(`the head is not a map of ${HEAD_KEYS}, in this order`)
  const { v, origin, epoch, seq, subject, first, count, time, prev, events_root: eventsRoot } = decoded.value
  if (v !== 1) return bad('head.v is not 1')
  if (typeof origin !== 'string' || !ORIGIN_PATTERN.test(origin)) return bad('head.origin is not an origin')
  if (typeof subject !== 'string') return bad('head.subject is not a string')
  if (!isUint(epoch) || !isUint(seq) || !isUint(first) || !isUint(count) || !isUint(time))
    return bad('head.epoch, seq, first, count and time must be uints')
  if (!isBytes(prev) || prev.length !== 32) return bad('head.prev is not 32 bytes')
  if (!isBytes(eventsRoot) || eventsRoot.length !== 32) return bad('head.events_root is not 32 bytes')
  if (count < 1) return bad('head.count is 0')
  return ok({ origin, epoch, seq, subject, first, count, timeMs: time, prev, eventsRoot })
}

/** An event of a type that this reader does not know may be of either kind: it is counted, not refused. */
const findSubjectMisfit = (subject: string, events: readonly RecordedEvent[]): string | undefined => {
  if (subject !== SUBJECT_STATE && subject !== SUBJECT_USAGE) return 'head.subject is not a subject of the ledger'
  const kinds = new Set(events.map(({ type }) => kindOf(type)))
  if (kinds.has('state')) return subject === SUBJECT_USAGE ? 'a state change stands on the usage subject' : undefined
  return subject === SUBJECT_STATE && !kinds.has(undefined) ? 'no state change stands on the state subject' : undefined
}

const isMap = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !isBytes(value)

const isBytes = (value: unknown): value is Uint8Array => value instanceof Uint8Array

const isUint = (value: unknown): value is number => typeof value === 'number' && value >= 0
