import type { Config } from '../../schemas/config.ts'
import { LIMITS } from '../../schemas/limits.ts'
import type { Pin } from '../core/chainState.ts'
import type { Hsm, Telemetry } from '../core/ports.ts'
import { ok, type Result } from '../core/result.ts'
import type { Anchor } from '../ledger/anchors/anchor.ts'
import { createHeadAnchor } from '../ledger/anchors/headAnchor.ts'
import { recallAnchors } from '../ledger/anchors/recall.ts'
import type { NamedMemory } from '../ledger/anchors/watch.ts'
import { type Checkpoints, type CheckpointsOptions, createCheckpoints, type Round } from '../ledger/checkpoints.ts'
import type { connectNats } from '../ledger/connections.ts'
import { toLedgerFiles } from '../ledger/genesis.ts'
import { createHeadFile, type HeadFile, readHeadFile } from '../ledger/headFile.ts'
import type { CheckpointSettings } from '../ledger/options.ts'
import { createTelemetry } from '../telemetry/telemetry.ts'
import { fault, type OperatorFault } from './config.ts'
import { openConnection } from './connections.ts'
import { openAnchors } from './openAnchors.ts'
import { type OpenProfile, openProfile } from './openProfile.ts'
import { systemClock, systemScheduler } from './time.ts'

interface Sink {
  write(text: string): unknown
}

type Connection = Extract<Awaited<ReturnType<typeof connectNats>>, { readonly ok: true }>['value']

/** All that a command needs which reads the ledger, signs by its root and appends a commit, while no service runs. */
export interface OfflineLedger {
  readonly config: Config
  readonly pin: Pin
  readonly connection: Connection
  readonly hsm: Hsm
  readonly backend: string
  readonly clock: typeof systemClock
  readonly scheduler: typeof systemScheduler
  readonly telemetry: Telemetry
  readonly headFile: HeadFile
  /** The files of this machine, and those of the configuration. */
  readonly anchors: readonly Anchor[]
  readonly settings: CheckpointSettings
  readonly out: Sink
}

/** Opens the configured ledger for `work`, and closes it whatever happens. Gives the exit code: 0 done, 1 refused or failed. */
export const runOffline = async (
  env: NodeJS.ProcessEnv,
  { stdout, stderr }: { readonly stdout: Sink; readonly stderr: Sink },
  work: (ledger: OfflineLedger) => Promise<Result<void, OperatorFault>>,
): Promise<number> => {
  const telemetry = createTelemetry({ level: 'error' })
  const profile = await openProfile(env, telemetry)
  const done = profile.ok ? await openLedger(profile.value, { telemetry, out: stdout }, work) : profile
  if (profile.ok) await profile.value.stop()
  if (done.ok) return 0
  stderr.write(`chatelaine: ${done.error.message}\n`)
  return 1
}

const openLedger = async (
  { config, pin, openHsm }: OpenProfile,
  { telemetry, out }: { readonly telemetry: Telemetry; readonly out: Sink },
  work: (ledger: OfflineLedger) => Promise<Result<void, OperatorFault>>,
): Promise<Result<void, OperatorFault>> => {
  const connection = await openConnection(config, config.nats.ledger, telemetry)
  if (!connection.ok) return connection
  const backend = config.hsm.ledger_backend
  const hsm = await openHsm({ telemetry, awaited: backend })
  const opened = openAnchors(config, pin.origin, { ledger: connection.value, telemetry })
  const files = toLedgerFiles(config.data_dir)
  const [clock, scheduler] = [systemClock, systemScheduler]
  const headFile = createHeadFile(files.head, { clock, scheduler, telemetry })
  try {
    if (!opened.ok) return opened
    const { settings } = opened.value
    const anchors = [createHeadAnchor(headFile, files.checkpoint, pin.origin), ...settings.anchors]
    return await work({
      ...{ config, pin, connection: connection.value, hsm, backend, clock, scheduler, telemetry },
      ...{ headFile, anchors, settings, out },
    })
  } finally {
    await headFile.close()
    if (opened.ok) await opened.value.close()
    await hsm.close()
    await connection.value.close()
  }
}

/** What the head file and the anchors remember; one that is away counts for nothing, if as many answer as `required`. */
export const recallMemories = async (
  { config, anchors, telemetry }: OfflineLedger,
  required: number,
): Promise<Result<readonly NamedMemory[], OperatorFault>> => {
  const head = await readHeadFile(toLedgerFiles(config.data_dir).head)
  if (!head.ok) return fault(head.error.message)
  const recalled = await recallAnchors(anchors, { required, telemetry }, AbortSignal.timeout(LIMITS.witnessTimeoutMs))
  if (!recalled.ok) return fault(recalled.error.message)
  const fromHead: readonly NamedMemory[] = head.value === undefined ? [] : [{ ...head.value, name: 'head file' }]
  return ok([...fromHead, ...recalled.value.memories])
}

/** Without it the end of the ledger could have been cut off, and a command that goes on from there would make that good. */
export const requireHeadFile = (
  { config }: OfflineLedger,
  memories: readonly NamedMemory[],
): Result<void, OperatorFault> =>
  memories.some(({ name }) => name === 'head file')
    ? ok(undefined)
    : fault(
        `there is no ${toLedgerFiles(config.data_dir).head}: nothing here tells whether this is the whole ledger. Start the service first`,
      )

/** Signs checkpoints of this ledger and hands them to these anchors; only by `round`. */
export const createOfflineCheckpoints = (
  { hsm, backend, settings, clock, scheduler, telemetry }: OfflineLedger,
  { anchors, tree }: Pick<CheckpointsOptions, 'anchors' | 'tree'>,
): Pick<Checkpoints, 'round'> =>
  createCheckpoints({
    ...{ anchors, tree, clock, scheduler, telemetry },
    required: settings.required,
    requiredWitnesses: settings.requiredWitnesses,
    intervalMs: settings.intervalMs,
    witnessIntervalMs: settings.witnessIntervalMs,
    sign: (signed, signal) => hsm.signCheckpoint(backend, signed, signal),
  })

/** Says which anchors did not take a checkpoint; each is the operator's to set right. */
export const reportRound = ({ out }: OfflineLedger, { answers }: Round): void => {
  for (const { anchor, kept } of answers)
    if (kept.kind !== 'kept') out.write(`the ${anchor.name} has no new checkpoint: ${kept.why}\n`)
}

/** A checkpoint must be vouched for before anything is built on it: by as many anchors as the configuration wants. */
export const requireAnchors = (ledger: OfflineLedger, round: Round): Result<void, OperatorFault> => {
  reportRound(ledger, round)
  const { answers } = round
  const { required, requiredWitnesses } = ledger.settings
  const kept = answers.filter((answer) => answer.kept.kind === 'kept').map(({ anchor }) => anchor)
  const witnesses = kept.filter(({ witness }) => witness !== undefined)
  if (answers.some((answer) => answer.kept.kind === 'disagrees' || answer.kept.kind === 'ahead'))
    return fault('an anchor remembers another ledger, or a longer one: nothing was written after the checkpoint')
  return kept.length < required || witnesses.length < requiredWitnesses
    ? fault(
        `only ${kept.length} anchors took the checkpoint, ${witnesses.length} of them witnesses: nothing was written after it`,
      )
    : ok(undefined)
}
