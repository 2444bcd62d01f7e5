import type { EventCheck } from '../core/eventCheck.ts'
import { ok } from '../core/result.ts'
import type { AppendQueue } from './appendQueue.ts'
import type { Checkpoints } from './checkpoints.ts'
import type { CommitStream } from './commitStream.ts'
import { type Committer, createCommitter, type End } from './committer.ts'
import { answerAsWriter, askForWriter, untilVacant } from './election.ts'
import { createEpochOpener, type Epoch } from './epoch.ts'
import { describeError, faulty, type LedgerFault, type LedgerResult } from './fault.ts'
import { catchUp, follow, type Reader, stepToEnd } from './follower.ts'
import type { HeadFile } from './headFile.ts'
import { endOf, listLedgerStreams, type ToStream, toStreamOf } from './ledgerStreams.ts'
import type { createMetrics } from './metrics.ts'
import type { LedgerBounds, LedgerOptions, LedgerRole } from './options.ts'
import type { SnapshotKeeper } from './snapshots/keeper.ts'
import { type Tip, toNextStream, type Verifier } from './tip.ts'
import type { TreeKeeper } from './treeKeeper.ts'
import { wait } from './wait.ts'

/** All that changes while the ledger lives. */
export interface LifeState {
  /** Verified and folded up to here. */
  tip: Tip
  role: LedgerRole
  /** While this process has an epoch, or opens one. */
  committer: Committer | undefined
  /** The last that this process made a key for; whether it is open the tip's chain tells. */
  epoch: Epoch | undefined
  alarm: LedgerFault | undefined
  /** As the streams were when they were last listed. */
  toStream: ToStream
}

export interface Life {
  readonly options: LedgerOptions
  readonly bounds: LedgerBounds
  readonly check: EventCheck
  readonly verifier: Verifier
  readonly stream: CommitStream
  readonly queue: AppendQueue
  readonly headFile: HeadFile
  readonly tree: TreeKeeper
  readonly checkpoints: Checkpoints
  readonly snapshots: SnapshotKeeper | undefined
  readonly metrics: ReturnType<typeof createMetrics>
  readonly listeners: readonly ((role: LedgerRole) => void)[]
  readonly state: LifeState
  readonly stop: AbortSignal
}

/** Follows and, when nobody writes, writes; until it is stopped or history goes wrong. Never rejects. */
export const runLife = async (life: Life, booted: Promise<LedgerResult<void>>): Promise<void> => {
  const { state, stop } = life
  const ready = await booted
  const ended = ready.ok
    ? await alternate(life).catch((error: unknown) =>
        faulty('bad_commit', `the ledger failed: ${describeError(error)}`),
      )
    : ready
  if (!ended.ok && !stop.aborted) {
    state.alarm = ended.error
    const { kind, message } = ended.error
    life.options.telemetry.log('error', 'the ledger stopped', { kind, why: message, seq: state.tip.view.at.seq })
  }
  enter(life, 'stopped')
}

const alternate = async (life: Life): Promise<LedgerResult<void>> => {
  let startsNow = true
  // A take-over tries until it succeeded once: a busy writer may win the race for a sequence many times.
  let takesOver = life.options.takeOver ?? false
  while (!life.stop.aborted) {
    enter(life, 'follower')
    const vacant = takesOver ? ok(true) : await followUntilVacant(life, startsNow)
    startsNow = false
    if (!vacant.ok) return vacant
    const reigned = vacant.value ? await tryReign(life) : ok(false)
    if (!reigned.ok) return reigned
    if (reigned.value) takesOver = false
  }
  return ok(undefined)
}

const enter = ({ state, options, listeners }: Life, role: LedgerRole): void => {
  if (state.role === role) return
  state.role = role
  const { seq, epoch } = state.tip.view.at
  options.telemetry.log('info', 'ledger role', { role, seq, epoch })
  for (const listener of listeners) listener(role)
}

const moveTip = ({ state, headFile, tree }: Life, next: Tip): void => {
  // A gap moves the chain alone.
  if (next.tree !== state.tip.tree) tree.put(next.tree)
  state.tip = next
  const { origin, seq, hash } = next.view.at
  // During the boot the head file is the anchor that has still to be met.
  if (state.role !== 'starting') headFile.note({ origin, size: seq, hash })
}

/** What reads on behalf of this life, and moves its tip. */
export const toReader = (life: Life): Reader => ({
  connection: life.options.connection,
  verifier: life.verifier,
  scheduler: life.options.scheduler,
  telemetry: life.options.telemetry,
  tip: () => life.state.tip,
  onTip: (next) => moveTip(life, next),
})

/** Follows the ledger until no writer answers. True: take the reign; false: stopped; a fault: history went wrong. */
const followUntilVacant = async (life: Life, startsNow: boolean): Promise<LedgerResult<boolean>> => {
  const { options, bounds, state } = life
  const leaving = new AbortController()
  const signal = AbortSignal.any([leaving.signal, life.stop])
  const following = follow(toReader(life), signal).finally(() => leaving.abort())
  const vacant = await untilVacant(
    {
      ask: () => askForWriter(options.connection),
      seenEpoch: () => state.tip.view.at.epoch,
      scheduler: options.scheduler,
      askIntervalMs: bounds.writerAskIntervalMs,
      jitterMs: bounds.writerJitterMs,
      startsNow,
    },
    signal,
  )
  leaving.abort()
  const ended = await following
  return ended.ok ? ok(vacant) : ended
}

/**
 * One attempt to become the writer, from the stream's newest commit on. Whether there was a reign; a fault ends the
 * ledger for good.
 */
const tryReign = async (life: Life): Promise<LedgerResult<boolean>> => {
  const { options, bounds, state, stop } = life
  const pause = () => wait(options.scheduler, bounds.writerAskIntervalMs, stop)
  let streams: Awaited<ReturnType<typeof listLedgerStreams>>
  try {
    streams = await listLedgerStreams(options.connection)
  } catch (error) {
    options.telemetry.log('warn', 'the ledger cannot be read', { error: describeError(error) })
    await pause()
    return ok(false)
  }
  const newest = streams.at(-1)
  state.toStream = toStreamOf(streams)
  const caught = await catchUp({ ...toReader(life), until: endOf(streams) }, stop)
  if (!caught.ok) return caught
  const stepped = await stepToEnd(toReader(life), life.stream, stop)
  if (!stepped.ok) return stepped
  if (stop.aborted) return ok(false)
  const { stream: wanted } = toNextStream(state.tip)
  if (wanted !== undefined && newest?.name !== wanted) {
    options.telemetry.log('warn', 'the ledger goes on in another stream than the newest', {
      wanted,
      newest: newest?.name ?? 'none',
    })
    await pause()
    return ok(false)
  }
  const before = state.tip.view.at.epoch
  const end = await reign(life)
  const hasReigned = state.tip.view.at.epoch > before
  switch (end.kind) {
    case 'alarm':
      return { ok: false, error: end.fault }
    case 'stopped':
      return ok(hasReigned)
    case 'demoted':
      options.telemetry.log(hasReigned ? 'warn' : 'debug', 'another writer has the ledger', {
        seq: state.tip.view.at.seq,
      })
      return ok(hasReigned)
    case 'not_opened':
      options.telemetry.log('warn', 'no epoch could be opened', { why: end.why })
      await pause()
      return ok(hasReigned)
    default:
      return end satisfies never
  }
}

/** Writes until the reign ends; the role is `writer` only while entries are taken. */
const reign = async (life: Life): Promise<End> => {
  const { options, bounds, state } = life
  const { clock, scheduler, telemetry } = options
  const opener = createEpochOpener(options)
  let answering: ReturnType<typeof answerAsWriter> | undefined
  const committer = createCommitter({
    stream: life.stream,
    queue: life.queue,
    verifier: life.verifier,
    check: life.check,
    epochs: {
      async open(tip, signal) {
        const opening = await opener.open(tip, signal)
        if (opening.ok) state.epoch = opening.value.epoch
        return opening
      },
    },
    epochLimits: bounds.epoch,
    appendDeadlineMs: bounds.appendDeadlineMs,
    watchIntervalMs: bounds.writerAskIntervalMs,
    clock,
    scheduler,
    telemetry,
    onTip(next, done) {
      moveTip(life, next)
      life.checkpoints.note(next)
      life.metrics.count(done)
      options.onCommitted?.(done)
    },
    onOpened() {
      const tellPlace = () => ({ epoch: state.tip.view.at.epoch, seq: state.tip.view.at.seq })
      answering = answerAsWriter(options.front, tellPlace)
      enter(life, 'writer')
    },
  })
  state.committer = committer
  const end = await committer.run(state.tip)
  state.committer = undefined
  answering?.unsubscribe()
  return end
}
