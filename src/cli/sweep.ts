import { LIMITS } from '../../schemas/limits.ts'
import { createUuidV7 } from '../core/lid.ts'
import type { Hsm, HsmObject, Telemetry } from '../core/ports.ts'
import { ok, type Result } from '../core/result.ts'
import type { LedgerService } from '../ledger/ledger.ts'
import type { EventBody } from '../operations/operation.ts'
import { toEvent, toServiceSubject } from '../pipeline/envelope.ts'
import { createTelemetry } from '../telemetry/telemetry.ts'
import { fault, type OperatorFault } from './config.ts'
import { openConnections } from './connections.ts'
import { createConnectionWatch } from './connectionWatch.ts'
import { listMaterial, reportMaterial } from './materialReport.ts'
import { openLedger } from './openLedger.ts'
import { type OpenProfile, openProfile } from './openProfile.ts'
import { systemClock } from './time.ts'

export interface SweepFlags {
  /** Destroy what is listed; without it nothing is touched. */
  readonly destroy: boolean
  /** The number of objects the operator expects; needed above 100 objects or 1 % of the versions. */
  readonly yes?: number
}

interface Parts {
  readonly hsm: Hsm
  readonly ledger: LedgerService
  readonly telemetry: Telemetry
  readonly origin: string
}

/**
 * Lists, and with `destroy` removes, the HSM objects of this ledger that it does not name. Runs as the ledger's writer,
 * so it refuses while a service writes; the anchor check comes first, and only objects of older epochs count. Gives the
 * exit code: 0 done, 1 refused or failed.
 */
export const runSweep = async (
  env: NodeJS.ProcessEnv,
  flags: SweepFlags,
  out: { write(text: string): unknown },
): Promise<number> => {
  const telemetry = createTelemetry({ level: 'error' })
  const profile = await openProfile(env, telemetry)
  const swept = profile.ok ? await sweepProfile(profile.value, flags, { telemetry, out }) : profile
  if (profile.ok) await profile.value.stop()
  if (swept.ok) return 0
  process.stderr.write(`chatelaine: ${swept.error.message}\n`)
  return 1
}

interface Sinks {
  readonly telemetry: Telemetry
  readonly out: { write(text: string): unknown }
}

const sweepProfile = async (
  { config, pin, openHsm }: OpenProfile,
  flags: SweepFlags,
  { telemetry, out }: Sinks,
): Promise<Result<void, OperatorFault>> => {
  const connections = await openConnections(config, telemetry)
  if (!connections.ok) return connections
  const hsm = await openHsm({ telemetry })
  const opened = await openLedger({ config, pin, connections: connections.value, hsm, telemetry })
  try {
    if (!opened.ok) return opened
    const ledger = opened.value
    const isWriter = await becomeWriter(ledger)
    if (!isWriter.ok) return isWriter
    const configured = config.hsm.backends.map(({ id }) => id)
    await createConnectionWatch({ hsm, ledger, telemetry, configured }).follow()
    // A backend that cannot be swept keeps nobody from the others; the first fault is the outcome.
    let outcome: Result<void, OperatorFault> = ok(undefined)
    for (const { backend } of hsm.status()) {
      const swept = await sweepBackend({ hsm, ledger, telemetry, origin: pin.origin }, backend, { flags, out })
      if (outcome.ok) outcome = swept
    }
    return outcome
  } finally {
    if (opened.ok) await opened.value.stop()
    await hsm.close()
    await connections.value.close()
  }
}

/** Waits until this process writes the ledger; a living writer is left alone. */
const becomeWriter = async (ledger: LedgerService): Promise<Result<void, OperatorFault>> => {
  const ready = await ledger.whenReady()
  if (!ready.ok) return fault(ready.error.message)
  const deadline = Date.now() + LIMITS.hsmStartDeadlineMs
  while (ledger.status().role !== 'writer') {
    if (Date.now() > deadline || ledger.status().alarm !== undefined)
      return fault('another process writes this ledger: stop the service, then sweep')
    await new Promise((resolve) => setTimeout(resolve, LIMITS.hsmProbeIntervalMs))
  }
  return ok(undefined)
}

const sweepBackend = async (
  parts: Parts,
  backend: string,
  { flags, out }: { readonly flags: SweepFlags; readonly out: Sinks['out'] },
): Promise<Result<void, OperatorFault>> => {
  const view = parts.ledger.view()
  const signal = AbortSignal.timeout(LIMITS.hsmStartDeadlineMs)
  const report = await reportMaterial(parts, backend, signal)
  if (report === undefined) return fault(`backend ${backend} does not answer; nothing was swept on it`)
  const { orphans } = report
  for (const { label, ckaIdHex } of orphans) out.write(`${backend}  ${ckaIdHex}  ${label}\n`)
  out.write(`${backend}: ${orphans.length} objects that the ledger does not name\n`)
  if (!flags.destroy || orphans.length === 0) return ok(undefined)
  const needsWord =
    orphans.length > LIMITS.sweepWithoutConfirmationMax || orphans.length * 100 > listMaterial(view, backend).length
  if (needsWord && flags.yes !== orphans.length)
    return fault(`${orphans.length} objects are more than are swept without a word: add --yes ${orphans.length}`)
  return destroyOrphans(parts, backend, orphans)
}

/** Destruction is two commits: its start is durable before the HSM is touched, so a crash between them is seen. */
const destroyOrphans = async (
  { hsm, ledger, origin }: Parts,
  backend: string,
  orphans: readonly HsmObject[],
): Promise<Result<void, OperatorFault>> => {
  const append = async (body: EventBody) => {
    const id = createUuidV7(systemClock.now())
    const event = toEvent(id, toServiceSubject(origin, id, 'kms:Sweep'), body, { outcome: 'success' })
    return ledger.append({ events: [event], guards: [], toFailed: () => event }, new AbortController().signal)
  }
  const objects = orphans.length
  const started = await append({ type: 'SweepStarted', data: { backend, objects } })
  if (!started.ok) return fault(started.error.message)
  const ids = orphans.map(({ ckaIdHex }) => ckaIdHex)
  const destroyed = await hsm.destroyObjects(backend, ids, AbortSignal.timeout(LIMITS.hsmStartDeadlineMs))
  if (!destroyed.ok) return fault(destroyed.error.message)
  const finished = await append({ type: 'SweepFinished', data: { backend, objects, destroyed: destroyed.value } })
  return finished.ok ? ok(undefined) : fault(finished.error.message)
}
