/**
 * The one table of error codes. A code names what happened; the status is its HTTP form and the
 * `Nats-Service-Error-Code`; `retryable` tells a client whether the same request may succeed later.
 */
export const ERRORS = {
  INVALID_REQUEST: {
    status: 400,
    retryable: false,
    meaning: 'The request breaks its schema or a rule; the message names the field.',
  },
  IMMUTABLE_TAG: { status: 400, retryable: false, meaning: 'A user tag would shadow or change an identity tag.' },
  INVALID_CIPHERTEXT: {
    status: 400,
    retryable: false,
    meaning: 'The ciphertext cannot be decrypted; every cause reads the same.',
  },
  UNAUTHENTICATED: { status: 401, retryable: false, meaning: 'No credential, or one that is not valid.' },
  ACCESS_DENIED: { status: 403, retryable: false, meaning: 'The policy decision point did not permit the action.' },
  KEY_NOT_FOUND: { status: 404, retryable: false, meaning: 'There is no such key.' },
  ALIAS_NOT_FOUND: { status: 404, retryable: false, meaning: 'There is no such alias.' },
  NOT_FOUND: { status: 404, retryable: false, meaning: 'There is no such route or resource.' },
  METHOD_NOT_ALLOWED: { status: 405, retryable: false, meaning: 'The route exists, but not with this method.' },
  ALREADY_EXISTS: { status: 409, retryable: false, meaning: 'The name is taken.' },
  KEY_NOT_USABLE: {
    status: 409,
    retryable: false,
    meaning: 'The key, a version of it or one of its ancestors is in a state that forbids this use.',
  },
  INVALID_STATE_TRANSITION: {
    status: 409,
    retryable: false,
    meaning: 'The key cannot go from its state to the one asked for.',
  },
  PARENT_NOT_USABLE: { status: 409, retryable: false, meaning: 'The parent key, or an ancestor of it, is not usable.' },
  KEY_HAS_DEPENDENTS: { status: 409, retryable: false, meaning: 'Other living keys depend on this one.' },
  REVISION_CONFLICT: { status: 409, retryable: true, meaning: 'The record changed since it was read.' },
  IDEMPOTENCY_CONFLICT: {
    status: 409,
    retryable: false,
    meaning: 'The idempotency key was used with another request.',
  },
  KEY_EXHAUSTED: {
    status: 409,
    retryable: false,
    meaning: 'The key version has used up its message budget; rotate the key.',
  },
  TOO_LARGE: { status: 413, retryable: false, meaning: 'The request is larger than the limit.' },
  UNSUPPORTED_MEDIA_TYPE: {
    status: 415,
    retryable: false,
    meaning: 'The content type is not one the operation reads.',
  },
  UNSUPPORTED_BY_HSM: { status: 422, retryable: false, meaning: 'The HSM lacks the mechanism this key would need.' },
  RATE_LIMITED: { status: 429, retryable: true, meaning: 'Too many requests.' },
  CANCELLED: { status: 499, retryable: true, meaning: 'The caller went away before the operation began.' },
  INTERNAL: { status: 500, retryable: false, meaning: 'A fault of the service; the log has the request id.' },
  HSM_UNAVAILABLE: { status: 503, retryable: true, meaning: 'The HSM backend of this key does not answer.' },
  PDP_UNAVAILABLE: {
    status: 503,
    retryable: true,
    meaning: 'The policy decision point gave no verdict; recorded as a denial.',
  },
  LEDGER_UNAVAILABLE: {
    status: 503,
    retryable: true,
    meaning:
      'The ledger did not confirm the record. For a change the outcome is unknown: ask again with the same idempotency key.',
  },
  OVERLOADED: { status: 503, retryable: true, meaning: 'A queue is full; ask again after a pause.' },
  TIMEOUT: { status: 504, retryable: true, meaning: 'The deadline passed before the operation was done.' },
} as const

/** A code of {@link ERRORS}. */
export type ErrorCode = keyof typeof ERRORS
