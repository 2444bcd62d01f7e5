import { LIMITS } from '../../schemas/limits.ts'
import { ok, type Result } from '../core/result.ts'
import type { Round } from '../ledger/checkpoints.ts'
import { toLedgerFiles } from '../ledger/genesis.ts'
import { appendRotation, planRotation } from '../ledger/rotateRoot.ts'
import type { Tip } from '../ledger/tip.ts'
import { createTreeKeeper } from '../ledger/treeKeeper.ts'
import { formatVkey } from '../verify/vkey.ts'
import { fault, type OperatorFault } from './config.ts'
import {
  createOfflineCheckpoints,
  type OfflineLedger,
  recallMemories,
  reportRound,
  requireAnchors,
  requireHeadFile,
  runOffline,
} from './offlineLedger.ts'

/**
 * Replaces the root key of the ledger: a checkpoint by the old root, `RootRotated`, a checkpoint by the new one. After a crash at any
 * point it is run again: what was done is not done twice. Gives the exit code: 0 done, or shown without `yes`; 1 refused or failed.
 */
export const runRotateRoot = (
  env: NodeJS.ProcessEnv,
  flags: { readonly yes: boolean },
  sinks: Parameters<typeof runOffline>[1],
): Promise<number> => runOffline(env, sinks, (ledger) => rotate(ledger, flags))

const rotate = async (
  ledger: OfflineLedger,
  { yes }: { readonly yes: boolean },
): Promise<Result<void, OperatorFault>> => {
  const { config, pin, out, telemetry, settings } = ledger
  const files = toLedgerFiles(config.data_dir)
  const unending = new AbortController().signal
  const memories = await recallMemories(ledger, settings.required)
  if (!memories.ok) return memories
  const known = requireHeadFile(ledger, memories.value)
  if (!known.ok) return known
  const tree = createTreeKeeper(files.tree, pin.origin, telemetry)
  try {
    const onStep = (before: Tip, after: Tip): void => {
      if (after.tree !== before.tree) tree.put(after.tree)
    }
    const goal = { memories: memories.value, tree: tree.file(), onStep }
    const plan = await planRotation(ledger, goal, unending)
    if (!plan.ok) return fault(plan.error.message)
    const { tip, isPending } = plan.value
    const checkpoints = createOfflineCheckpoints(ledger, { anchors: ledger.anchors, tree: tree.file })
    const sign = (at: Tip) => checkpoints.round(at, AbortSignal.timeout(LIMITS.checkpointDeadlineMs))
    out.write(`the ledger ends at ${tip.view.at.seq}, hash ${tip.view.at.hash}; the root in force is\n${toVkey(tip)}\n`)
    if (!yes) {
      out.write(isPending ? PENDING : 'nothing was written: add --yes to replace this root key\n')
      return ok(undefined)
    }
    const next = isPending ? ok(tip) : await replace(ledger, tip, sign)
    if (!next.ok) return next
    ledger.headFile.note({ origin: pin.origin, size: next.value.view.at.seq, hash: next.value.view.at.hash })
    tree.put(next.value.tree)
    const after = await sign(next.value)
    if (!after.ok)
      return fault(`the root is rotated, but no checkpoint was signed by the new one (${after.error}): run it again`)
    reportRound(ledger, after.value)
    out.write(`rotated: sequence ${next.value.view.at.seq}, hash ${next.value.view.at.hash}; the root in force is\n`)
    out.write(`${toVkey(next.value)}\nWitnesses must be told of it. Verifiers go on with the root key of genesis.\n`)
    return ok(undefined)
  } finally {
    await tree.close()
  }
}

const PENDING =
  'this root has attested no epoch yet, so the rotation that made it is not finished: add --yes to sign its checkpoint, or start the service\n'

type Sign = (at: Tip) => Promise<Result<Round, string>>

/** What the old root has signed must be vouched for before another one signs: so many anchors as the configuration wants. */
const replace = async (ledger: OfflineLedger, tip: Tip, sign: Sign): Promise<Result<Tip, OperatorFault>> => {
  const before = await sign(tip)
  if (!before.ok) return fault(`no checkpoint was signed by the root in force: ${before.error}`)
  const agreed = requireAnchors(ledger, before.value)
  if (!agreed.ok) return agreed
  const next = await appendRotation(ledger, tip, new AbortController().signal)
  return next.ok ? next : fault(next.error.message)
}

const toVkey = ({ chain }: Tip): string => formatVkey({ origin: chain.origin, rootPublicKey: chain.root.raw })
