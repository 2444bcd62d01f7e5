import { LIMITS } from '../../schemas/limits.ts'
import type { LedgerMessage } from '../core/chainState.ts'
import { decodeCommit } from '../core/commit.ts'
import { withoutIdentityTags } from '../core/identityTags.ts'
import { readFields } from '../core/recordedEvent.ts'
import { ok, type Result } from '../core/result.ts'
import { parseStrictJson } from '../core/strictJson.ts'

/** A message with the stream it stands in, which an export always names. */
export type ExportedMessage = LedgerMessage & { readonly stream: string }

/**
 * One line of an export, without the line end. `message` is the exact payload, identity tags included, as only auditors
 * may see it; `decoded` is for people and has none.
 */
export const formatExportLine = ({ stream, seq, subject, payload }: ExportedMessage): string =>
  JSON.stringify({
    stream,
    seq,
    subject,
    message: toBuffer(payload).toString('base64'),
    decoded: decodeForPeople(payload),
  })

/** The line without what people read: for archives. Equally exact, and half as long. */
export const formatExactLine = ({ stream, seq, subject, payload }: ExportedMessage): string =>
  JSON.stringify({ stream, seq, subject, message: toBuffer(payload).toString('base64') })

/** A message as people read it: byte strings in hex, no identity tags (invariant 6), or why it cannot be decoded. */
export const decodeForPeople = (payload: Uint8Array): unknown => {
  const decoded = decodeCommit(payload)
  if (!decoded.ok) return { error: decoded.error }
  const { head, kid, hash, signature, events } = decoded.value
  const { timeMs, eventsRoot, ...rest } = head
  return withoutIdentityTags(
    {
      hash,
      kid,
      signature,
      head: { ...rest, time: new Date(Math.min(timeMs, DATE_MAX_MS)).toISOString(), events_root: eventsRoot },
      events: events.map(readFields),
    },
    (bytes) => toBuffer(bytes).toString('hex'),
  )
}

/**
 * Reads the first four members of an export's line and nothing else of it. Says in words what is wrong. The payload is put
 * into `room` if that is given, which must be as long as the line: memory that is used again costs a third.
 */
export const parseExportLine = (line: Uint8Array, room?: Buffer): Result<ExportedMessage, string> =>
  parseOwnLine(toBuffer(line), room) ?? parseForeignLine(line, room)

/**
 * A line as {@link formatExportLine} writes it; what follows `message` is not looked at. Undefined for any other. That the
 * message has no characters but those of base64 is seen by encoding it again, which is faster than a pattern.
 */
const parseOwnLine = (line: Buffer, room: Buffer | undefined): Result<ExportedMessage, string> | undefined => {
  const [before, stream, seq, subject] = OWN_BEGIN.exec(line.toString('latin1', 0, OWN_BEGIN_BYTES_MAX)) ?? []
  if (before === undefined) return undefined
  const end = line.indexOf(QUOTE, before.length)
  const after = line[end + 1]
  if (end === -1 || (after !== COMMA && after !== BRACE)) return undefined
  const text = line.toString('latin1', before.length, end)
  const message = toMessage({ stream, seq: Number(seq), subject, message: text }, room)
  return message.ok ? message : undefined
}

const OWN_BEGIN =
  /^\{"stream":"([A-Za-z0-9_-]{1,255})","seq":([1-9][0-9]{0,15}),"subject":"([A-Za-z0-9_.-]{1,255})","message":"/
/** More than such a beginning can have. */
const OWN_BEGIN_BYTES_MAX = 1024
const [QUOTE, COMMA, BRACE] = [0x22, 0x2c, 0x7d]

/** The same members in other JSON: with spaces, reordered, or rewritten by another tool. */
const parseForeignLine = (line: Uint8Array, room: Buffer | undefined): Result<ExportedMessage, string> => {
  const parsed = parseStrictJson(line, LIMITS.exportDepthMax)
  if (!parsed.ok) return { ok: false, error: `not an export line: ${parsed.error.rule}` }
  return typeof parsed.value === 'object' && parsed.value !== null
    ? toMessage({ ...parsed.value }, room)
    : { ok: false, error: 'not an export line: not an object' }
}

const toMessage = (
  line: Readonly<Record<string, unknown>>,
  room: Buffer | undefined,
): Result<ExportedMessage, string> => {
  const { stream, seq, subject, message } = line
  if (typeof stream !== 'string' || typeof subject !== 'string' || typeof message !== 'string' || !isSeq(seq))
    return { ok: false, error: 'not an export line: stream, seq, subject and message are wanted' }
  const payload = room === undefined ? Buffer.from(message, 'base64') : room.subarray(0, room.write(message, 'base64'))
  return payload.toString('base64') === message
    ? ok({ stream, seq, subject, payload })
    : { ok: false, error: 'not an export line: message is not canonical base64' }
}

const isSeq = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 1

const DATE_MAX_MS = 8.64e15

const toBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
