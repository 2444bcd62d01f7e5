import type { NatsConnection } from '@nats-io/transport-node'
import type { Pin } from '../core/chainState.ts'
import type { Clock, Hsm, LedgerStatus, Scheduler, Telemetry } from '../core/ports.ts'
import type { Anchor } from './anchors/anchor.ts'
import type { EpochLimits } from './epoch.ts'
import type { Committed } from './metrics.ts'
import type { SyncCheck } from './server.ts'

export type LedgerRole = LedgerStatus['role']

/** Bounds that a test may tighten; the defaults are `LIMITS`. */
export interface LedgerBounds {
  readonly appendDeadlineMs: number
  readonly appendQueueMax: number
  readonly writerAskIntervalMs: number
  readonly writerJitterMs: number
  readonly drainDeadlineMs: number
  readonly storagePollMs: number
  readonly epoch: EpochLimits
}

/** Where checkpoints go, and how often. */
export interface CheckpointSettings {
  /** The newest checkpoint, beside the head file. */
  readonly file: string
  readonly treeFile: string
  /** Besides the files of this machine, which are an anchor too. */
  readonly anchors: readonly Anchor[]
  /** How many anchors must have a checkpoint before it counts as anchored, and how many of them must be witnesses. */
  readonly required: number
  readonly requiredWitnesses: number
  readonly intervalMs: number
  readonly witnessIntervalMs: number
}

/** How often the writer writes a snapshot, and after how many new commits at least. */
export interface SnapshotSettings {
  readonly intervalMs: number
  readonly commitsMin: number
}

export interface LedgerOptions {
  /** The `kms-ledger` user: stream, and the question who writes. */
  readonly connection: NatsConnection
  /** The `kms-front` user: answers that question while this process writes. */
  readonly front: NatsConnection
  readonly pin: Pin
  readonly replicas: number
  readonly sync: SyncCheck
  readonly hsm: Pick<Hsm, 'signAsRoot' | 'signCheckpoint'>
  /** The backend that holds `ledger-root`. */
  readonly backend: string
  /** Shown in `EpochOpened`, for people: host and process id, ≤ 128 characters. */
  readonly writer: string
  readonly headFile: string
  readonly checkpoints: CheckpointSettings
  /** Without it none is written and none is read. */
  readonly snapshots?: SnapshotSettings
  /** Start without a head file: whoever controls the storage could have cut history before now. */
  readonly trustOnFirstUse?: boolean
  /** Open an epoch at once instead of waiting until no writer answers. */
  readonly takeOver?: boolean
  readonly clock: Clock
  readonly scheduler: Scheduler
  readonly telemetry: Telemetry
  readonly bounds?: Partial<LedgerBounds>
  /** Each commit this process made, once it is durable and folded, before its callers are answered. Must not throw. */
  onCommitted?(committed: Committed): void
}
