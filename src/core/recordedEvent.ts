import { LIMITS } from '../../schemas/limits.ts'
import { must, ok, type Result } from './result.ts'
import { decodeStrictMsgpack, findStrictMembers } from './strictMsgpack.ts'

/** An event as it stands in a commit: its exact bytes, and what every reader needs of them. */
export interface RecordedEvent {
  readonly bytes: Uint8Array
  readonly type: string
  readonly data: Readonly<Record<string, unknown>>
  /** The whole map, `type` and `data` included; byte strings are views of `bytes`. Decoded when first asked for. */
  readonly fields: Readonly<Record<string, unknown>>
}

/**
 * Reads one event's bytes: a map with a string `type` and a map `data`. The syntax of the whole is checked now; members
 * are decoded when first asked for, which a verifier does for the ledger's own events only.
 */
export const parseEvent = (bytes: Uint8Array): Result<RecordedEvent, string> => {
  const members = findStrictMembers(bytes, EVENT_ENCODING, ['type', 'data'])
  if (!members.ok) return members
  const [typeBytes, dataBytes] = members.value
  const type = typeBytes && decode(typeBytes)
  if (typeof type !== 'string') return { ok: false, error: 'type is not a string' }
  if (!isMapTag(dataBytes?.[0])) return { ok: false, error: 'data is not a map' }
  return ok(toLazyEvent(bytes, type))
}

const EVENT_ENCODING = { depthMax: LIMITS.eventDepthMax, allowFloats: true, allowNil: true } as const

const decode = (checked: Uint8Array): unknown => {
  const decoded = decodeStrictMsgpack(checked, EVENT_ENCODING)
  must(decoded.ok, 'an event that was checked cannot be decoded')
  return decoded.value
}

const isMapTag = (tag: number | undefined): boolean =>
  tag !== undefined && ((tag >= 0x80 && tag < 0x90) || tag === 0xde || tag === 0xdf)

const toLazyEvent = (bytes: Uint8Array, type: string): RecordedEvent => {
  let decoded: Readonly<Record<string, unknown>> | undefined
  return {
    bytes,
    type,
    get fields() {
      decoded ??= toMap(decode(bytes))
      return decoded
    },
    get data() {
      return toMap(this.fields['data'])
    },
  }
}

const toMap = (value: unknown): Readonly<Record<string, unknown>> => {
  must(typeof value === 'object' && value !== null, 'an event that was checked is not a map')
  return Object.assign(value)
}
