import { LIMITS } from '../../schemas/limits.ts'
import type { Clock, Scheduler, Telemetry } from '../core/ports.ts'
import { type Epoch, type EpochLimits, judgeAge } from './epoch.ts'

/**
 * When the epoch key is renewed. From the first bound on it is tried between two commits, for a moment only, and again after a
 * while: records go on under the old key meanwhile. From the second bound on no record is taken under the old key.
 */
export interface Renewal {
  /** What is due now: `try` only if the last attempt is long enough ago. */
  judge(epoch: Epoch, seq: number): 'none' | 'try' | 'must'
  /** The time that an attempt may take, so that those who wait for their record do not wait for the HSM. */
  limit(due: 'try' | 'must', stop: AbortSignal): { readonly signal: AbortSignal; done(): void }
  /** An attempt failed: the HSM of the ledger is away. */
  failed(due: 'try' | 'must', why: string): void
  succeeded(): void
  /** Whether the key is past the second bound and could not be renewed. */
  readonly isExpired: boolean
}

/** Starts with an epoch that was just opened. */
export const createRenewal = (options: {
  readonly limits: EpochLimits
  readonly clock: Clock
  readonly scheduler: Scheduler
  readonly telemetry: Telemetry
}): Renewal => {
  const { limits, clock, scheduler, telemetry } = options
  let triedAgainAtMs = 0
  let isExpired = false
  return {
    judge(epoch, seq) {
      const ms = clock.now()
      const age = judgeAge(epoch, { seq, ms }, limits)
      if (age === 'try') return ms >= triedAgainAtMs ? 'try' : 'none'
      return age === 'must' ? 'must' : 'none'
    },
    limit(due, stop) {
      if (due === 'must') return { signal: stop, done: () => undefined }
      const giveUp = new AbortController()
      const done = scheduler.after(LIMITS.epochTryMs, () => giveUp.abort())
      return { signal: AbortSignal.any([stop, giveUp.signal]), done }
    },
    failed(due, why) {
      triedAgainAtMs = clock.now() + LIMITS.epochRetryMs
      if (due === 'try') telemetry.log('warn', 'the epoch key was not renewed', { why })
      // Said once: it is tried with every record and every second.
      else if (!isExpired) telemetry.log('error', 'the epoch key is past its bound: no record is taken', { why })
      isExpired = due === 'must'
    },
    succeeded() {
      if (isExpired) telemetry.log('info', 'the epoch key is renewed: records are taken again', {})
      triedAgainAtMs = 0
      isExpired = false
    },
    get isExpired() {
      return isExpired
    },
  }
}
