import { LIMITS } from '../../schemas/limits.ts'
import type { Anchor } from './anchors/anchor.ts'
import type { AnchorWatch } from './anchors/watch.ts'
import { describeError, faulty, type LedgerFault, type LedgerResult } from './fault.ts'
import { catchUp } from './follower.ts'
import { type Life, toReader } from './life.ts'
import { BEGINS_LATE } from './readWhole.ts'
import { restoreTip } from './snapshots/restore.ts'
import { createSnapshotStore } from './snapshots/store.ts'
import type { Tip } from './tip.ts'

/** What a start has to meet: the head of the stream, and what the anchors remember. */
export interface Boot {
  readonly head: number
  /** The first sequence that the streams still have. */
  readonly firstSeq: number
  readonly watch: AnchorWatch
  /** Those that remember something which only a checkpoint can tell. */
  readonly witnesses: readonly Anchor[]
}

/** Reads and verifies up to the head seen at start; what the anchors remember must be met on the way. */
export const bootLife = async (life: Life, boot: Boot): Promise<LedgerResult<void>> => {
  try {
    const reader = toReader(life)
    const onTip = (next: Tip): void => {
      boot.watch.see(life.state.tip, next)
      reader.onTip(next)
    }
    await startFromSnapshot(life, boot)
    const from = life.state.tip.view.at.seq
    if (from + 1 < boot.firstSeq) return faulty('begins_late', `the streams begin at ${boot.firstSeq}: ${BEGINS_LATE}`)
    const read = await catchUp({ ...reader, onTip, until: boot.head }, life.stop)
    if (life.stop.aborted) return faulty('stopped', 'the service stops')
    if (!read.ok) return read
    life.options.telemetry.log('info', 'the ledger was read', { from: from + 1, to: life.state.tip.view.at.seq })
    const fault = boot.watch.judge(life.state.tip) ?? (await confirmWitnesses(life, boot))
    return fault === undefined ? read : { ok: false, error: fault }
  } catch (error) {
    return faulty('unreachable', `the ledger cannot be read: ${describeError(error)}`)
  }
}

/** Takes the newest snapshot that holds as the tip, so that only what came after it is read. */
const startFromSnapshot = async (
  { options, state, tree, stream, snapshots, stop }: Life,
  { head, firstSeq, watch }: Boot,
): Promise<void> => {
  const { connection, pin, telemetry } = options
  if (snapshots === undefined) return
  const ports = { store: createSnapshotStore(connection), stream, tree: tree.file() }
  const tip = await restoreTip({ ...ports, pin, head, firstSeq, watch, telemetry }, stop)
  if (tip === undefined) return
  state.tip = tip
  snapshots.startedFrom(tip)
  telemetry.log('info', 'the ledger goes on from a snapshot', { seq: tip.view.at.seq })
}

/** Whether the witnesses have cosigned this ledger and no other: they tell it by cosigning what it is now. */
const confirmWitnesses = async (
  { checkpoints, state, stop, options }: Life,
  boot: Boot,
): Promise<LedgerFault | undefined> => {
  const standing = boot.watch.listStanding(state.tip)
  const witnesses = boot.witnesses.filter(({ name }) => standing.has(name))
  if (witnesses.length === 0) return undefined
  const signal = AbortSignal.any([stop, AbortSignal.timeout(LIMITS.checkpointDeadlineMs)])
  const round = await checkpoints.round(state.tip, signal, witnesses)
  if (!round.ok) {
    options.telemetry.log('warn', 'the witnesses could not be asked at start', { why: round.error })
    return undefined
  }
  for (const { anchor, kept } of round.value.answers)
    if (kept.kind === 'disagrees')
      return {
        kind: 'anchor_disagrees',
        message: `${anchor.name} remembers another ledger: ${kept.why}. The ledger was rewritten or forked at or before what it has cosigned; what can be done stands in docs/RUNBOOK.md, "The ledger is refused"`,
      }
  return undefined
}
