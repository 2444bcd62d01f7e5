import { LIMITS } from '../../schemas/limits.ts'
import { must, ok, type Result } from './result.ts'
import { findStrictMembers } from './scanMsgpack.ts'
import { decodeStrictMsgpack } from './strictMsgpack.ts'

/** An event as it stands in a commit: its exact bytes, checked, and its type. {@link readFields} gives the rest. */
export interface RecordedEvent {
  readonly bytes: Uint8Array
  readonly type: string
}

/** A decoded event: every member it has, known or not. Byte strings are views of the event's bytes. */
export interface EventFields {
  readonly type: string
  readonly data: Readonly<Record<string, unknown>>
  readonly [member: string]: unknown
}

/**
 * Checks one event's bytes: a map with a string `type` and a map `data`, all of it strict MessagePack. Members are not
 * decoded: a verifier wants those of the ledger's own events only.
 */
export const parseEvent = (bytes: Uint8Array): Result<RecordedEvent, string> => {
  const members = findStrictMembers(bytes, EVENT_ENCODING, ['type', 'data'])
  if (!members.ok) return members
  const [typePlace, dataPlace] = members.value
  const type = typePlace && decode(bytes.subarray(typePlace.start, typePlace.end))
  if (typeof type !== 'string') return { ok: false, error: 'type is not a string' }
  return isMapTag(dataPlace && bytes[dataPlace.start]) ? ok({ bytes, type }) : { ok: false, error: 'data is not a map' }
}

/** Decodes an event that {@link parseEvent} has checked. */
export const readFields = (event: RecordedEvent): EventFields => {
  const fields = decode(event.bytes)
  must(isMap(fields) && isMap(fields['data']), 'an event that was checked is not a map with data')
  return Object.assign(fields, { type: event.type, data: fields['data'] })
}

/**
 * Decodes one of the ledger's own events as the chain rules want it: without floats and nil, so that a number in it is an
 * integer as it was written.
 */
export const readOwnFields = (event: RecordedEvent): Result<EventFields, string> => {
  const decoded = decodeStrictMsgpack(event.bytes, OWN_EVENT_ENCODING)
  return decoded.ok ? ok(readFields(event)) : decoded
}

const EVENT_ENCODING = { depthMax: LIMITS.eventDepthMax, allowFloats: true, allowNil: true } as const

const OWN_EVENT_ENCODING = { ...EVENT_ENCODING, allowFloats: false, allowNil: false } as const

const decode = (checked: Uint8Array): unknown => {
  const decoded = decodeStrictMsgpack(checked, EVENT_ENCODING)
  must(decoded.ok, 'an event that was checked cannot be decoded')
  return decoded.value
}

const isMapTag = (tag: number | undefined): boolean =>
  tag !== undefined && ((tag >= 0x80 && tag < 0x90) || tag === 0xde || tag === 0xdf)

const isMap = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)
