import { LIMITS } from '../../schemas/limits.ts'
import { makesObject } from '../core/instruction.ts'
import type { Hsm, Scheduler } from '../core/ports.ts'
import { fail, ok, type Result } from '../core/result.ts'
import type { PlanAs } from '../operations/operation.ts'

/**
 * Keeps apart what makes objects on a backend and what takes that backend out of the ledger. So an object without a
 * record, whatever crash left it, is on a backend that the ledger still names, where the next start finds it.
 */
export interface Making {
  /**
   * The turn of a plan, to be held until what it made is recorded or gone again. REVISION_CONFLICT for one that makes
   * something where a deletion is under way. A deletion waits for those before it; throws if `signal` fires meanwhile.
   */
  enter(plan: Pick<PlanAs<object>, 'instruction' | 'closes'>, signal: AbortSignal): Promise<Result<Disposable>>
}

interface Options {
  readonly hsm: Pick<Hsm, 'status'>
  readonly scheduler: Scheduler
}

export const createMaking = ({ hsm, scheduler }: Options): Making => {
  const makers = new Map<string, number>()
  const closing = new Set<string>()
  const waiting = new Set<() => void>()

  const begin = (backend: string): Disposable => {
    makers.set(backend, (makers.get(backend) ?? 0) + 1)
    return {
      [Symbol.dispose]() {
        const left = (makers.get(backend) ?? 0) - 1
        if (left > 0) makers.set(backend, left)
        else makers.delete(backend)
        for (const wake of [...waiting]) wake()
      },
    }
  }
  // A call whose caller gave up may still make something, which the adapter then removes.
  const isQuiet = (backend: string): boolean =>
    !makers.has(backend) && !hsm.status().some((status) => status.backend === backend && status.queued > 0)
  const pause = (): Promise<void> =>
    new Promise((resolve) => {
      const wake = () => {
        cancel()
        waiting.delete(wake)
        resolve()
      }
      const cancel = scheduler.after(LIMITS.backendQuietPollMs, wake)
      waiting.add(wake)
    })
  const close = async (backend: string, signal: AbortSignal): Promise<Disposable> => {
    closing.add(backend)
    const lease = { [Symbol.dispose]: () => void closing.delete(backend) }
    try {
      while (!isQuiet(backend)) {
        signal.throwIfAborted()
        await pause()
      }
      return lease
    } catch (error) {
      lease[Symbol.dispose]()
      throw error
    }
  }

  return {
    async enter({ instruction, closes }, signal) {
      if (closes !== undefined) return ok(await close(closes, signal))
      if (instruction === undefined || !makesObject(instruction)) return ok(NO_TURN)
      return closing.has(instruction.backend) ? BEING_DELETED : ok(begin(instruction.backend))
    },
  }
}

const NO_TURN: Disposable = { [Symbol.dispose]: () => undefined }

const BEING_DELETED = fail('REVISION_CONFLICT', 'the HSM connection is being deleted at this moment')
