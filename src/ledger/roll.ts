import type { NatsConnection } from '@nats-io/transport-node'
import type { EventOf } from '../../schemas/events.ts'
import { parseLedgerStream, STREAM_LEDGER, toLedgerStream } from '../../schemas/streams.ts'
import { encodeCommit, encodeEvent, toSubject } from '../core/commit.ts'
import { rootOf } from '../core/compactRange.ts'
import { createEventCheck } from '../core/eventCheck.ts'
import type { Clock, Hsm, Scheduler } from '../core/ports.ts'
import { ok } from '../core/result.ts'
import type { Publication } from './commitStream.ts'
import { createEpochOpener, type Epoch, toServiceEnvelope } from './epoch.ts'
import { describeError, faulty, type LedgerResult } from './fault.ts'
import { listLedgerStreams } from './ledgerStreams.ts'
import type { ReadOptions } from './readToEnd.ts'
import { appendOffline } from './rootCommit.ts'
import { writeSnapshot } from './snapshots/keeper.ts'
import type { SnapshotStore } from './snapshots/store.ts'
import { addLedgerStream, keepBegin, sealLedgerStream } from './stream.ts'
import { createVerifier, type Tip, toNextStream } from './tip.ts'
import type { TreeFile } from './treeFile.ts'

/*
 * How a stream is ended, in order, each step durable before the next and safe to repeat:
 *
 *  1. EpochOpened           an ordinary commit needs the key of an epoch; those of services are gone with them
 *  2. checkpoint, archive   of everything up to there, by the caller, who also verifies the archive
 *  3. snapshot              of the state after LedgerRolled, with the commits it is believed by
 *  4. LedgerRolled          the last commit of its stream
 *  5. checkpoint, archive   of the rest
 *  6. the stream is sealed  and leaves its subjects to the next
 *  7. the next stream       its first sequence is the one after LedgerRolled
 *
 * Whatever is interrupted before 4 leaves an epoch behind and nothing else; after it, the roll goes on at 5.
 */

export interface RollOptions extends ReadOptions {
  readonly hsm: Pick<Hsm, 'signAsRoot'>
  readonly backend: string
  /** Shown in `EpochOpened`, for people. */
  readonly writer: string
  readonly clock: Clock
  readonly scheduler: Scheduler
}

/** An epoch that a command has opened. */
export interface OpenedEpoch {
  readonly tip: Tip
  readonly epoch: Epoch
  /** The stored message of its `EpochOpened`. */
  readonly message: Uint8Array
}

/** Opens an epoch after `tip`. Faults: `hsm`; `bad_commit` if somebody has written since. */
export const openEpochOffline = async (
  options: RollOptions,
  tip: Tip,
  signal: AbortSignal,
): Promise<LedgerResult<OpenedEpoch>> => {
  const opening = await createEpochOpener(options).open(tip, signal)
  if (!opening.ok) return faulty('hsm', `the root cannot attest an epoch: ${opening.error.message}`)
  const { commit, subject, epoch } = opening.value
  const publication = { seq: commit.seq, subject, payload: commit.message, messageId: toHex(commit.hash) }
  const appended = await appendAlone(options, { tip, publication, what: 'the epoch' }, signal)
  return appended.ok ? ok({ tip: appended.value, epoch, message: commit.message }) : appended
}

export interface EndOptions {
  /** The epoch, opened by this command; everything up to it is archived, and a checkpoint of it anchored. */
  readonly opened: OpenedEpoch
  readonly store: SnapshotStore
  readonly tree: TreeFile | undefined
}

/**
 * Writes the snapshot that the next stream is gone on from, then appends `LedgerRolled`; gives the tip after it. Faults:
 * `unreachable` if the snapshot cannot be written; `bad_commit` if somebody has written since.
 */
export const endStream = async (
  options: RollOptions,
  { opened: { tip, epoch, message }, store, tree }: EndOptions,
  signal: AbortSignal,
): Promise<LedgerResult<Tip>> => {
  const publication = buildRolled(options, tip, epoch)
  try {
    // Signed for a commit that is not there yet: should it never be, the snapshot is ignored.
    const next = createVerifier(options.pin, createEventCheck()).advance(tip, publication)
    if (!next.ok) return next
    const commits = [message, publication.payload]
    await writeSnapshot(
      { store, flushTree: async () => tree?.flush() },
      { tip: next.value, epoch, commits },
      () => false,
    )
  } catch (error) {
    return faulty('unreachable', `the snapshot for the next stream cannot be written: ${describeError(error)}`)
  }
  return appendAlone(options, { tip, publication, what: 'the end of the stream' }, signal)
}

const buildRolled = ({ clock }: RollOptions, { chain, tree: { range } }: Tip, epoch: Epoch): Publication => {
  const timeMs = clock.now()
  const event: EventOf<'LedgerRolled'> = {
    ...toServiceEnvelope(chain.origin, 'LedgerRolled', timeMs),
    type: 'LedgerRolled',
    data: { next_stream: nameNext(chain.stream), archived_to: { size: range.size, root: rootOf(range) } },
  }
  const subject = toSubject([event.type])
  const place = { origin: chain.origin, epoch: epoch.number, seq: chain.seq + 1, first: chain.events }
  const { message, hash } = encodeCommit({
    ...{ ...place, subject, timeMs, prev: chain.hash, events: [encodeEvent(event)] },
    ...{ kid: epoch.kid, sign: epoch.sign },
  })
  return { seq: place.seq, subject, payload: message, messageId: toHex(hash), ...toNextStream({ chain }) }
}

const nameNext = (stream = STREAM_LEDGER): string => toLedgerStream((parseLedgerStream(stream) ?? 1) + 1)

const appendAlone = async (
  options: RollOptions,
  append: { readonly tip: Tip; readonly publication: Publication; readonly what: string },
  signal: AbortSignal,
): Promise<LedgerResult<Tip>> => {
  const appended = await appendOffline(options, append, signal)
  if (!appended.ok) return appended
  const { tip, unsettled } = appended.value
  return unsettled === undefined
    ? ok(tip)
    : faulty(
        'bad_commit',
        `sequence ${append.publication.seq} could not be written (${unsettled}): see that no service runs, and run this again`,
      )
}

/** What was ended, and where the ledger goes on. */
export interface Move {
  readonly ended: string
  readonly next: string
  /** Of the `LedgerRolled`. */
  readonly seq: number
  readonly replicas: number
}

/**
 * Seals the ended stream and makes the next one; what was done before is not done again. Needs the `provision` user. Faults:
 * `bad_commit` if something was written after the end; `unreachable`.
 */
export const moveOn = async (
  provision: NatsConnection,
  { ended, next, seq, replicas }: Move,
): Promise<LedgerResult<void>> => {
  const isWhole = async (): Promise<boolean> =>
    (await listLedgerStreams(provision)).some(({ name, lastSeq }) => name === ended && lastSeq === seq)
  const refused = faulty(
    'bad_commit',
    `the stream ${ended} does not end at ${seq}, where it was ended: stop every service that writes, and run ledger verify`,
  )
  try {
    const made = (await listLedgerStreams(provision)).find(({ name }) => name === next)
    if (made !== undefined) {
      if (made.config['first_seq'] !== undefined) await keepBegin(provision, next)
      return ok(undefined)
    }
    if (!(await isWhole())) return refused
    await sealLedgerStream(provision, ended)
    // Now nothing can come any more; something may have come before.
    if (!(await isWhole())) return refused
    await addLedgerStream(provision, { name: next, replicas, firstSeq: seq + 1 })
    return ok(undefined)
  } catch (error) {
    return faulty('unreachable', `the stream ${next} cannot be made: ${describeError(error)}`)
  }
}

const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
