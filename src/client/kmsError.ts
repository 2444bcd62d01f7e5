import { ERRORS, type ErrorCode } from '../../schemas/errors.ts'
import { isRecord } from '../core/byteFields.ts'

/** What a client can fail with beside the service's codes: no answer, or one that is not the service's. */
export type ClientErrorCode = ErrorCode | 'UNREACHABLE' | 'MALFORMED_REPLY'

/** Why a call did not succeed. `code` is stable, `message` is for people. */
export class KmsError extends Error {
  override readonly name = 'KmsError'
  readonly code: ClientErrorCode
  /** The service's id of the request, to find its record and log lines. */
  readonly requestId: string | undefined
  /** Whether the same call may succeed later; for a change, only with the same idempotency key. */
  readonly retryable: boolean

  constructor(failure: {
    readonly code: ClientErrorCode
    readonly message: string
    readonly requestId?: string | undefined
    readonly retryable: boolean
  }) {
    super(failure.message)
    this.code = failure.code
    this.requestId = failure.requestId
    this.retryable = failure.retryable
  }
}

/** The error of an error body; MALFORMED_REPLY when it is not one. */
export const toKmsError = (body: unknown): KmsError => {
  const error = isRecord(body) && isRecord(body['error']) ? body['error'] : {}
  const { code, message, request_id: requestId } = error
  if (!isErrorCode(code)) return malformedReply()
  return new KmsError({
    code,
    message: typeof message === 'string' ? message : ERRORS[code].meaning,
    requestId: typeof requestId === 'string' ? requestId : undefined,
    retryable: ERRORS[code].retryable,
  })
}

export const malformedReply = (): KmsError =>
  new KmsError({ code: 'MALFORMED_REPLY', message: 'the reply is not one of this service', retryable: false })

export const unreachable = (message: string): KmsError =>
  new KmsError({ code: 'UNREACHABLE', message, retryable: true })

export const timedOut = (): KmsError =>
  new KmsError({ code: 'TIMEOUT', message: 'no reply came before the deadline', retryable: true })

export const cancelled = (): KmsError =>
  new KmsError({ code: 'CANCELLED', message: 'the call was cancelled', retryable: false })

export const overloaded = (): KmsError =>
  new KmsError({ code: 'OVERLOADED', message: 'too many calls of this client are in flight', retryable: true })

const isErrorCode = (code: unknown): code is ErrorCode => typeof code === 'string' && Object.hasOwn(ERRORS, code)
