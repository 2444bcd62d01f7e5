import { LIMITS } from '../../schemas/limits.ts'
import { fail, ok, type Result } from '../core/result.ts'

/** What a request may say beside its body. A header that came more than once is joined by `, ` and so fails its rule. */
export interface RequestHeaders {
  authorization?: string
  'content-type'?: string
  'idempotency-key'?: string
  'request-id'?: string
  accept?: string
}

const KNOWN: ReadonlyMap<string, keyof RequestHeaders> = new Map(
  (['authorization', 'content-type', 'idempotency-key', 'request-id', 'accept'] as const).map((name) => [name, name]),
)

/** Adds one header if it is one that counts; names are compared without case. */
export const collectHeader = (into: RequestHeaders, name: string, value: string): void => {
  const known = KNOWN.get(name) ?? KNOWN.get(name.toLowerCase())
  if (known === undefined) return
  const before = into[known]
  into[known] = before === undefined ? value : `${before}, ${value}`
}

const REQUEST_ID = new RegExp(`^[\\x21-\\x7e]{1,${LIMITS.requestIdCharsMax}}$`)
const IDEMPOTENCY_KEY = new RegExp(`^[\\x21-\\x7e]{1,${LIMITS.idempotencyKeyCharsMax}}$`)

/** The caller's request id if it is printable ASCII of bounded length; what is not is as good as none. */
export const readRequestId = (value: string | undefined): string | undefined =>
  value !== undefined && REQUEST_ID.test(value) ? value : undefined

/** An `Idempotency-Key` that cannot be kept is refused rather than ignored: the caller relies on it. */
export const readIdempotencyKey = (value: string | undefined): Result<string | undefined> =>
  value === undefined || IDEMPOTENCY_KEY.test(value)
    ? ok(value)
    : fail(
        'INVALID_REQUEST',
        `Idempotency-Key must be 1 to ${LIMITS.idempotencyKeyCharsMax} printable ASCII characters without spaces`,
      )
