import type { ErrorCode } from '../../schemas/errors.ts'

/** An expected failure. `message` goes to the caller: it names the field and the rule, and holds no secret, path or stack. */
export interface Failure {
  readonly code: ErrorCode
  readonly message: string
}

/** A value, or why there is none. A throw is a bug or a dying process, never a Result. */
export type Result<T, E = Failure> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly error: E }

export const ok = <T>(value: T): { readonly ok: true; readonly value: T } => ({ ok: true, value })

export const fail = (code: ErrorCode, message: string): { readonly ok: false; readonly error: Failure } => ({
  ok: false,
  error: { code, message },
})

/** A broken invariant: the code is wrong, or what was read is not what was written. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError'
}

/** Asserts an invariant; throws {@link InvariantError} with `why` if it does not hold. */
export function must(condition: unknown, why: string): asserts condition {
  if (!condition) throw new InvariantError(why)
}
