import { jetstreamManager } from '@nats-io/jetstream'
import type { NatsConnection } from '@nats-io/transport-node'
import { LIMITS } from '../../schemas/limits.ts'
import { ok } from '../core/result.ts'
import { createAnchorWatch } from './anchors/watch.ts'
import { describeError, faulty, type LedgerResult } from './fault.ts'
import { endOf, type LedgerStream, listLedgerStreams, toStreamOf } from './ledgerStreams.ts'
import { createNatsStream } from './natsStream.ts'
import type { ReadGoal, ReadOptions } from './readToEnd.ts'
import { restoreTip } from './snapshots/restore.ts'
import { createSnapshotStore } from './snapshots/store.ts'

/** A stream that may be deleted, as far as the streams and the snapshots tell; the archive is for the caller to verify. */
export interface Droppable {
  readonly name: string
  readonly lastSeq: number
}

/**
 * Finds the oldest stream, and makes sure that the ledger can be gone on from without it: it was rolled, and a snapshot of what
 * came after holds, with everything that the anchors remember. Faults: `bad_commit` if it is the one that is written;
 * `begins_late` if no snapshot holds; `unreachable`.
 */
export const findDroppable = async (
  { connection, pin, telemetry }: ReadOptions,
  { memories, tree }: ReadGoal,
  signal: AbortSignal,
): Promise<LedgerResult<Droppable>> => {
  let streams: readonly LedgerStream[]
  try {
    streams = await listLedgerStreams(connection)
  } catch (error) {
    return faulty('unreachable', `the streams cannot be listed: ${describeError(error)}`)
  }
  const [oldest, next] = streams
  if (oldest === undefined || next === undefined || !oldest.isSealed)
    return faulty('bad_commit', 'there is no stream that was rolled: the only one is written')
  const rest = streams.slice(1)
  const firstSeq = next.firstSeq
  const ports = { store: createSnapshotStore(connection), stream: createNatsStream(connection, toStreamOf(rest)) }
  const head = endOf(rest)
  const watch = createAnchorWatch(memories)
  const tip = await restoreTip({ ...ports, pin, telemetry, tree, head, firstSeq, watch }, signal)
  return tip === undefined
    ? faulty(
        'begins_late',
        `without ${oldest.name} no start could go on: no snapshot at or after ${oldest.lastSeq} holds (the log says why). Start the service and let it write one`,
      )
    : ok({ name: oldest.name, lastSeq: oldest.lastSeq })
}

/** Deletes a stream for ever. Needs the `provision` user. Fault: `unreachable`. */
export const dropStream = async (provision: NatsConnection, name: string): Promise<LedgerResult<void>> => {
  try {
    const manager = await jetstreamManager(provision, { checkAPI: false, timeout: LIMITS.natsRequestTimeoutMs })
    await manager.streams.delete(name)
    return ok(undefined)
  } catch (error) {
    return faulty('unreachable', `the stream ${name} cannot be deleted: ${describeError(error)}`)
  }
}
