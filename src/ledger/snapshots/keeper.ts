import { createHash } from 'node:crypto'
import { SNAPSHOT_VERSION } from '../../../projections/snapshot.ts'
import { LIMITS } from '../../../schemas/limits.ts'
import type { Clock, Scheduler, Telemetry } from '../../core/ports.ts'
import {
  formatSnapshotManifest,
  parseSnapshotManifest,
  type SnapshotClaim,
  type SnapshotManifest,
  toSnapshotSigned,
} from '../../core/snapshot.ts'
import type { Epoch } from '../epoch.ts'
import { describeError } from '../fault.ts'
import type { Tip } from '../tip.ts'
import { encodeState } from './state.ts'
import type { SnapshotStore } from './store.ts'

/** The one snapshot there is: of all projections. */
export const SNAPSHOT_NAME = 'view'

/** A tip, and the epoch whose key signed its last commit. */
export interface Snappable {
  readonly tip: Tip
  readonly epoch: Epoch
  /** Stored messages of further commits that it is believed by, if their streams may be gone. */
  readonly commits?: readonly Uint8Array[]
}

export interface SnapshotKeeperOptions {
  readonly store: SnapshotStore
  readonly intervalMs: number
  /** No snapshot for fewer new commits than this. */
  readonly commitsMin: number
  /** What can be written now: nothing while this process does not write the ledger, or has a commit overdue. */
  now(): Snappable | undefined
  /** Brings the tree file onto the disk: who starts from a snapshot needs it as far. */
  flushTree(): Promise<void>
  readonly clock: Clock
  readonly scheduler: Scheduler
  readonly telemetry: Telemetry
}

export interface SnapshotKeeper {
  /** The newest that this process wrote or started from, and when it was; by its own clock, or by that of its last commit. */
  newest(): { readonly seq: number; readonly atMs: number } | undefined
  /** Told of the snapshot that this process starts from. */
  startedFrom(tip: Tip): void
  /** Stops, in the middle of a snapshot too: what it leaves fits no manifest. */
  stop(): Promise<void>
  /**
   * After `stop`: one more snapshot, of the tip as it stays, if there are enough new commits. Within about `snapshotStopMs`; what
   * cannot be written so soon is given up.
   */
  finish(last: Snappable | undefined): Promise<void>
}

/**
 * Writes a snapshot every `intervalMs` while this process is the writer. Nothing waits for it: it encodes a view that no
 * longer changes, a few rows in each turn of the event loop, and a storage that fails costs the snapshot alone.
 */
export const createSnapshotKeeper = (options: SnapshotKeeperOptions): SnapshotKeeper => {
  const { clock, scheduler, telemetry, intervalMs } = options
  let isClosed = false
  let running: Promise<void> | undefined
  let cancel: (() => void) | undefined
  let newest: { readonly seq: number; readonly atMs: number } | undefined
  const take = async (now: Snappable | undefined, isOver: () => boolean): Promise<void> => {
    if (now === undefined || now.tip.view.at.seq - (newest?.seq ?? 0) < options.commitsMin) return
    try {
      const written = await writeSnapshot(options, now, isOver)
      if (written === undefined) return
      newest = { seq: written.seq, atMs: clock.now() }
      telemetry.log('info', 'a snapshot was written', { seq: written.seq, bytes: written.bytes })
    } catch (error) {
      telemetry.log('warn', 'no snapshot was written', { why: describeError(error) })
    }
  }
  const schedule = (): void => {
    if (isClosed) return
    cancel = scheduler.after(intervalMs, () => {
      running = take(options.now(), () => isClosed || options.now() === undefined).finally(schedule)
    })
  }
  schedule()
  return {
    newest: () => newest,
    startedFrom({ view: { at } }) {
      newest = { seq: at.seq, atMs: at.timeMs }
    },
    async stop() {
      isClosed = true
      cancel?.()
      await running
    },
    async finish(last) {
      let isLate = false
      const cancelLate = scheduler.after(LIMITS.snapshotStopMs, () => {
        isLate = true
      })
      await take(last, () => isLate)
      cancelLate()
      if (isLate) telemetry.log('info', 'there was no time for a last snapshot')
    },
  }
}

/** Writes over the oldest slot. Nothing comes back if it had to be given up. */
export const writeSnapshot = async (
  { store, flushTree }: Pick<SnapshotKeeperOptions, 'store' | 'flushTree'>,
  { tip, epoch, commits = [] }: Snappable,
  isOver: () => boolean,
): Promise<SnapshotManifest | undefined> => {
  await flushTree()
  const slot = await findOldestSlot(store, tip.view.at.origin)
  const sha256 = createHash('sha256')
  let waiting: Buffer[] = []
  let [length, bytes, pieces, rows] = [0, 0, 0, 0]
  const flush = async (): Promise<void> => {
    const piece = Buffer.concat(waiting)
    for (let at = 0; at < piece.length; at += LIMITS.snapshotPieceBytes) {
      await store.putPiece(slot, pieces, piece.subarray(at, at + LIMITS.snapshotPieceBytes))
      pieces += 1
    }
    waiting = []
    length = 0
  }
  for (const frame of encodeState(tip)) {
    sha256.update(frame)
    waiting.push(frame)
    length += frame.length
    bytes += frame.length
    rows += 1
    if (bytes > LIMITS.snapshotBytesMax) throw new Error(`the state is larger than ${LIMITS.snapshotBytesMax} bytes`)
    if (length >= LIMITS.snapshotPieceBytes) await flush()
    if (rows % LIMITS.snapshotRowsPerTurn === 0) await nextTurn()
    if (isOver()) return undefined
  }
  await flush()
  const { origin, seq, hash } = tip.view.at
  const claim: SnapshotClaim = {
    origin,
    name: SNAPSHOT_NAME,
    version: SNAPSHOT_VERSION,
    seq,
    hash,
    state_sha256: sha256.digest('hex'),
  }
  const manifest: SnapshotManifest = {
    v: 1,
    ...claim,
    kid: epoch.kid,
    signature: Buffer.from(epoch.sign(toSnapshotSigned(claim))).toString('hex'),
    opened: epoch.openedAtSeq,
    rotated: tip.roots.slice(1).map(({ fromSize }) => fromSize),
    commits: [...tip.roots.flatMap(({ message }) => message ?? []), ...commits].map(toBase64),
    bytes,
    pieces,
  }
  if (isOver()) return undefined
  await store.putManifest(slot, formatSnapshotManifest(manifest))
  return manifest
}

const findOldestSlot = async (store: SnapshotStore, origin: string): Promise<number> => {
  let oldest = { slot: 0, seq: Number.POSITIVE_INFINITY }
  for (let slot = 0; slot < LIMITS.snapshotsKept; slot += 1) {
    const text = await store.manifest(slot)
    const manifest = text && parseSnapshotManifest(text)
    const seq = manifest?.ok && manifest.value.origin === origin ? manifest.value.seq : 0
    if (seq < oldest.seq) oldest = { slot, seq }
  }
  return oldest.slot
}

const toBase64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64')

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
