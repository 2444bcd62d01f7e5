import type { ErrorCode } from '../../schemas/errors.ts'
import { LIMITS } from '../../schemas/limits.ts'

/** The bound on requests in flight, shared by all transports of a process. */
export interface Admission {
  /** Takes a place, or says that there is none: then the answer is OVERLOADED and nothing is executed. */
  enter(): boolean
  leave(): void
  inFlight(): number
  /** Resolves true once nothing is in flight, false when `ms` have passed first. */
  whenIdle(ms: number): Promise<boolean>
}

export const createAdmission = (max: number = LIMITS.requestsInFlightMax): Admission => {
  let inFlight = 0
  const waiting = new Set<() => void>()
  return {
    enter: () => {
      if (inFlight >= max) return false
      inFlight++
      return true
    },
    leave: () => {
      inFlight--
      if (inFlight > 0) return
      for (const wake of waiting) wake()
      waiting.clear()
    },
    inFlight: () => inFlight,
    whenIdle: (ms) =>
      new Promise((resolve) => {
        if (inFlight === 0) return resolve(true)
        const timer = setTimeout(() => {
          waiting.delete(wake)
          resolve(false)
        }, ms)
        const wake = () => {
          clearTimeout(timer)
          resolve(true)
        }
        waiting.add(wake)
      }),
  }
}

/** Why a signal of {@link startDeadline} fired; `name` is what `AbortSignal.timeout` and `abort()` would give. */
export class RequestAborted extends Error {
  override readonly name: 'TimeoutError' | 'AbortError'
  readonly code: ErrorCode

  constructor(code: 'TIMEOUT' | 'CANCELLED') {
    super(code === 'TIMEOUT' ? 'the deadline of the request passed' : 'the caller went away')
    this.code = code
    this.name = code === 'TIMEOUT' ? 'TimeoutError' : 'AbortError'
  }
}

/** The deadline of one request, and the way to cut it short when the caller is gone. */
export interface Deadline {
  readonly signal: AbortSignal
  cancel(): void
  end(): void
}

/** Starts the clock of a request; `end` must be called when it is answered. */
export const startDeadline = (ms: number = LIMITS.requestDeadlineMs): Deadline => {
  const controller = new AbortController()
  const timer = setTimeout(() => controller.abort(new RequestAborted('TIMEOUT')), ms)
  timer.unref()
  return {
    signal: controller.signal,
    cancel: () => controller.abort(new RequestAborted('CANCELLED')),
    end: () => clearTimeout(timer),
  }
}
