import type { OperationName } from '../../schemas/registry.ts'
import type { Credentials } from './ports.ts'
import type { Failure, Result } from './result.ts'

/**
 * A request as a transport hands it over. Nothing of the body has been looked at: the pipeline calls `decode` after
 * authentication, so a stranger costs no parsing, and a malformed body of a known caller is a recorded refusal.
 */
export interface Incoming {
  readonly operation: OperationName
  readonly transport: 'nats' | 'rest'
  readonly credentials: Credentials
  /** The caller's own id for the request, if it sent a valid one; the pipeline makes one otherwise. */
  readonly requestId?: string
  readonly idempotencyKey?: string
  /**
   * Strictly decodes the body: a map whose byte fields are `Uint8Array`. The pipeline owns the arrays and zeroes them.
   * Codes: INVALID_REQUEST, TOO_LARGE, UNSUPPORTED_MEDIA_TYPE.
   */
  decode(): Result<Record<string, unknown>>
}

/**
 * The answer. `dispose` zeroes the reply's secret bytes; the transport calls it after it has encoded them, and zeroes
 * its own encoding when that has been handed to the socket.
 */
export type Outgoing =
  | { readonly ok: true; readonly requestId: string; readonly body: Readonly<Record<string, unknown>>; dispose(): void }
  | { readonly ok: false; readonly requestId: string; readonly error: Failure }

/** The one way from a transport to an operation. Never throws. */
export type Dispatch = (incoming: Incoming, signal: AbortSignal) => Promise<Outgoing>
