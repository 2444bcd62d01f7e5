import { LIMITS } from '../../schemas/limits.ts'
import type { Anchor } from '../core/ledgerEvents.ts'
import type { Hsm, Telemetry } from '../core/ports.ts'
import { ok, type Result } from '../core/result.ts'
import { createHeadAnchor } from '../ledger/anchors/headAnchor.ts'
import { recallAnchors } from '../ledger/anchors/recall.ts'
import type { NamedMemory } from '../ledger/anchors/watch.ts'
import { createCheckpoints } from '../ledger/checkpoints.ts'
import { toLedgerFiles } from '../ledger/genesis.ts'
import { createHeadFile, readHeadFile } from '../ledger/headFile.ts'
import { appendRecovery, planRecovery, type RecoverOptions, type RecoveryPlan } from '../ledger/recover.ts'
import type { Tip } from '../ledger/tip.ts'
import { createTelemetry } from '../telemetry/telemetry.ts'
import { parseAnchorFlag } from '../verify/anchors.ts'
import { fault, type OperatorFault } from './config.ts'
import { openConnection } from './connections.ts'
import { openAnchors } from './openAnchors.ts'
import { openHsm } from './openHsm.ts'
import { type OpenProfile, openProfile } from './openProfile.ts'
import { systemClock, systemScheduler } from './time.ts'

export interface RecoverFlags {
  /** Goes into the ledger for ever. */
  readonly reason: string
  /** `size:hash` of each anchor that is given up. */
  readonly lost: readonly string[]
  /** Without it nothing is written. */
  readonly yes: boolean
}

interface Sink {
  write(text: string): unknown
}

/**
 * Says what of the ledger is lost or not valid and, with the operator's word, appends the `LedgerRecovered` that names it; then
 * hands the anchors what the ledger is now. Gives the exit code: 0 done, or nothing to do without `yes`; 1 refused or failed.
 */
export const runRecover = async (
  env: NodeJS.ProcessEnv,
  flags: RecoverFlags,
  { stdout, stderr }: { readonly stdout: Sink; readonly stderr: Sink },
): Promise<number> => {
  const telemetry = createTelemetry({ level: 'error' })
  const profile = await openProfile(env, telemetry)
  const done = profile.ok ? await recoverProfile(profile.value, flags, { telemetry, out: stdout }) : profile
  if (profile.ok) await profile.value.stop()
  if (done.ok) return 0
  stderr.write(`chatelaine: ${done.error.message}\n`)
  return 1
}

interface Parts extends RecoverOptions {
  readonly profile: OpenProfile
  readonly hsm: Hsm
  readonly out: Sink
}

const recoverProfile = async (
  profile: OpenProfile,
  flags: RecoverFlags,
  { telemetry, out }: { readonly telemetry: Telemetry; readonly out: Sink },
): Promise<Result<void, OperatorFault>> => {
  const { config, pin } = profile
  const lost = parseLost(flags.lost)
  if (!lost.ok) return lost
  const connection = await openConnection(config, config.nats.ledger, telemetry)
  if (!connection.ok) return connection
  const hsm = await openHsm({ config, origin: pin.origin, telemetry, awaited: config.hsm.ledger_backend })
  const parts: Parts = {
    ...{ profile, hsm, out, pin, telemetry, connection: connection.value },
    backend: config.hsm.ledger_backend,
    clock: systemClock,
    scheduler: systemScheduler,
  }
  try {
    return await recover(parts, flags, lost.value)
  } finally {
    await hsm.close()
    await connection.value.close()
  }
}

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
  parts: Parts,
  { reason, yes }: RecoverFlags,
  lost: readonly Anchor[],
): Promise<Result<void, OperatorFault>> => {
  const { config, pin } = parts.profile
  const { telemetry, out } = parts
  const opened = openAnchors(config, pin.origin, { ledger: parts.connection, telemetry })
  if (!opened.ok) return opened
  const files = toLedgerFiles(config.data_dir)
  const headFile = createHeadFile(files.head, { clock: systemClock, scheduler: systemScheduler, telemetry })
  const anchors = [createHeadAnchor(headFile, files.checkpoint, pin.origin), ...opened.value.settings.anchors]
  const unending = new AbortController().signal
  try {
    const head = await readHeadFile(files.head)
    const asking = AbortSignal.timeout(LIMITS.witnessTimeoutMs)
    const recalled = await recallAnchors(anchors, { required: 0, telemetry }, asking)
    if (!head.ok || !recalled.ok) return fault(!head.ok ? head.error.message : 'the anchors cannot be asked')
    const fromHead: readonly NamedMemory[] = head.value === undefined ? [] : [{ ...head.value, name: 'head file' }]
    const plan = await planRecovery(parts, [...fromHead, ...recalled.value.memories], unending)
    if (!plan.ok) return fault(plan.error.message)
    const agreed = agree(plan.value, lost, out)
    if (!agreed.ok) return agreed
    if (!yes) {
      out.write('nothing was written: add --yes to append this to the ledger, for ever\n')
      return ok(undefined)
    }
    const tip = await appendRecovery(parts, plan.value, { reason, lost }, unending)
    if (!tip.ok) return fault(tip.error.message)
    out.write(`recovered: sequence ${tip.value.view.at.seq}, hash ${tip.value.view.at.hash}\n`)
    headFile.note({ origin: pin.origin, size: tip.value.view.at.seq, hash: tip.value.view.at.hash })
    await tellAnchors(parts, anchors, tip.value)
    return ok(undefined)
  } finally {
    await headFile.close()
    await opened.value.close()
  }
}

/** Shows the plan, and whether the operator's word covers it: no more and no less is given up than he names. */
const agree = (
  { gap, reason, misfits, tip }: RecoveryPlan,
  lost: readonly Anchor[],
  out: Sink,
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
const tellAnchors = async (
  { profile, hsm, backend, telemetry, out }: Parts,
  anchors: Parameters<typeof createCheckpoints>[0]['anchors'],
  tip: Tip,
): Promise<void> => {
  const { ledger } = profile.config
  const checkpoints = createCheckpoints({
    anchors: anchors.filter(({ witness }) => witness === undefined),
    required: ledger.anchors.required,
    requiredWitnesses: 0,
    sign: (checkpoint, signal) => hsm.signCheckpoint(backend, checkpoint, signal),
    tree: () => undefined,
    clock: systemClock,
    scheduler: systemScheduler,
    telemetry,
    intervalMs: ledger.checkpoint_interval_ms,
    witnessIntervalMs: ledger.witness_interval_ms,
  })
  const round = await checkpoints.round(tip, AbortSignal.timeout(LIMITS.checkpointDeadlineMs))
  if (!round.ok) out.write(`no checkpoint was signed: ${round.error}\n`)
  for (const { anchor, kept } of round.ok ? round.value.answers : [])
    if (kept.kind !== 'kept') out.write(`the ${anchor.name} has no new checkpoint: ${kept.why}\n`)
}
