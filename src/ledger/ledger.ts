import type { Guard } from '../../projections/guards.ts'
import type { View } from '../../projections/view.ts'
import { LIMITS } from '../../schemas/limits.ts'
import { createEventCheck } from '../core/eventCheck.ts'
import type { Ledger } from '../core/ports.ts'
import { fail, ok } from '../core/result.ts'
import { formatNote } from '../core/signedNote.ts'
import type { Anchor } from './anchors/anchor.ts'
import { createHeadAnchor } from './anchors/headAnchor.ts'
import { checkHead } from './anchors/headCheck.ts'
import { recallAnchors } from './anchors/recall.ts'
import { createAnchorWatch, type NamedMemory } from './anchors/watch.ts'
import { createAppendQueue } from './appendQueue.ts'
import { type Boot, bootLife } from './boot.ts'
import { createCheckpoints } from './checkpoints.ts'
import { measureClockSkew } from './clockSkew.ts'
import { EPOCH_LIMITS } from './epoch.ts'
import { faulty, type LedgerResult } from './fault.ts'
import { createHeadFile, type Head, type HeadFile, readHeadFile } from './headFile.ts'
import { toStatus } from './ledgerStatus.ts'
import { beginOf, listLedgerStreams, type ToStream } from './ledgerStreams.ts'
import { type Life, type LifeState, runLife } from './life.ts'
import { createEventLister } from './listEvents.ts'
import { createMetrics, type LedgerMetrics } from './metrics.ts'
import { createNatsStream } from './natsStream.ts'
import type { LedgerBounds, LedgerOptions, LedgerRole } from './options.ts'
import { prove } from './prove.ts'
import { checkServer } from './server.ts'
import { createSnapshotKeeper, type Snappable, type SnapshotKeeper } from './snapshots/keeper.ts'
import { createSnapshotStore } from './snapshots/store.ts'
import { createStorageWatch, readStorageUse, type StorageWatch } from './storageUse.ts'
import { checkStream } from './stream.ts'
import { readMessages } from './streamReader.ts'
import { createVerifier } from './tip.ts'
import { createTreeKeeper, type TreeKeeper } from './treeKeeper.ts'

/** The `Ledger` port and what only a composition root needs of it. It does not own the connections. */
export interface LedgerService extends Ledger<View, Guard> {
  /** Resolves when the view has reached the head seen at start, or with what stopped the boot. */
  whenReady(): Promise<LedgerResult<void>>
  /** Told of each change of role; a transport joins its queue groups as `writer` and leaves them otherwise. */
  onRole(listener: (role: LedgerRole) => void): void
  metrics(): LedgerMetrics
  /** The raw public keys of all roots that were ever in force, the one that is now last. */
  roots(): readonly Uint8Array[]
  /** Writes what waits (≤ `drainDeadlineMs`), then the head file. Appends are refused from now on. */
  stop(): Promise<void>
}

const NOT_WRITER = fail('LEDGER_UNAVAILABLE', 'this instance does not write the ledger at the moment')

/**
 * Checks server, stream and head file, then reads and verifies the whole ledger in the background, and takes part in
 * the election of a writer. Faults: those of `checkServer`, `checkStream` and `checkHead`.
 */
export const createLedger = async (options: LedgerOptions): Promise<LedgerResult<LedgerService>> => {
  const server = await checkServer(options.connection, options.sync)
  if (!server.ok) return server
  const anchor = await readHeadFile(options.headFile)
  if (!anchor.ok) return anchor
  const { clock, scheduler, telemetry, checkpoints } = options
  const headFile = createHeadFile(options.headFile, { clock, scheduler, telemetry })
  const anchors = [createHeadAnchor(headFile, checkpoints.file, options.pin.origin), ...checkpoints.anchors]
  // All anchors before the stream: it must have reached by then what they remember now.
  const asking = AbortSignal.timeout(LIMITS.witnessTimeoutMs)
  const recalled = await recallAnchors(anchors, { required: checkpoints.required, telemetry }, asking)
  if (!recalled.ok) return recalled
  const stream = await checkStream(options.connection, options.replicas)
  if (!stream.ok) return stream
  if (stream.value.unfinished !== undefined)
    return faulty(
      'stream_altered',
      `a roll was interrupted at the stream ${stream.value.unfinished}: run ledger roll again, it goes on there`,
    )
  const found = { origin: options.pin.origin, lastSeq: stream.value.lastSeq, path: options.headFile }
  const checked = checkHead(anchor.value, { ...found, trustOnFirstUse: options.trustOnFirstUse ?? false })
  if (!checked.ok) return checked
  const { memories, witnesses } = recalled.value
  const watch = createAnchorWatch([...toMemory(checked.value), ...memories])
  const { lastSeq: head, firstSeq, toStream } = stream.value
  return ok(startService(options, { headFile, anchors, toStream }, { head, firstSeq, watch, witnesses }))
}

const toMemory = (head: Head | undefined): readonly NamedMemory[] =>
  head === undefined ? [] : [{ name: 'head file', size: head.size, hash: head.hash }]

/** What was found before anything was read. */
interface Found {
  readonly headFile: HeadFile
  readonly anchors: readonly Anchor[]
  readonly toStream: ToStream
}

const startService = (options: LedgerOptions, found: Found, boot: Boot): LedgerService => {
  const { clock, scheduler, telemetry } = options
  const life = createLife(options, found)
  const { state, queue, headFile, tree, checkpoints, snapshots, metrics, bounds, stream, stopping, listeners } = life
  const storage = watchStorage(life)
  const booted = bootLife(life, boot)
  const running = runLife(life, booted)

  return {
    async append(entry, signal) {
      const { committer, role } = state
      const isTaking = role === 'writer' && !stopping.signal.aborted && committer !== undefined
      if (!isTaking || committer.phase === 'overdue' || committer.phase === 'ended') return NOT_WRITER
      const answer = queue.add(entry, signal)
      committer.wake()
      return answer
    },
    prove: (query) =>
      prove(query, {
        origin: options.pin.origin,
        tree: tree.file(),
        latest: checkpoints.latest(),
        readBack: stream.readBack,
      }),
    list: createEventLister({
      tree: tree.file,
      read: (range, signal) => readMessages(options.connection, range, signal),
      begin: async () => beginOf(await listLedgerStreams(options.connection)),
      telemetry,
    }),
    checkpoint: () => {
      const latest = checkpoints.latest()
      return latest && formatNote(latest.note)
    },
    measureClockSkew: () => measureClockSkew(stream, clock),
    view: () => state.tip.view,
    status: () => toStatus(life, storage),
    whenReady: () => booted,
    onRole: (listener) => void listeners.push(listener),
    metrics: metrics.read,
    roots: () => state.tip.roots.map(({ key }) => key.raw),
    async stop() {
      stopping.abort()
      storage.close()
      state.committer?.stop(true)
      const cancel = scheduler.after(bounds.drainDeadlineMs, () => state.committer?.stop(false))
      await snapshots?.stop()
      await running
      cancel()
      await Promise.all([checkpoints.close(), snapshots?.finish(findOwn(state))])
      await tree.close()
      await headFile.close()
    },
  }
}

const createLife = (
  options: LedgerOptions,
  { headFile, anchors, toStream }: Found,
): Life & { readonly listeners: ((role: LedgerRole) => void)[]; readonly stopping: AbortController } => {
  const { clock, scheduler, telemetry } = options
  const bounds: LedgerBounds = { ...DEFAULT_BOUNDS, ...options.bounds }
  const check = createEventCheck()
  const verifier = createVerifier(options.pin, check)
  const queue = createAppendQueue(bounds.appendQueueMax)
  const tree = createTreeKeeper(options.checkpoints.treeFile, options.pin.origin, telemetry)
  const checkpoints = createCheckpoints({
    ...options.checkpoints,
    anchors,
    sign: (signed, signal) => options.hsm.signCheckpoint(options.backend, signed, signal),
    tree: tree.file,
    clock,
    scheduler,
    telemetry,
  })
  const metrics = createMetrics()
  const stopping = new AbortController()
  const listeners: ((role: LedgerRole) => void)[] = []
  const state: LifeState = {
    tip: verifier.start,
    role: 'starting',
    committer: undefined,
    epoch: undefined,
    alarm: undefined,
    toStream,
  }
  const snapshots = openSnapshots(options, state, tree)
  const stream = createNatsStream(options.connection, (seq) => state.toStream(seq))
  return {
    ...{
      options,
      bounds,
      check,
      verifier,
      stream,
      queue,
      headFile,
      tree,
      checkpoints,
      snapshots,
      metrics,
      listeners,
      state,
    },
    stop: stopping.signal,
    stopping,
  }
}

const watchStorage = ({ options: { connection, sync, scheduler, telemetry }, bounds }: Life): StorageWatch =>
  createStorageWatch({
    read: () => readStorageUse(connection, sync.monitorUrls),
    intervalMs: bounds.storagePollMs,
    scheduler,
    telemetry,
  })

const openSnapshots = (options: LedgerOptions, state: LifeState, tree: TreeKeeper): SnapshotKeeper | undefined =>
  options.snapshots &&
  createSnapshotKeeper({
    ...options.snapshots,
    store: createSnapshotStore(options.connection),
    now: () => findSnappable(state),
    flushTree: async () => tree.file()?.flush(),
    clock: options.clock,
    scheduler: options.scheduler,
    telemetry: options.telemetry,
  })

/** What a snapshot can be made of while all goes well. */
const findSnappable = (state: LifeState): Snappable | undefined => {
  const { role, committer } = state
  const isWriting = role === 'writer' && (committer?.phase === 'idle' || committer?.phase === 'in_flight')
  return isWriting ? findOwn(state) : undefined
}

/** A tip whose last commit the key of this process's epoch signed. */
const findOwn = ({ tip, epoch }: LifeState): Snappable | undefined => {
  const isOwn = tip.chain.expects === 'append' && tip.chain.epochKey?.kid === epoch?.kid
  return isOwn && epoch !== undefined ? { tip, epoch } : undefined
}

const DEFAULT_BOUNDS: LedgerBounds = {
  appendDeadlineMs: LIMITS.appendDeadlineMs,
  appendQueueMax: LIMITS.appendQueueMax,
  writerAskIntervalMs: LIMITS.writerAskIntervalMs,
  writerJitterMs: LIMITS.writerJitterMs,
  drainDeadlineMs: LIMITS.drainDeadlineMs,
  storagePollMs: LIMITS.storagePollMs,
  epoch: EPOCH_LIMITS,
}
