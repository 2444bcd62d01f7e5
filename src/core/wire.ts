import { LIMITS } from '../../schemas/limits.ts'
import { type ByteFields, isRecord, readByteFields, writeByteFields } from './byteFields.ts'
import { encodeMsgpack } from './encodeMsgpack.ts'
import { fail, ok, type Result } from './result.ts'
import { parseStrictJson } from './strictJson.ts'
import { decodeStrictMsgpack } from './strictMsgpack.ts'

/** The two encodings of a body. JSON carries bytes as base64, MessagePack as `bin`. */
export type WireFormat = 'json' | 'msgpack'

export const MEDIA_TYPES = { json: 'application/json', msgpack: 'application/msgpack' } as const

const MEDIA_TYPE = /^\s*(application\/(?:json|msgpack))\s*(?:;\s*charset\s*=\s*"?utf-8"?\s*)?$/i

/** The format that a `Content-Type` names; JSON when there is none. UNSUPPORTED_MEDIA_TYPE for all others. */
export const parseMediaType = (header: string | undefined): Result<WireFormat> => {
  if (header === undefined) return ok('json')
  const type = MEDIA_TYPE.exec(header)?.[1]?.toLowerCase()
  if (type === MEDIA_TYPES.json) return ok('json')
  if (type === MEDIA_TYPES.msgpack) return ok('msgpack')
  return fail('UNSUPPORTED_MEDIA_TYPE', `Content-Type must be ${MEDIA_TYPES.json} or ${MEDIA_TYPES.msgpack}`)
}

const MSGPACK_RULES = { depthMax: LIMITS.requestDepthMax, allowFloats: false, allowNil: true } as const

/**
 * Strictly decodes one body to a map; a body of no bytes is the empty map. With JSON, byte fields become arrays of their
 * own; with MessagePack they are views of `bytes`. INVALID_REQUEST says which rule is broken and where, but quotes
 * nothing that is not a field name of the schema (`names`).
 */
export const decodeBody = (
  bytes: Uint8Array,
  as: { readonly format: WireFormat; readonly byteFields: ByteFields | undefined; readonly names: ReadonlySet<string> },
): Result<Record<string, unknown>> => {
  if (bytes.length === 0) return ok(Object.create(null))
  const decoded = as.format === 'json' ? decodeJson(bytes, as.names) : decodeMsgpack(bytes)
  if (!decoded.ok) return decoded
  const body = decoded.value
  if (!isRecord(body)) return fail('INVALID_REQUEST', 'the body must be a map')
  if (as.format === 'json' && as.byteFields) {
    const read = readByteFields(as.byteFields, body)
    if (!read.ok) return read
  }
  return ok(body)
}

const decodeJson = (bytes: Uint8Array, names: ReadonlySet<string>): Result<unknown> => {
  const parsed = parseStrictJson(bytes, LIMITS.requestDepthMax)
  if (parsed.ok) return parsed
  const { rule, offset, member } = parsed.error
  const place = member !== undefined && names.has(member) ? `, in ${member}` : ''
  return fail('INVALID_REQUEST', `the body is not strict JSON: ${rule} (at character ${offset}${place})`)
}

const decodeMsgpack = (bytes: Uint8Array): Result<unknown> => {
  const decoded = decodeStrictMsgpack(bytes, MSGPACK_RULES)
  return decoded.ok ? decoded : fail('INVALID_REQUEST', `the body is not strict MessagePack: ${decoded.error}`)
}

/** Encodes a body into a buffer of its own, which the caller may zero once it is sent. */
export const encodeBody = (
  body: Readonly<Record<string, unknown>>,
  as: { readonly format: WireFormat; readonly byteFields: ByteFields | undefined },
): Buffer => {
  if (as.format === 'msgpack') return encodeMsgpack(body)
  const text = JSON.stringify(as.byteFields ? writeByteFields(as.byteFields, body) : body)
  const target = Buffer.alloc(Buffer.byteLength(text))
  target.write(text)
  return target
}
