import type { Guard } from '../../projections/guards.ts'
import type { View } from '../../projections/view.ts'
import { createUuidV7 } from '../core/lid.ts'
import type { Clock, Ledger, Telemetry } from '../core/ports.ts'
import { toEvent, toServiceSubject } from '../pipeline/envelope.ts'

interface Options {
  readonly ledger: Ledger<View, Guard>
  readonly clock: Clock
  readonly origin: string
  readonly telemetry: Telemetry
}

interface PolicySet {
  readonly sha256: Uint8Array
  readonly policies: number
}

const RETRY_MS = 1_000

/** Records which policy set is in force as `PolicySetLoaded`; only the newest is kept while the ledger can't be written. */
export const recordPolicySets = ({ ledger, clock, origin, telemetry }: Options) => {
  let waiting: PolicySet | undefined
  let isStarted = false
  let isRunning = false

  const append = async ({ sha256, policies }: PolicySet): Promise<boolean> => {
    const id = createUuidV7(clock.now())
    const event = toEvent(
      id,
      toServiceSubject(origin, id, 'kms:LoadPolicySet'),
      { type: 'PolicySetLoaded', data: { sha256, policies } },
      { outcome: 'success' },
    )
    const signal = new AbortController().signal
    return (await ledger.append({ events: [event], guards: [], toFailed: () => event }, signal)).ok
  }
  const run = async (): Promise<void> => {
    if (!isStarted || isRunning) return
    isRunning = true
    while (waiting !== undefined) {
      const set = waiting
      const isWriter = ledger.status().role === 'writer'
      if (isWriter && (await append(set))) {
        if (waiting === set) waiting = undefined
      } else await new Promise((resolve) => setTimeout(resolve, RETRY_MS).unref())
    }
    isRunning = false
  }
  const start = () => {
    isStarted = true
    run().catch(() => telemetry.log('error', 'the policy set in force could not be recorded'))
  }
  return {
    note(sha256: Uint8Array, policies: number) {
      waiting = { sha256, policies }
      if (isStarted) start()
    },
    /** Begins to record; before that the newest set waits. */
    start,
  }
}
