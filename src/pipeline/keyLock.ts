import { LIMITS } from '../../schemas/limits.ts'
import { fail, ok, type Result } from '../core/result.ts'

/** Serializes what changes one key; unrelated work does not wait. */
export interface KeyLock {
  /** Waits for the turn of `name`. OVERLOADED when too many wait; the lease must be disposed on every path. */
  lease(name: string): Promise<Result<Disposable>>
}

export const createKeyLock = (waitersMax: number = LIMITS.keyQueueWaitersMax): KeyLock => {
  const queues = new Map<string, (() => void)[]>()
  const release = (name: string) => {
    const next = queues.get(name)?.shift()
    if (next === undefined) queues.delete(name)
    else next()
  }
  return {
    async lease(name) {
      const queue = queues.get(name)
      if (queue === undefined) queues.set(name, [])
      else if (queue.length >= waitersMax) return fail('OVERLOADED', 'too many requests wait to change this key')
      else await new Promise<void>((resolve) => queue.push(resolve))
      let isHeld = true
      return ok({
        [Symbol.dispose]() {
          if (isHeld) release(name)
          isHeld = false
        },
      })
    },
  }
}
