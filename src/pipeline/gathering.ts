import type { Guard } from '../../projections/guards.ts'
import type { View } from '../../projections/view.ts'
import { LIMITS } from '../../schemas/limits.ts'
import type { Ledger, Scheduler } from '../core/ports.ts'

type Append = Ledger<View, Guard>['append']

export interface GatheringOptions {
  readonly ledger: Ledger<View, Guard>
  readonly scheduler: Scheduler
  /** When it fires nothing is waited for any more. */
  readonly signal: AbortSignal
  /** How many members there are. */
  readonly count: number
  /** Told once of each member: it has brought its record, or will bring none. */
  onSettled(): void
}

/**
 * The records of several operations on their way to the ledger together: the first record of each waits until all
 * members have brought theirs or ended, at most `batchGatherMs`, and all are then appended in the same turn of the event
 * loop, in the order of the members. So they share a commit where one holds them all. Later records pass through.
 */
export interface Gathering {
  /** The ledger as the member at `index` sees it. */
  ledgerOf(index: number): Ledger<View, Guard>
  /** The member is done: nobody waits for a record of it. */
  end(index: number): void
}

export const createGathering = ({ ledger, scheduler, signal, count, onSettled }: GatheringOptions): Gathering => {
  const waiting: ((() => void) | undefined)[] = new Array(count).fill(undefined)
  const settled = new Set<number>()
  let isOpen = true

  const release = () => {
    if (!isOpen) return
    isOpen = false
    cancel()
    signal.removeEventListener('abort', release)
    for (const submit of waiting.splice(0)) submit?.()
  }
  const settle = (index: number) => {
    if (settled.has(index)) return
    settled.add(index)
    onSettled()
    if (settled.size === count) release()
  }
  const cancel = scheduler.after(LIMITS.batchGatherMs, release)
  if (signal.aborted) release()
  else signal.addEventListener('abort', release, { once: true })

  const appendOf =
    (index: number): Append =>
    (entry, entrySignal) => {
      if (!isOpen || settled.has(index)) {
        settle(index)
        return ledger.append(entry, entrySignal)
      }
      return new Promise((resolve) => {
        waiting[index] = () => resolve(ledger.append(entry, entrySignal))
        settle(index)
      })
    }
  return {
    ledgerOf: (index) => ({
      append: appendOf(index),
      prove: (query, proofSignal) => ledger.prove(query, proofSignal),
      list: (query, listSignal) => ledger.list(query, listSignal),
      checkpoint: () => ledger.checkpoint(),
      measureClockSkew: (skewSignal) => ledger.measureClockSkew(skewSignal),
      view: () => ledger.view(),
      status: () => ledger.status(),
    }),
    end: settle,
  }
}
