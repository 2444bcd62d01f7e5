import { ERRORS } from '../../schemas/errors.ts'
import { encodeMsgpack } from '../core/encodeMsgpack.ts'
import type { Failure } from '../core/result.ts'
import type { WireFormat } from '../core/wire.ts'

/** The body of every error on both transports. */
export const toErrorBody = (requestId: string, failure: Failure) => ({
  error: {
    code: failure.code,
    message: failure.message,
    request_id: requestId,
    retryable: ERRORS[failure.code].retryable,
  },
})

/** {@link toErrorBody} as bytes. */
export const encodeError = (format: WireFormat, requestId: string, failure: Failure): Buffer => {
  const body = toErrorBody(requestId, failure)
  return format === 'msgpack' ? encodeMsgpack(body) : Buffer.from(JSON.stringify(body))
}
