import type { Config } from '../../schemas/config.ts'
import { LIMITS } from '../../schemas/limits.ts'
import type { Pin } from '../core/chainState.ts'
import { createKeyedHashes } from '../core/keyedHash.ts'
import type { Hsm, Telemetry } from '../core/ports.ts'
import type { Dispatch } from '../core/request.ts'
import { must, ok, type Result } from '../core/result.ts'
import type { Sensitive } from '../core/sensitive.ts'
import { waitAtMost } from '../hsm/waiting.ts'
import { createFeed } from '../ledger/feed.ts'
import type { LedgerService } from '../ledger/ledger.ts'
import { type CedarPdp, createCedar } from '../pdp/cedar.ts'
import { createPipeline, type Pipeline } from '../pipeline/pipeline.ts'
import { createTelemetry } from '../telemetry/telemetry.ts'
import { createAuthenticators } from './authenticators.ts'
import { fault, type OperatorFault } from './config.ts'
import { type Connections, openConnections } from './connections.ts'
import { type ConnectionWatch, createConnectionWatch } from './connectionWatch.ts'
import { createGateways, type Gateways } from './gateways.ts'
import { createMaterialWatch, type MaterialWatch } from './materialWatch.ts'
import { openLedger } from './openLedger.ts'
import { recordPolicySets } from './policyRecord.ts'
import { reportRoots } from './rootReport.ts'
import { systemClock, systemScheduler } from './time.ts'

export interface ServiceOptions {
  readonly pin: Pin
  /** Start on a non-empty ledger without a head file. */
  readonly trustOnFirstUse?: boolean
  /** Open an epoch at once. */
  readonly takeOver?: boolean
  /** Opens the HSM for the pin's ledger; the service closes it. */
  openHsm(options: { readonly telemetry: Telemetry; readonly awaited: string }): Promise<Hsm>
}

export interface Service {
  /** Resolves when requests are answered, or with what stopped the boot. */
  whenServing(): Promise<Result<void, OperatorFault>>
  readonly httpAddress: string
  /** Stops taking requests, answers what is under way, writes the head file, closes everything. */
  stop(): Promise<void>
}

/** The parts that live as long as the service, in order of creation. */
interface Parts {
  readonly config: Config
  readonly telemetry: Telemetry
  readonly connections: Connections
  readonly hsm: Hsm
  readonly ledger: LedgerService
  readonly pdp: CedarPdp
  readonly material: MaterialWatch
  readonly watch: ConnectionWatch
  readonly gateways: Gateways
  /** Ends what the boot still waits for. */
  readonly stopping: AbortController
}

/** Builds the service of a configuration. A fault says what an operator has to mend. */
export const startService = async (
  config: Config,
  options: ServiceOptions,
): Promise<Result<Service, OperatorFault>> => {
  const telemetry = createTelemetry({ level: config.log.level })
  const connections = await openConnections(config, telemetry)
  if (!connections.ok) return connections
  const hsm = await options.openHsm({ telemetry, awaited: config.hsm.ledger_backend })
  const feed = createFeed({
    connection: connections.value.ledger,
    onMessages: telemetry.metrics.countFeedMessages,
  })
  let connectionWatch: ConnectionWatch | undefined
  const made = await openLedger({
    config,
    ...options,
    connections: connections.value,
    hsm,
    telemetry,
    onCommitted: (committed) => {
      telemetry.metrics.observeCommit(committed.events.length)
      feed.announce(committed)
      connectionWatch?.note(committed.events)
    },
  })
  if (!made.ok) {
    await hsm.close()
    await connections.value.close()
    return made
  }
  const ledger = made.value
  const policySets = recordPolicySets({ ledger, clock: systemClock, origin: options.pin.origin, telemetry })
  const pdp = await createCedar({
    policyDir: config.pdp.cedar.policy_dir,
    telemetry,
    scheduler: systemScheduler,
    onLoaded: policySets.note,
  })
  const material = createMaterialWatch({ hsm, ledger, telemetry })
  const configured = config.hsm.backends.map(({ id }) => id)
  const watch = createConnectionWatch({ hsm, ledger, telemetry, configured })
  connectionWatch = watch
  let dispatch: Dispatch = refuseWhileStarting
  const gateways = await createGateways({
    config,
    connections: connections.value,
    dispatch: (incoming, signal) => dispatch(incoming, signal),
    ledger,
    hsm,
    pdp,
    telemetry,
  })
  if (!gateways.ok) {
    await closeParts({ connections: connections.value, hsm, ledger, pdp, material })
    return gateways
  }
  const parts: Parts = {
    config,
    telemetry,
    connections: connections.value,
    hsm,
    ledger,
    pdp,
    material,
    watch,
    gateways: gateways.value,
    stopping: new AbortController(),
  }
  const boot = bootPipeline(parts, options.pin).catch((error: unknown) => {
    if (parts.stopping.signal.aborted) return fault('the service was stopped while it started')
    throw error
  })
  const serving = boot.then(async (booted) => {
    if (!booted.ok) return booted
    dispatch = booted.value.pipeline.dispatch
    policySets.start()
    booted.value.pipeline.duties.start()
    await gateways.value.serveWhileWriter(() => prepareBackends(parts))
    return ok(undefined)
  })
  return ok({
    whenServing: () => serving,
    httpAddress: gateways.value.httpAddress,
    stop: () => stopService(parts, boot),
  })
}

interface Booted {
  readonly pipeline: Pipeline
  readonly contextKey: Sensitive
}

const bootPipeline = async (parts: Parts, pin: Pin): Promise<Result<Booted, OperatorFault>> => {
  const { config, telemetry, hsm, ledger, pdp, material } = parts
  const ready = await ledger.whenReady()
  if (!ready.ok) return fault(ready.error.message)
  const contextKey = await unsealContextKey(parts)
  const ambient = { clock: systemClock, scheduler: systemScheduler, telemetry }
  const authenticator = await createAuthenticators(config.authn.chain, ambient)
  const pipeline = createPipeline(
    { authenticator, pdp, hsm, ledger, hashes: createKeyedHashes(contextKey), ...ambient },
    {
      origin: pin.origin,
      defaultBackend: config.hsm.ledger_backend,
      backends: config.hsm.backends.map(({ id }) => id),
      sendContextSha256: config.pdp.cedar.send_context_sha256,
      messagesPerVersionMax: config.limits.gcm_messages_per_version_max,
      isMissing: material.isMissing,
    },
  )
  return ok({ pipeline, contextKey })
}

/** Before requests are taken as the writer: looks through the ledger's own token, and gives the others a moment. */
const prepareBackends = async ({ config, hsm, ledger, material, watch, telemetry }: Parts): Promise<void> => {
  const isOwn = (backend: string): boolean => backend === config.hsm.ledger_backend
  const others = watch
    .follow()
    .then(() => material.compare((backend) => !isOwn(backend)))
    .catch(() => telemetry.log('error', 'the HSM backends could not be made those of the ledger'))
  const own = { backend: config.hsm.ledger_backend, roots: ledger.roots() }
  const signal = AbortSignal.timeout(LIMITS.hsmStartDeadlineMs)
  const reported = reportRoots({ hsm, telemetry }, own, signal)
  await Promise.all([reported, material.compare(isOwn), waitAtMost(others, LIMITS.otherBackendsWaitMs)])
}

/** Waits for the ledger's own backend: without the context key nothing may be recorded. Rejects when the service stops. */
const unsealContextKey = async ({ config, hsm, ledger, telemetry, stopping }: Parts): Promise<Sensitive> => {
  const sealed = ledger.view().genesis.sealedContextKey
  must(sealed !== undefined, 'a ledger that was read has its genesis')
  for (;;) {
    stopping.signal.throwIfAborted()
    const unsealed = await hsm.unsealContextKey(
      config.hsm.ledger_backend,
      sealed,
      AbortSignal.timeout(LIMITS.hsmStartDeadlineMs),
    )
    if (unsealed.ok) return unsealed.value
    telemetry.log('warn', 'waiting for the HSM that holds the context key', { code: unsealed.error.code })
    await new Promise((resolve) => setTimeout(resolve, LIMITS.hsmProbeIntervalMaxMs / 4))
  }
}

/** Stops at any point of the boot: what was not reached is not waited for. */
const stopService = async (parts: Parts, boot: Promise<Result<Booted, OperatorFault>>): Promise<void> => {
  parts.stopping.abort(new Error('the service stops'))
  await parts.gateways.stop()
  const booted = await Promise.race([boot, Promise.resolve(undefined)])
  if (booted?.ok) {
    await booted.value.pipeline.duties.stop()
    await booted.value.pipeline.flush()
  }
  await closeParts(parts)
  if (booted?.ok) booted.value.contextKey[Symbol.dispose]()
}

type Closable = Pick<Parts, 'connections' | 'hsm' | 'ledger' | 'pdp' | 'material'>

const closeParts = async ({ connections, hsm, ledger, pdp, material }: Closable): Promise<void> => {
  material.stop()
  await ledger.stop()
  pdp.close()
  await hsm.close()
  await connections.close()
}

const refuseWhileStarting: Dispatch = async (incoming) => ({
  ok: false,
  requestId: incoming.requestId ?? 'starting',
  error: { code: 'LEDGER_UNAVAILABLE', message: 'the service is starting: it is still reading its ledger' },
})
