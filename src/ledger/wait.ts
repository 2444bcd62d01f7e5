import type { Scheduler } from '../core/ports.ts'

/** Resolves after `ms`, or at once when the signal fires. */
export const wait = (scheduler: Scheduler, ms: number, signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) return resolve()
    const done = () => {
      cancel()
      signal.removeEventListener('abort', done)
      resolve()
    }
    const cancel = scheduler.after(ms, done)
    signal.addEventListener('abort', done, { once: true })
  })
