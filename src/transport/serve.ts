import { randomUUID } from 'node:crypto'
import { LIMITS } from '../../schemas/limits.ts'
import type { OperationName } from '../../schemas/registry.ts'
import type { Telemetry } from '../core/ports.ts'
import type { Dispatch, Incoming, Outgoing } from '../core/request.ts'
import type { Failure, Result } from '../core/result.ts'
import { type Admission, type Deadline, startDeadline } from './admission.ts'
import { type RequestHeaders, readIdempotencyKey, readRequestId } from './requestHeaders.ts'

/** What both transports need. One `admission` is shared by all of a process. */
export interface ServePorts {
  readonly dispatch: Dispatch
  readonly telemetry: Telemetry
  readonly admission: Admission
}

/** A request before its headers were looked at. */
export interface Arrival {
  readonly operation: OperationName
  readonly transport: 'nats' | 'rest'
  readonly headers: RequestHeaders
  readonly certificate?: { readonly spiffeId?: string; readonly commonName?: string }
  decode(): Result<Record<string, unknown>>
}

/** Answers one request; never throws and never answers twice. `onStart` gets the way to cancel it. */
export type Serve = (arrival: Arrival, onStart?: (deadline: Deadline) => void) => Promise<Outgoing>

/**
 * Carries a request to the pipeline: OVERLOADED when there is no place, a deadline on everything else. A dispatch that
 * does not heed its signal is answered for (TIMEOUT); its late output is disposed of, and its place stays taken until
 * it ends.
 */
export const createServe =
  ({ dispatch, telemetry, admission }: ServePorts): Serve =>
  async (arrival, onStart) => {
    const requestId = readRequestId(arrival.headers['request-id'])
    const refuse = (error: Failure): Outgoing => ({ ok: false, requestId: requestId ?? randomUUID(), error })
    if (!admission.enter()) {
      telemetry.operationDone(arrival.operation, arrival.transport, 'OVERLOADED', 0)
      return refuse({ code: 'OVERLOADED', message: 'too many requests are in flight; ask again after a pause' })
    }
    const deadline = startDeadline()
    onStart?.(deadline)
    const answer = (async () => {
      try {
        return await dispatch(toIncoming(arrival, requestId), deadline.signal)
      } catch (error) {
        telemetry.log('error', 'dispatch threw', { operation: arrival.operation, error: toErrorName(error) })
        return refuse({ code: 'INTERNAL', message: 'a fault of the service' })
      } finally {
        deadline.end()
        admission.leave()
      }
    })()
    return answerInTime(answer, deadline.signal, refuse)
  }

const toIncoming = (arrival: Arrival, requestId: string | undefined): Incoming => {
  const { headers, certificate } = arrival
  const idempotencyKey = readIdempotencyKey(headers['idempotency-key'])
  return {
    operation: arrival.operation,
    transport: arrival.transport,
    credentials: {
      ...(headers.authorization === undefined ? {} : { authorization: headers.authorization }),
      ...(certificate === undefined ? {} : { certificate }),
    },
    ...(requestId === undefined ? {} : { requestId }),
    ...(idempotencyKey.ok && idempotencyKey.value !== undefined ? { idempotencyKey: idempotencyKey.value } : {}),
    // A bad header of a known caller is a recorded refusal like a bad body.
    decode: () => (idempotencyKey.ok ? arrival.decode() : idempotencyKey),
  }
}

/** The answer, or TIMEOUT a grace after the signal fired. */
const answerInTime = (
  answer: Promise<Outgoing>,
  signal: AbortSignal,
  refuse: (error: Failure) => Outgoing,
): Promise<Outgoing> =>
  new Promise((resolve) => {
    let late = false
    let timer: NodeJS.Timeout | undefined
    const giveUp = () => {
      late = true
      resolve(refuse({ code: 'TIMEOUT', message: 'the deadline of the request passed' }))
    }
    const onAbort = () => {
      timer = setTimeout(giveUp, LIMITS.requestAbortGraceMs)
    }
    if (signal.aborted) onAbort()
    else signal.addEventListener('abort', onAbort, { once: true })
    void answer.then((outgoing) => {
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
      if (late && outgoing.ok) outgoing.dispose()
      else resolve(outgoing)
    })
  })

/** The class of an error: its message may hold anything, so it is not logged. */
export const toErrorName = (error: unknown): string => (error instanceof Error ? error.name : typeof error)
