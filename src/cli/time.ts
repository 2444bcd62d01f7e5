import type { Clock, Scheduler } from '../core/ports.ts'

/** The machine's wall clock. */
export const systemClock: Clock = { now: () => Date.now() }

/** The process's timers; none holds the process open. */
export const systemScheduler: Scheduler = {
  after(ms, task) {
    const timer = setTimeout(task, ms)
    timer.unref()
    return () => clearTimeout(timer)
  },
}
