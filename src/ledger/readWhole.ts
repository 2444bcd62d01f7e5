import type { NatsConnection } from '@nats-io/transport-node'
import { faulty, type LedgerResult } from './fault.ts'
import { readLastSeq } from './stream.ts'
import { readMessages } from './streamReader.ts'
import type { Tip, Verifier } from './tip.ts'

/** The tip after everything that the stream has, and how far the stream counts: messages at its end can be missing. */
export interface Whole {
  readonly tip: Tip
  readonly lastSeq: number
}

/**
 * Reads and verifies the stream from its first message to the one that is the last now; a tip with a `gap` has found what is
 * wrong. Faults: those of `Verifier.read`; `stopped` when the signal fires.
 */
export const readWhole = async (
  { connection, verifier }: { readonly connection: NatsConnection; readonly verifier: Verifier },
  onStep: (before: Tip, after: Tip) => void,
  signal: AbortSignal,
): Promise<LedgerResult<Whole>> => {
  const lastSeq = await readLastSeq(connection)
  let tip = verifier.start
  for await (const message of readMessages(connection, { from: 1, to: lastSeq }, signal)) {
    const next = verifier.read(tip, message)
    if (!next.ok) return next
    onStep(tip, next.value)
    tip = next.value
  }
  return signal.aborted ? faulty('stopped', 'reading the ledger was stopped') : { ok: true, value: { tip, lastSeq } }
}
