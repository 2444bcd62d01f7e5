import type { OperationName } from '../../schemas/registry.ts'

/** One attempt at one operation. */
export interface Call {
  readonly operation: OperationName
  readonly request: Readonly<Record<string, unknown>>
  readonly token: string
  readonly requestId?: string
  readonly idempotencyKey?: string
  /** Fires at the deadline of the attempt or when the caller cancels. */
  readonly signal: AbortSignal
}

/** How calls reach the service: `createNatsClientTransport` or `createHttpClientTransport`. */
export interface ClientTransport {
  /** The reply body with bytes as `Uint8Array`; rejects with a `KmsError`. */
  send(call: Call): Promise<Record<string, unknown>>
  /** Lets go of what the transport opened itself; calls under way are rejected. */
  close(): Promise<void>
}
