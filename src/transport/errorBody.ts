import { ERRORS } from '../../schemas/errors.ts'
import type { Failure } from '../core/result.ts'

/** The body of every error on both transports. */
export const toErrorBody = (requestId: string, failure: Failure) => ({
  error: {
    code: failure.code,
    message: failure.message,
    request_id: requestId,
    retryable: ERRORS[failure.code].retryable,
  },
})
