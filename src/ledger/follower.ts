import type { NatsConnection } from '@nats-io/transport-node'
import { LIMITS } from '../../schemas/limits.ts'
import { STREAM_LEDGER } from '../../schemas/streams.ts'
import type { Scheduler, Telemetry } from '../core/ports.ts'
import { ok } from '../core/result.ts'
import type { CommitStream, StoredMessage } from './commitStream.ts'
import { describeError, faulty, type LedgerResult } from './fault.ts'
import { followMessages, readMessages } from './streamReader.ts'
import { type Tip, toReached, type Verifier } from './tip.ts'
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
 * Reads, verifies and folds everything up to `until`. An interrupted connection only delays it; a gap that a
 * `LedgerRecovered` closes is passed. Faults: `bad_commit` (also for missing messages), `cannot_fold`. Ends early without a
 * fault when the signal fires.
 */
export const catchUp = async (
  reader: Reader & { readonly until: number },
  signal: AbortSignal,
): Promise<LedgerResult<void>> => {
  const { tip, until, verifier } = reader
  while (!signal.aborted && toReached(tip()) < until) {
    const range = { from: toReached(tip()) + 1, to: until }
    const messages = readMessages(reader.connection, range, signal)
    const read = await readAll({ ...reader, messages, step: verifier.read }, signal)
    if (!read.ok) return read
    if (read.value === 'interrupted' || signal.aborted || toReached(tip()) >= until) continue
    return faulty(
      'bad_commit',
      `commits ${toReached(tip()) + 1} to ${until} of the ledger are missing in the stream; run ledger verify`,
    )
  }
  const { gap } = tip()
  return gap === undefined || signal.aborted ? ok(undefined) : { ok: false, error: gap.fault }
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

/** Follows the ledger as it grows, from stream to stream, until the signal fires. Faults as in `catchUp`. */
export const follow = async (reader: Reader, signal: AbortSignal): Promise<LedgerResult<void>> => {
  while (!signal.aborted) {
    const { nextStream, stream } = reader.tip().chain
    const place = { from: reader.tip().view.at.seq + 1, stream: nextStream ?? stream ?? STREAM_LEDGER }
    const messages = untilRolled(reader, followMessages(reader.connection, place, signal))
    const read = await readAll({ ...reader, messages, step: reader.verifier.advance }, signal)
    if (!read.ok) return read
  }
  return ok(undefined)
}

/** Nothing comes in a stream after the commit that ended it. */
async function* untilRolled(
  { tip }: Reader,
  messages: AsyncIterable<StoredMessage>,
): AsyncGenerator<StoredMessage, void, undefined> {
  for await (const message of messages) {
    yield message
    if (tip().chain.nextStream !== undefined) return
  }
}

const readAll = async (
  reader: Reader & { readonly messages: AsyncIterable<StoredMessage>; readonly step: Verifier['advance'] },
  signal: AbortSignal,
): Promise<LedgerResult<'ended' | 'interrupted'>> => {
  try {
    for await (const message of reader.messages) {
      const next = reader.step(reader.tip(), message)
      if (!next.ok) return next
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
