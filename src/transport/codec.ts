import { LIMITS } from '../../schemas/limits.ts'
import { CONTRACTS, OPERATION_NAMES, type OperationName } from '../../schemas/registry.ts'
import { findByteFields } from '../core/byteFields.ts'
import { fail, ok, type Result } from '../core/result.ts'
import { toFieldSchemas } from '../core/route.ts'
import { decodeBody, encodeBody, parseMediaType, type WireFormat } from '../core/wire.ts'

/** The body of a request as it came, with the `Content-Type` that came with it. */
export interface RawBody {
  readonly contentType: string | undefined
  readonly bytes: Uint8Array
  /** Set where a body beyond the limit was not even read to its end. */
  readonly isTooLarge?: boolean
}

/** Turns the bytes of one operation into fields and back; one for each contract, made once. */
export interface Codec {
  /** TOO_LARGE before anything is parsed, UNSUPPORTED_MEDIA_TYPE, INVALID_REQUEST. */
  decode(raw: RawBody): Result<Record<string, unknown>>
  /** A buffer of its own: whoever sends it zeroes it afterwards. */
  encode(format: WireFormat, body: Readonly<Record<string, unknown>>): Buffer
}

/** A codec for each operation of the registry. */
export const createCodecs = (): ReadonlyMap<OperationName, Codec> =>
  new Map(OPERATION_NAMES.map((name) => [name, createCodec(name)]))

const createCodec = (name: OperationName): Codec => {
  const { request, reply } = CONTRACTS[name]
  const requestBytes = findByteFields(request)
  const replyBytes = findByteFields(reply)
  const names = new Set(Object.keys(toFieldSchemas(CONTRACTS[name])))
  return {
    decode: ({ contentType, bytes, isTooLarge }) => {
      if (isTooLarge === true || bytes.length > LIMITS.requestBytesMax) return refuseSize()
      const format = parseMediaType(contentType)
      return format.ok ? decodeBody(bytes, { format: format.value, byteFields: requestBytes, names }) : format
    },
    encode: (format, body) => encodeBody(body, { format, byteFields: replyBytes }),
  }
}

const refuseSize = () => fail('TOO_LARGE', `a request must be at most ${LIMITS.requestBytesMax} bytes`)

/** The format to answer in: the one of the request, JSON where that cannot be told. */
export const toReplyFormat = (contentType: string | undefined): WireFormat => {
  const format = parseMediaType(contentType)
  return format.ok ? format.value : 'json'
}

/** Puts the fields of a path into a body; the body may repeat them but not contradict. */
export const mergePathFields = (
  body: Record<string, unknown>,
  path: Readonly<Record<string, unknown>>,
): Result<Record<string, unknown>> => {
  for (const [name, value] of Object.entries(path)) {
    if (Object.hasOwn(body, name) && body[name] !== value) {
      return fail('INVALID_REQUEST', `${name} must not differ from the one in the path`)
    }
    body[name] = value
  }
  return ok(body)
}
