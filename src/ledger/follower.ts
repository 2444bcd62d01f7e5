import type { NatsConnection } from '@nats-io/transport-node'
import { LIMITS } from '../../schemas/limits.ts'
import type { Scheduler, Telemetry } from '../core/ports.ts'
import { ok } from '../core/result.ts'
import { meetsAnchor } from './anchor.ts'
import type { CommitStream } from './commitStream.ts'
import { describeError, faulty, type LedgerResult } from './fault.ts'
import type { Head } from './headFile.ts'
import { followMessages, readMessages } from './streamReader.ts'
import type { Tip, Verifier } from './tip.ts'
import { wait } from './wait.ts'

export interface Reader {
  readonly connection: NatsConnection
  readonly verifier: Verifier
  readonly scheduler: Scheduler
  readonly telemetry: Telemetry
  tip(): Tip
  onTip(tip: Tip): void
}

/**
 * Reads, verifies and folds everything up to `until`. An interrupted connection only delays it. Faults: `bad_commit`
 * (also for missing messages), `cannot_fold`, `anchor_disagrees`. Ends early without a fault when the signal fires.
 */
export const catchUp = async (
  reader: Reader & { readonly until: number; readonly anchor?: Head | undefined },
  signal: AbortSignal,
): Promise<LedgerResult<void>> => {
  const { tip, until } = reader
  while (!signal.aborted && tip().view.at.seq < until) {
    const before = tip().view.at.seq
    const range = { from: before + 1, to: until }
    const read = await readAll(reader, readMessages(reader.connection, range, signal), signal)
    if (!read.ok) return read
    if (read.value === 'interrupted' || signal.aborted || tip().view.at.seq >= until) continue
    return faulty(
      'bad_commit',
      `commits ${tip().view.at.seq + 1} to ${until} of the ledger are missing in the stream; run ledger verify`,
    )
  }
  return ok(undefined)
}

/** Reads the few newest commits one by one, in the shortest time: an epoch can only be opened right after the last one. */
export const stepToEnd = async (
  reader: Reader,
  stream: CommitStream,
  signal: AbortSignal,
): Promise<LedgerResult<void>> => {
  while (!signal.aborted) {
    const back = await stream.readBack(reader.tip().view.at.seq + 1)
    if (back.kind !== 'found') return ok(undefined)
    const next = reader.verifier.advance(reader.tip(), back.message)
    if (!next.ok) return next
    reader.onTip(next.value)
  }
  return ok(undefined)
}

/** Follows the ledger as it grows, until the signal fires. Faults as in `catchUp`. */
export const follow = async (reader: Reader, signal: AbortSignal): Promise<LedgerResult<void>> => {
  while (!signal.aborted) {
    const messages = followMessages(reader.connection, reader.tip().view.at.seq + 1, signal)
    const read = await readAll(reader, messages, signal)
    if (!read.ok) return read
  }
  return ok(undefined)
}

const readAll = async (
  reader: Reader & { readonly anchor?: Head | undefined },
  messages: ReturnType<typeof followMessages>,
  signal: AbortSignal,
): Promise<LedgerResult<'ended' | 'interrupted'>> => {
  try {
    for await (const message of messages) {
      const next = reader.verifier.advance(reader.tip(), message)
      if (!next.ok) return next
      if (!meetsAnchor(reader.anchor, next.value.view.at))
        return faulty(
          'anchor_disagrees',
          `commit ${message.seq} is not the one the head file remembers: history was rewritten. Restore the JetStream store, or the head file if that was changed`,
        )
      reader.onTip(next.value)
    }
    return ok('ended')
  } catch (error) {
    if (signal.aborted) return ok('ended')
    reader.telemetry.log('warn', 'reading the ledger was interrupted', { error: describeError(error) })
    await wait(reader.scheduler, LIMITS.natsReconnectMaxMs, signal)
    return ok('interrupted')
  }
}
