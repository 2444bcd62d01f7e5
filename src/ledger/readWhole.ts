import type { NatsConnection } from '@nats-io/transport-node'
import type { Pin } from '../core/chainState.ts'
import type { Telemetry } from '../core/ports.ts'
import { ok } from '../core/result.ts'
import type { AnchorWatch } from './anchors/watch.ts'
import { faulty, type LedgerResult } from './fault.ts'
import { beginOf, endOf, type LedgerStream, listLedgerStreams, toStreamOf } from './ledgerStreams.ts'
import { createNatsStream } from './natsStream.ts'
import { restoreTip } from './snapshots/restore.ts'
import { createSnapshotStore } from './snapshots/store.ts'
import { readMessages } from './streamReader.ts'
import type { Tip, Verifier } from './tip.ts'
import type { TreeFile } from './treeFile.ts'

/** The tip after everything that the streams have, and how far they count: messages at their end can be missing. */
export interface Whole {
  readonly tip: Tip
  readonly lastSeq: number
}

/** What says where to begin when the streams do not have the beginning any more. */
export interface Begin {
  readonly pin: Pin
  readonly watch: AnchorWatch
  readonly tree: TreeFile | undefined
  readonly telemetry: Telemetry
}

/** In place of what was read and verified when streams were deleted: nothing but the archive has it. */
export const BEGINS_LATE =
  'what was before stands in the archive, and no snapshot holds (the log says why): run ledger restore'

interface WholeOptions {
  readonly connection: NatsConnection
  readonly verifier: Verifier
  readonly begin: Begin
}

/**
 * Reads and verifies the ledger to the message that is the last now, from its beginning, or from the newest snapshot where older
 * streams were deleted; a tip with a `gap` has found what is wrong. Faults: those of `Verifier.read`; `begins_late`; `stopped`
 * when the signal fires.
 */
export const readWhole = async (
  options: WholeOptions,
  onStep: (before: Tip, after: Tip) => void,
  signal: AbortSignal,
): Promise<LedgerResult<Whole>> => {
  const { connection, verifier } = options
  const streams = await listLedgerStreams(connection)
  const lastSeq = endOf(streams)
  const begun = await findBegin(options, streams, signal)
  if (!begun.ok) return begun
  let tip = begun.value
  for await (const message of readMessages(connection, { from: tip.view.at.seq + 1, to: lastSeq }, signal)) {
    const next = verifier.read(tip, message)
    if (!next.ok) return next
    onStep(tip, next.value)
    tip = next.value
  }
  return signal.aborted ? faulty('stopped', 'reading the ledger was stopped') : ok({ tip, lastSeq })
}

const findBegin = async (
  { connection, verifier, begin }: WholeOptions,
  streams: readonly LedgerStream[],
  signal: AbortSignal,
): Promise<LedgerResult<Tip>> => {
  const firstSeq = beginOf(streams)
  if (firstSeq === 1) return ok(verifier.start)
  const store = createSnapshotStore(connection)
  const stream = createNatsStream(connection, toStreamOf(streams))
  const head = endOf(streams)
  const tip = await restoreTip({ ...begin, store, stream, head, firstSeq }, signal)
  return tip === undefined ? faulty('begins_late', `the streams begin at ${firstSeq}: ${BEGINS_LATE}`) : ok(tip)
}
