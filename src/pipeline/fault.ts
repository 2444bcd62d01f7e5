import type { Failure } from '../core/result.ts'
import { InvariantError } from '../core/result.ts'

const FRAMES_MAX = 6

/**
 * What the log may know of an exception. Only our own invariants' texts are written: a foreign message may quote what
 * it choked on.
 */
export const describeFault = (error: unknown): Readonly<Record<string, string>> => {
  if (!(error instanceof Error)) return { error: typeof error }
  const frames = (error.stack ?? '')
    .split('\n')
    .filter((line) => line.startsWith('    at '))
    .slice(0, FRAMES_MAX)
    .map((line) => line.trim())
    .join(' < ')
  return { error: error instanceof InvariantError ? `${error.name}: ${error.message}` : error.name, frames }
}

/** How a request ended if its signal did: TIMEOUT for a deadline, CANCELLED for a caller that went away. */
export const findAbortCode = (signal: AbortSignal): Failure | undefined => {
  if (!signal.aborted) return undefined
  return signal.reason instanceof Error && signal.reason.name === 'TimeoutError'
    ? { code: 'TIMEOUT', message: 'the deadline passed before the operation was done' }
    : { code: 'CANCELLED', message: 'the caller went away before the operation was done' }
}
