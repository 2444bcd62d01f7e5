import type { Guard } from '../../projections/guards.ts'
import type { View } from '../../projections/view.ts'
import type { Appended, Entry } from '../core/ports.ts'
import { type Failure, fail, type Result } from '../core/result.ts'

/** An operation's record on its way into a commit. `answer` settles its caller, once. */
export interface Waiting {
  readonly entry: Entry<Guard>
  answer(result: Result<Appended<View>>): void
}

/**
 * Records in order of arrival, bounded. An entry whose caller goes away leaves the queue at once; after it was taken
 * into a commit it is never cancelled.
 */
export interface AppendQueue {
  /** OVERLOADED when full, TIMEOUT or CANCELLED when the signal fires before the entry is taken. */
  add(entry: Entry<Guard>, signal: AbortSignal): Promise<Result<Appended<View>>>
  /** The oldest entry, still in the queue. */
  peek(): Waiting | undefined
  /** Takes the oldest entry out: it now belongs to a commit. */
  take(): void
  readonly size: number
  /** Answers everything that waits with this failure. */
  failAll(failure: Failure): void
}

export const createAppendQueue = (entriesMax: number): AppendQueue => {
  // A Set keeps the order of arrival and loses a cancelled entry in constant time.
  const waiting = new Set<Waiting & { release(): void }>()

  const takeFirst = () => {
    const [first] = waiting
    if (first === undefined) return undefined
    waiting.delete(first)
    first.release()
    return first
  }
  return {
    add(entry, signal) {
      if (signal.aborted) return Promise.resolve(toAborted(signal))
      if (waiting.size >= entriesMax) return Promise.resolve(fail('OVERLOADED', 'too many records wait for the ledger'))
      return new Promise((resolve) => {
        const onAbort = () => {
          if (waiting.delete(item)) resolve(toAborted(signal))
        }
        const item = { entry, answer: resolve, release: () => signal.removeEventListener('abort', onAbort) }
        signal.addEventListener('abort', onAbort, { once: true })
        waiting.add(item)
      })
    },
    peek() {
      const [first] = waiting
      return first
    },
    take() {
      takeFirst()
    },
    get size() {
      return waiting.size
    },
    failAll(failure) {
      for (let first = takeFirst(); first !== undefined; first = takeFirst())
        first.answer({ ok: false, error: failure })
    },
  }
}

const toAborted = (signal: AbortSignal): Result<never> =>
  signal.reason instanceof Error && signal.reason.name === 'TimeoutError'
    ? fail('TIMEOUT', 'the deadline passed before the record was written')
    : fail('CANCELLED', 'the caller went away before the record was written')
