import {
  DiscardPolicy,
  JetStreamApiCodes,
  JetStreamApiError,
  jetstreamManager,
  RetentionPolicy,
  StorageType,
} from '@nats-io/jetstream'
import type { NatsConnection } from '@nats-io/transport-node'
import { LIMITS } from '../../schemas/limits.ts'
import {
  parseLedgerStream,
  STREAM_CHECKPOINTS,
  STREAM_LEDGER,
  STREAM_SNAPSHOTS,
  SUBJECT_CHECKPOINTS,
  SUBJECT_SNAPSHOTS,
  SUBJECT_STATE,
  SUBJECT_USAGE,
} from '../../schemas/streams.ts'
import { ok } from '../core/result.ts'
import { describeError, faulty, type LedgerResult } from './fault.ts'
import { beginOf, type LedgerStream, listLedgerStreams, type ToStream, toStreamOf } from './ledgerStreams.ts'

/** What a ledger stream must say of itself, word for word. A key that is missing here may have any harmless value. */
const REQUIRED = {
  subjects: [SUBJECT_STATE, SUBJECT_USAGE],
  retention: 'limits',
  storage: 'file',
  discard: 'new',
  max_consumers: -1,
  max_msgs: -1,
  max_bytes: -1,
  max_age: 0,
  max_msgs_per_subject: -1,
  max_msg_size: -1,
  deny_delete: true,
  deny_purge: true,
} as const

/** These may have any value: none of them can drop, change or hide a message. */
const HARMLESS = new Set([
  'name',
  'description',
  'metadata',
  'placement',
  'num_replicas',
  'duplicate_window',
  'compression',
  'allow_direct',
  'mirror_direct',
])

const isNothing = (value: unknown): boolean =>
  value === undefined ||
  value === null ||
  value === false ||
  value === 0 ||
  value === '' ||
  (typeof value === 'object' && Object.keys(value).length === 0)

const isRequired = (key: string): key is keyof typeof REQUIRED => Object.hasOwn(REQUIRED, key)

const sameValue = (actual: unknown, wanted: unknown): boolean =>
  Array.isArray(wanted) && Array.isArray(actual)
    ? JSON.stringify([...actual].sort()) === JSON.stringify([...wanted].sort())
    : actual === wanted

/**
 * What in a stream's configuration could drop, alter or hide a commit; empty if nothing. A setting this version does
 * not know counts as a deviation as soon as it is set to anything: a newer server may offer new ways to lose messages.
 */
export const listDeviations = (config: Readonly<Record<string, unknown>>, replicas: number): readonly string[] => {
  const found: string[] = []
  for (const [key, wanted] of Object.entries(REQUIRED))
    if (!sameValue(config[key], wanted)) found.push(`${key} is ${show(config[key])}, not ${show(wanted)}`)
  for (const [key, value] of Object.entries(config))
    if (!isRequired(key) && !HARMLESS.has(key) && !isNothing(value)) found.push(`${key} is ${show(value)}, not unset`)
  if (config['num_replicas'] !== replicas)
    found.push(`num_replicas is ${show(config['num_replicas'])}, not ${replicas} as configured`)
  return found
}

const show = (value: unknown): string => JSON.stringify(value) ?? 'absent'

/** Creates the ledger's first stream where there is none of the ledger; `checkStream` judges what is there. Needs the `provision` user. */
export const provisionStream = async (connection: NatsConnection, replicas: number): Promise<LedgerResult<void>> => {
  try {
    if ((await listLedgerStreams(connection)).length === 0)
      await addLedgerStream(connection, { name: STREAM_LEDGER, replicas })
    return ok(undefined)
  } catch (error) {
    return faulty('unreachable', `cannot create the stream ${STREAM_LEDGER}: ${describeError(error)}`)
  }
}

/**
 * Creates one of the ledger's streams, where it is not there yet, with `firstSeq` as the sequence of its first message. Safe to
 * repeat. Needs the `provision` user; throws what NATS throws.
 */
export const addLedgerStream = async (
  connection: NatsConnection,
  { name, replicas, firstSeq }: { readonly name: string; readonly replicas: number; readonly firstSeq?: number },
): Promise<void> => {
  const manager = await jetstreamManager(connection, { checkAPI: false, timeout: LIMITS.natsRequestTimeoutMs })
  await manager.streams.add({
    ...REQUIRED,
    subjects: [...REQUIRED.subjects],
    name,
    num_replicas: replicas,
    ...(firstSeq === undefined ? {} : { first_seq: firstSeq }),
  })
  if (firstSeq !== undefined) await keepBegin(connection, name)
}

/**
 * Takes `first_seq` out of a stream's configuration again, which its first message keeps by itself: nats-server before
 * 2.11.1 erases a stream at every restart whose first message has the configured sequence (nats-server pull request 6753).
 */
export const keepBegin = async (connection: NatsConnection, name: string): Promise<void> => {
  const manager = await jetstreamManager(connection, { checkAPI: false, timeout: LIMITS.natsRequestTimeoutMs })
  // The client library's type of a change lacks it; it sends what it is given.
  const change: { readonly first_seq: number; readonly description?: string } = { first_seq: 0 }
  await manager.streams.update(name, change)
}

/**
 * Ends a stream for ever: it takes no message any more, and leaves the ledger's subjects to the next one, since no two
 * streams may have them. Safe to repeat. Needs the `provision` user; throws what NATS throws.
 */
export const sealLedgerStream = async (connection: NatsConnection, name: string): Promise<void> => {
  const manager = await jetstreamManager(connection, { checkAPI: false, timeout: LIMITS.natsRequestTimeoutMs })
  // The client library's type of a change lacks `sealed`; it sends what it is given.
  const change = { subjects: [`kms.ledger.ended.${parseLedgerStream(name)}`], sealed: true }
  await manager.streams.update(name, change)
}

/** Creates the stream of checkpoints where there is none. Needs a user that may: `provision`, on the ledger's own server. */
export const provisionCheckpoints = (connection: NatsConnection, replicas: number): Promise<LedgerResult<void>> =>
  provision(connection, { ...CHECKPOINTS, num_replicas: replicas })

/** Creates the stream of snapshots where there is none. Needs the `provision` user. */
export const provisionSnapshots = (connection: NatsConnection, replicas: number): Promise<LedgerResult<void>> =>
  provision(connection, { ...SNAPSHOTS, num_replicas: replicas })

const provision = async (
  connection: NatsConnection,
  config: (typeof CHECKPOINTS | typeof SNAPSHOTS) & { readonly num_replicas: number },
): Promise<LedgerResult<void>> => {
  try {
    const manager = await jetstreamManager(connection, { checkAPI: false, timeout: LIMITS.natsRequestTimeoutMs })
    try {
      await manager.streams.info(config.name)
    } catch (error) {
      if (!isStreamMissing(error)) throw error
      await manager.streams.add(config)
    }
    return ok(undefined)
  } catch (error) {
    return faulty('unreachable', `cannot create the stream ${config.name}: ${describeError(error)}`)
  }
}

/** The oldest go when there are too many: each is a statement about all before it. */
const CHECKPOINTS = {
  name: STREAM_CHECKPOINTS,
  subjects: [SUBJECT_CHECKPOINTS],
  retention: RetentionPolicy.Limits,
  storage: StorageType.File,
  discard: DiscardPolicy.Old,
  max_msgs: LIMITS.checkpointsStoredMax,
  deny_delete: true,
  deny_purge: true,
}

/** The last message of each subject: a snapshot is written over an older one, so the stream stays as large as all slots. */
const SNAPSHOTS = {
  name: STREAM_SNAPSHOTS,
  subjects: [`${SUBJECT_SNAPSHOTS}.>`],
  retention: RetentionPolicy.Limits,
  storage: StorageType.File,
  discard: DiscardPolicy.Old,
  max_msgs_per_subject: 1,
}

/** The ledger's streams as they stand: sequences count from 1, `lastSeq` 0 is empty. */
export interface StreamState {
  readonly lastSeq: number
  /** The first sequence that is there: 1 until streams that were rolled are deleted. */
  readonly firstSeq: number
  readonly toStream: ToStream
  /** The newest stream, if a roll was interrupted at it: nothing may be written before the roll is finished. */
  readonly unfinished?: string
}

/**
 * Reads the streams' configuration and state back. Faults: `stream_missing`, `stream_altered` (a deviation, or a first
 * message that is not the stream's first), `unreachable`. Messages that are gone further on
 * are found by reading: a `LedgerRecovered` may have named them.
 */
export const checkStream = async (connection: NatsConnection, replicas: number): Promise<LedgerResult<StreamState>> => {
  try {
    const streams = await listLedgerStreams(connection)
    const newest = streams.at(-1)
    if (newest === undefined)
      return faulty('stream_missing', `there is no stream ${STREAM_LEDGER}; run init, or restore the JetStream store`)
    const state = { lastSeq: newest.lastSeq, firstSeq: beginOf(streams), toStream: toStreamOf(streams) }
    if (newest.isSealed || isHalfMade(newest)) return ok({ ...state, unfinished: newest.name })
    const deviations = [...listDeviations(newest.config, replicas)]
    if (newest.number === 1 && newest.firstSeq > 1) deviations.push(`its first message is ${newest.firstSeq}, not 1`)
    return deviations.length === 0
      ? ok(state)
      : faulty(
          'stream_altered',
          `the stream ${newest.name} is not as it was made: ${deviations.join('; ')}. Commits could be lost, so nothing is written to it; restore its configuration and verify the ledger`,
        )
  } catch (error) {
    return faulty('unreachable', `cannot read the streams of the ledger: ${describeError(error)}`)
  }
}

/** A roll was interrupted before {@link keepBegin}. */
const isHalfMade = ({ number, config }: LedgerStream): boolean => number > 1 && !isNothing(config['first_seq'])

const isStreamMissing = (error: unknown): boolean =>
  error instanceof JetStreamApiError && error.code === JetStreamApiCodes.StreamNotFound
