import type { OperationName } from '../../schemas/registry.ts'
import type { Result } from '../core/result.ts'
import type { CliFault } from './exit.ts'

/** A decoded reply body: byte fields are `Uint8Array`, the caller's to zero. */
export type ReplyFields = Readonly<Record<string, unknown>>

/** A connection to a running service, over either transport. */
export interface Caller {
  /** Asks once. A refusal of the service is exit code 1 and carries its error body; no answer is exit code 3. */
  call(
    operation: OperationName,
    request: Readonly<Record<string, unknown>>,
    options: { readonly idempotencyKey?: string; readonly timeoutMs: number },
  ): Promise<Result<ReplyFields, CliFault>>
  close(): Promise<void>
}

/** What the connection flags of a verb said; each is absent where it was not given. */
export interface TargetFlags {
  /** A NATS server. */
  readonly nats?: string
  /** The base URL of a REST gateway. */
  readonly url?: string
  readonly tokenFile?: string
  /** The NATS user. */
  readonly user?: string
  readonly passwordFile?: string
}

/** Finds the service that the flags and the environment mean, and connects to it. */
export type OpenCaller = (flags: TargetFlags) => Promise<Result<Caller, CliFault>>
