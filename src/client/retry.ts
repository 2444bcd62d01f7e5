import { setTimeout as sleep } from 'node:timers/promises'
import { LIMITS } from '../../schemas/limits.ts'
import { KmsError } from './kmsError.ts'

export interface RetryRules {
  /** Whether asking twice is harmless: not a change, or a change with an idempotency key. */
  readonly mayRepeat: boolean
  readonly attemptsMax: number
  readonly signal: AbortSignal
  /** From 0 to 1; `Math.random` outside of tests. */
  readonly random: () => number
}

/**
 * Attempts until one succeeds, fails for good, the attempts are used up or the signal fires. The pause doubles from
 * attempt to attempt; its length is random up to that, so that callers who failed together do not come back together.
 */
export const attemptWithRetries = async <T>(attempt: () => Promise<T>, rules: RetryRules): Promise<T> => {
  for (let made = 1; ; made++) {
    try {
      return await attempt()
    } catch (error) {
      const mayRetry = error instanceof KmsError && error.retryable && rules.mayRepeat && made < rules.attemptsMax
      if (!mayRetry || rules.signal.aborted) throw error
      if (!(await pause(toPauseMs(made, rules.random), rules.signal))) throw error
    }
  }
}

/** The pause after attempt `made`, counted from 1. */
export const toPauseMs = (made: number, random: () => number): number =>
  Math.min(LIMITS.clientBackoffMsMax, LIMITS.clientBackoffMsMin * 2 ** (made - 1)) * random()

const pause = async (ms: number, signal: AbortSignal): Promise<boolean> => {
  try {
    await sleep(ms, undefined, { signal })
    return true
  } catch {
    return false
  }
}
