import type { EventCheck } from '../core/eventCheck.ts'
import type { Clock, Scheduler, Telemetry } from '../core/ports.ts'
import type { AppendQueue } from './appendQueue.ts'
import type { CommitStream } from './commitStream.ts'
import type { EpochLimits, EpochOpener } from './epoch.ts'
import type { Committed } from './metrics.ts'
import type { Tip, Verifier } from './tip.ts'

/** What a writer works with, and whom it tells. */
export interface CommitterOptions {
  readonly stream: CommitStream
  readonly queue: AppendQueue
  readonly verifier: Verifier
  readonly check: EventCheck
  readonly epochs: EpochOpener
  readonly epochLimits: EpochLimits
  readonly appendDeadlineMs: number
  /** How often an idle writer looks whether somebody else has written. */
  readonly watchIntervalMs: number
  readonly clock: Clock
  readonly scheduler: Scheduler
  readonly telemetry: Telemetry
  /** A commit is durable and folded; told before its callers are answered. */
  onTip(tip: Tip, done: Committed): void
  /** The first epoch is open: from now on entries are written. */
  onOpened(epoch: number): void
}
