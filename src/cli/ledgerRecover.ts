import { LIMITS } from '../../schemas/limits.ts'
import type { Anchor } from '../core/ledgerEvents.ts'
import { ok, type Result } from '../core/result.ts'
import { toLedgerFiles } from '../ledger/genesis.ts'
import { appendRecovery, planRecovery, type RecoveryPlan } from '../ledger/recover.ts'
import type { Tip } from '../ledger/tip.ts'
import { createTreeKeeper } from '../ledger/treeKeeper.ts'
import { parseAnchorFlag } from '../verify/anchors.ts'
import { fault, type OperatorFault } from './config.ts'
import {
  createOfflineCheckpoints,
  type OfflineLedger,
  recallMemories,
  reportRound,
  runOffline,
} from './offlineLedger.ts'

export interface RecoverFlags {
  /** Goes into the ledger for ever. */
  readonly reason: string
  /** `size:hash` of each anchor that is given up. */
  readonly lost: readonly string[]
  /** Without it nothing is written. */
  readonly yes: boolean
}

/**
 * Says what of the ledger is lost or not valid and, with the operator's word, appends the `LedgerRecovered` that names it; then
 * hands the anchors what the ledger is now. Gives the exit code: 0 done, or nothing to do without `yes`; 1 refused or failed.
 */
export const runRecover = (
  env: NodeJS.ProcessEnv,
  flags: RecoverFlags,
  sinks: Parameters<typeof runOffline>[1],
): Promise<number> =>
  runOffline(env, sinks, async (ledger) => {
    const lost = parseLost(flags.lost)
    return lost.ok ? recover(ledger, flags, lost.value) : lost
  })

const parseLost = (texts: readonly string[]): Result<readonly Anchor[], OperatorFault> => {
  if (texts.length > LIMITS.lostAnchorsMax) return fault(`--lost: at most ${LIMITS.lostAnchorsMax}`)
  const lost: Anchor[] = []
  for (const text of texts) {
    const anchor = parseAnchorFlag(text)
    if (!anchor.ok) return fault(`--lost: ${anchor.error}`)
    lost.push(anchor.value)
  }
  return ok(lost)
}

const recover = async (
  ledger: OfflineLedger,
  { reason, yes }: RecoverFlags,
  lost: readonly Anchor[],
): Promise<Result<void, OperatorFault>> => {
  const { pin, out, headFile } = ledger
  const unending = new AbortController().signal
  const memories = await recallMemories(ledger, 0)
  if (!memories.ok) return memories
  const tree = createTreeKeeper(toLedgerFiles(ledger.config.data_dir).tree, pin.origin, ledger.telemetry)
  const plan = await planRecovery(ledger, { memories: memories.value, tree: tree.file() }, unending)
  await tree.close()
  if (!plan.ok) return fault(plan.error.message)
  const agreed = agree(plan.value, lost, out)
  if (!agreed.ok) return agreed
  if (!yes) {
    out.write('nothing was written: add --yes to append this to the ledger, for ever\n')
    return ok(undefined)
  }
  const tip = await appendRecovery(ledger, plan.value, { reason, lost }, unending)
  if (!tip.ok) return fault(tip.error.message)
  out.write(`recovered: sequence ${tip.value.view.at.seq}, hash ${tip.value.view.at.hash}\n`)
  headFile.note({ origin: pin.origin, size: tip.value.view.at.seq, hash: tip.value.view.at.hash })
  await tellAnchors(ledger, tip.value)
  return ok(undefined)
}

/** Shows the plan, and whether the operator's word covers it: no more and no less is given up than he names. */
const agree = (
  { gap, reason, misfits, tip }: RecoveryPlan,
  lost: readonly Anchor[],
  out: OfflineLedger['out'],
): Result<void, OperatorFault> => {
  out.write(`the last valid commit is ${tip.view.at.seq}, hash ${tip.view.at.hash}\n`)
  if (reason !== undefined) out.write(`sequences ${gap.from} to ${gap.to} are given up: ${reason}\n`)
  for (const { name, size, hash, why } of misfits) out.write(`the ${name} remembers ${size}:${hash}: ${why}\n`)
  const toText = ({ size, hash }: Anchor) => `${size}:${hash}`
  const [named, wanted] = [lost.map(toText), misfits.map(toText)]
  const missing = wanted.filter((text) => !named.includes(text))
  if (missing.length > 0)
    return fault(
      `what anchors remember is given up only by name: restore the store they vouch for, or add ${missing.map((text) => `--lost ${text}`).join(' ')}`,
    )
  if (reason === undefined && lost.length === 0)
    return fault('there is nothing to recover: every commit is valid, and no anchor objects')
  return ok(undefined)
}

/** The head file and a checkpoint of what the ledger is now. An anchor that refuses it is the operator's to set right. */
const tellAnchors = async (ledger: OfflineLedger, tip: Tip): Promise<void> => {
  const anchors = ledger.anchors.filter(({ witness }) => witness === undefined)
  const checkpoints = createOfflineCheckpoints(ledger, { anchors, tree: () => undefined })
  const round = await checkpoints.round(tip, AbortSignal.timeout(LIMITS.checkpointDeadlineMs))
  if (!round.ok) ledger.out.write(`no checkpoint was signed: ${round.error}\n`)
  else reportRound(ledger, round.value)
}
