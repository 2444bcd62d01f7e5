import { setTimeout as sleep } from 'node:timers/promises'
import { type NatsConnection, PermissionViolationError } from '@nats-io/nats-core'
import { LIMITS } from '../../schemas/limits.ts'
import { STREAM_LEDGER } from '../../schemas/streams.ts'
import { reachedBy } from '../core/chain.ts'
import type { ChainState, LedgerMessage } from '../core/chainState.ts'
import { LedgerArchived, LedgerFault } from './ledgerFault.ts'
import { getMessages } from './ledgerGets.ts'
import { isStreamMissing, listLedgerStreams, readStreamEnds, type StreamEnds } from './ledgerStreams.ts'

/** A stored message, and whether its stream held none after it when it was asked. */
export interface Pulled {
  readonly message: LedgerMessage
  readonly isLast: boolean
}

export interface PullOptions {
  /** The chain with all that was pulled so far: where to go on, and in which stream. */
  readonly reached: () => ChainState
  /** Where to begin if the chain says nothing of it; else the ledger's oldest stream. */
  readonly stream: string | undefined
  /** Whether to end where the ledger ends at that moment; else waits for more. */
  readonly endsAtLast: boolean
}

/**
 * Messages of a ledger in order, from stream to stream as the chain says. Asks for more only as messages are taken. Goes on after each
 * interruption, and ends when the signal fires. Throws {@link LedgerFault} where the stream has lost its end,
 * {@link LedgerArchived} where the streams do not have the next message any more, and what NATS throws when that will not pass.
 */
export async function* pullLedger(
  connection: NatsConnection,
  options: PullOptions,
  signal: AbortSignal,
): AsyncGenerator<Pulled> {
  let tried: StreamEnds | undefined
  for (let [failures, idle] = [0, 0]; !signal.aborted; ) {
    try {
      const ends = await readEnds(connection, options)
      failures = 0
      if (isMore(ends, tried)) {
        yield* pullUpTo(connection, { ...options, ends }, signal)
        tried = ends
        idle = 0
        continue
      }
      if (options.endsAtLast) return mustBeRead(ends, options)
      await pause(LIMITS.ledgerPollMs * 2 ** idle, LIMITS.ledgerPollMsMax, signal)
      idle += 1
    } catch (error) {
      if (signal.aborted) return
      failures += 1
      if (isLasting(error, connection) || failures > LIMITS.ledgerReadAttemptsMax) throw error
      await pause(LIMITS.natsReconnectMs * 2 ** failures, LIMITS.natsReconnectMaxMs, signal)
    }
  }
}

/** What a stream has now; up to where the ledger leaves it for another. */
async function* pullUpTo(
  connection: NatsConnection,
  { ends, reached }: PullOptions & { readonly ends: StreamEnds },
  signal: AbortSignal,
): AsyncGenerator<Pulled> {
  const from = Math.max(reachedBy(reached()) + 1, ends.firstSeq)
  for await (const message of getMessages(connection, { stream: ends.name, from, to: ends.lastSeq }, signal)) {
    yield { message, isLast: message.seq === ends.lastSeq }
    if (reached().nextStream !== undefined) return
  }
}

/** The stream to read next, nothing if a roll has not made it yet. */
const readEnds = async (
  connection: NatsConnection,
  { reached, stream: first }: PullOptions,
): Promise<StreamEnds | undefined> => {
  const { nextStream, stream = first } = reached()
  const wanted = reachedBy(reached()) + 1
  try {
    const ends = await readStreamEnds(connection, nextStream ?? stream ?? (await findOldest(connection)))
    if (wanted === 1 && ends.begin > wanted) throw new LedgerArchived(wanted, ends)
    if (ends.lastSeq < wanted - 1)
      throw toFault(ends.lastSeq + 1, `${ends.name} ends before it, though ${wanted - 1} was read`)
    return ends
  } catch (error) {
    if (!isStreamMissing(error)) throw error
    const later = await findLater(connection, wanted)
    if (later !== undefined) throw new LedgerArchived(wanted, later)
    if (nextStream === undefined) throw error
    return undefined
  }
}

/** Where there is none at all, the first: that it is not there is said by whoever asks for it. */
const findOldest = async (connection: NatsConnection): Promise<string> =>
  (await listLedgerStreams(connection))[0] ?? STREAM_LEDGER

/** The oldest stream that begins after what is wanted: then that was in one that is gone. */
const findLater = async (connection: NatsConnection, wanted: number): Promise<StreamEnds | undefined> => {
  for (const name of await listLedgerStreams(connection)) {
    const ends = await readStreamEnds(connection, name)
    if (ends.begin > wanted) return ends
  }
  return undefined
}

const isMore = (ends: StreamEnds | undefined, tried: StreamEnds | undefined): ends is StreamEnds =>
  ends !== undefined && (ends.name !== tried?.name || ends.lastSeq > tried.lastSeq)

/** A message that the server cannot read from its disk is counted and never given, and at the end nothing follows it. */
const mustBeRead = (ends: StreamEnds | undefined, { reached }: PullOptions): void => {
  const last = reachedBy(reached())
  if (ends !== undefined && last < ends.lastSeq) throw toFault(last + 1, 'the server does not deliver it')
}

const toFault = (seq: number, reason: string): LedgerFault => new LedgerFault([{ seq, reason, kind: 'lasting' }])

const pause = (ms: number, msMax: number, signal: AbortSignal): Promise<void> =>
  sleep(Math.min(ms, msMax), undefined, { signal }).catch(() => undefined)

const isLasting = (error: unknown, connection: NatsConnection): boolean =>
  connection.isClosed() ||
  error instanceof LedgerFault ||
  error instanceof LedgerArchived ||
  isForbidden(error) ||
  isStreamMissing(error)

/** The client library wraps what a request failed for. */
const isForbidden = (error: unknown): boolean =>
  error instanceof PermissionViolationError || (error instanceof Error && isForbidden(error.cause))
