import { LIMITS } from '../../schemas/limits.ts'
import {
  type BatchItem,
  type BatchOutcome,
  CONTRACTS,
  OPERATION_NAMES,
  type OperationName,
  type ReplyBody,
  type Request,
} from '../../schemas/registry.ts'
import { isRecord } from '../core/byteFields.ts'
import { must } from '../core/result.ts'
import type { ClientTransport } from './clientTransport.ts'
import { cancelled, malformedReply, overloaded, timedOut } from './kmsError.ts'
import { attemptWithRetries } from './retry.ts'

export interface ClientOptions {
  /** From `createNatsClientTransport` or `createHttpClientTransport`. */
  readonly transport: ClientTransport
  /** The bearer token, or where to get a fresh one; asked before each attempt. */
  readonly token: string | (() => string | Promise<string>)
  /** The default deadline of a call, retries included. */
  readonly timeoutMs?: number
  /** Attempts in all at an operation that may be repeated; 1 turns retries off. */
  readonly attemptsMax?: number
  /** Calls in flight, beyond which OVERLOADED is thrown at once. */
  readonly inFlightMax?: number
}

export interface CallOptions {
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
  /** Makes a change repeatable: the same key and request are carried out once. */
  readonly idempotencyKey?: string
  readonly requestId?: string
}

/** The arguments of a method: the request may be left out where no field is required. */
type Arguments<N extends OperationName> =
  Record<never, never> extends Request<N>
    ? [request?: Request<N>, options?: CallOptions]
    : [request: Request<N>, options?: CallOptions]

/** The reply to a batch: at each place what became of the item there. */
export type BatchReplyOf<L extends readonly BatchItem[]> = Omit<ReplyBody<'Batch'>, 'results'> & {
  readonly results: {
    readonly [I in keyof L]: Extract<BatchOutcome, { ok: false } | { operation: L[I]['operation'] }>
  }
}

/** One method for each operation of the registry, `client.encrypt(…)`; throws `KmsError`. */
export type Client = {
  readonly [N in Exclude<OperationName, 'Batch'> as Uncapitalize<N>]: (...args: Arguments<N>) => Promise<ReplyBody<N>>
} & {
  /** Throws only if the batch as a whole was refused; an item that failed is a result with `ok: false`. */
  batch<const L extends readonly BatchItem[]>(
    request: { readonly operations: L },
    options?: CallOptions,
  ): Promise<BatchReplyOf<L>>
  /** Closes the transport; calls under way are rejected. */
  close(): Promise<void>
}

/**
 * A client with a method for each operation, all derived from the contracts. Retries what the error table calls
 * retryable, within the deadline, and a change only if it has an idempotency key.
 */
export const createClient = (options: ClientOptions): Client => {
  const { transport, inFlightMax = LIMITS.requestsInFlightMax } = options
  let inFlight = 0

  const call = async (operation: OperationName, request: object, callOptions: CallOptions) => {
    if (inFlight >= inFlightMax) throw overloaded()
    inFlight++
    const deadline = startCallDeadline(callOptions.timeoutMs ?? options.timeoutMs, callOptions.signal)
    const { signal } = deadline
    try {
      return await attemptWithRetries(() => attempt({ operation, request, callOptions, signal }), {
        mayRepeat: CONTRACTS[operation].effect !== 'change' || callOptions.idempotencyKey !== undefined,
        attemptsMax: options.attemptsMax ?? LIMITS.clientAttemptsMax,
        signal,
        random: Math.random,
      })
    } finally {
      deadline.end()
      inFlight--
    }
  }

  const attempt = async (asked: {
    readonly operation: OperationName
    readonly request: object
    readonly callOptions: CallOptions
    readonly signal: AbortSignal
  }) => {
    const { operation, request, callOptions, signal } = asked
    const { idempotencyKey, requestId } = callOptions
    try {
      const reply = await transport.send({
        operation,
        request: { ...request },
        token: typeof options.token === 'string' ? options.token : await options.token(),
        signal,
        ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
        ...(requestId === undefined ? {} : { requestId }),
      })
      if (!isRecord(reply['receipt'])) throw malformedReply()
      return reply
    } catch (error) {
      if (callOptions.signal?.aborted) throw cancelled()
      throw signal.aborted ? timedOut() : error
    }
  }

  const methods = OPERATION_NAMES.map((name) => [
    toMethodName(name),
    (request: object = {}, callOptions: CallOptions = {}) => call(name, request, callOptions),
  ])
  const client: unknown = Object.freeze({ ...Object.fromEntries(methods), close: () => transport.close() })
  must(isClient(client), 'a client has a method for each operation')
  return client
}

/** `GenerateDataKey` → `generateDataKey`. */
export const toMethodName = (name: OperationName): string => name.charAt(0).toLowerCase() + name.slice(1)

const isClient = (value: unknown): value is Client =>
  isRecord(value) && OPERATION_NAMES.every((name) => typeof value[toMethodName(name)] === 'function')

/** One signal for deadline and caller; a plain timer, since `AbortSignal.any` would be kept alive by a long-lived caller. */
const startCallDeadline = (ms: number = LIMITS.requestDeadlineMs, caller?: AbortSignal) => {
  const controller = new AbortController()
  const abort = () => controller.abort()
  const timer = setTimeout(abort, ms)
  if (caller?.aborted) abort()
  caller?.addEventListener('abort', abort, { once: true })
  return {
    signal: controller.signal,
    end: () => {
      clearTimeout(timer)
      caller?.removeEventListener('abort', abort)
    },
  }
}
