import { watch } from 'node:fs'
import { LIMITS } from '../../schemas/limits.ts'
import type { Scheduler } from '../core/ports.ts'

/** Stops a watch; after it no callback comes. */
export type StopWatch = () => void

/**
 * Calls `look` a moment after the folder last changed, and every policyPollMs in any case: file events do not arrive
 * over network mounts, and a folder that was replaced has no watcher. `look` is never run twice at once; when it answers
 * `again`, it is called once more after the debounce, so that a change seen half written is seen whole before it counts.
 */
export const watchPolicyFolder = (options: {
  readonly policyDir: string
  readonly scheduler: Scheduler
  readonly look: () => Promise<'settled' | 'again'>
}): StopWatch => {
  const { policyDir, scheduler, look } = options
  let stopped = false
  let busy = false
  let cancel: () => void = () => undefined
  let cancelPoll: () => void = () => undefined

  const arm = (): void => {
    if (stopped) return
    cancel()
    cancel = scheduler.after(LIMITS.policyDebounceMs, () => void run())
  }
  const run = async (): Promise<void> => {
    if (stopped) return
    if (busy) return arm()
    busy = true
    const outcome = await look().finally(() => {
      busy = false
    })
    if (outcome === 'again') arm()
  }
  const poll = (): void => {
    if (stopped) return
    cancelPoll = scheduler.after(LIMITS.policyPollMs, () => {
      arm()
      poll()
    })
  }
  const watcher = openWatcher(policyDir, arm)
  poll()
  return () => {
    stopped = true
    watcher?.close()
    cancel()
    cancelPoll()
  }
}

/** The folder may not exist yet, and the machine may be out of inotify watches; the poll covers both. */
const openWatcher = (policyDir: string, onChange: () => void) => {
  try {
    const watcher = watch(policyDir, { persistent: false }, onChange)
    watcher.on('error', () => watcher.close())
    return watcher
  } catch {
    return undefined
  }
}
