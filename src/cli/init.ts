import type { Config } from '../../schemas/config.ts'
import { LIMITS } from '../../schemas/limits.ts'
import type { Pin } from '../core/chainState.ts'
import type { Hsm, Telemetry } from '../core/ports.ts'
import { ok, type Result } from '../core/result.ts'
import { ensureOrigin, initLedger } from '../ledger/genesis.ts'
import { formatVkey, parseVkey } from '../verify/vkey.ts'
import { fault, type OperatorFault } from './config.ts'
import { openConnection } from './connections.ts'
import { openHsm } from './openHsm.ts'
import { toSyncCheck } from './openLedger.ts'
import { systemClock, systemScheduler } from './time.ts'

/**
 * Makes the ledger of a configuration: origin, stream, handle key and `ledger-root` in the HSM, commit 1, the pinned
 * root key, and the handle key of every other backend. Safe to repeat, also when a backend was added; refuses whatever
 * might be a ledger, or a token, that was lost. Needs `nats.provision`.
 */
export const runInit = async (
  config: Config,
  name: string,
  telemetry: Telemetry,
): Promise<Result<Pin, OperatorFault>> => {
  const made = await initKeepingHsm(config, name, telemetry)
  if (!made.ok) return made
  await made.value.hsm.close()
  return ok(made.value.pin)
}

/** As {@link runInit}; on success the HSM stays open for the service that starts next, and is the caller's to close. */
export const initKeepingHsm = async (
  config: Config,
  name: string,
  telemetry: Telemetry,
): Promise<Result<{ readonly pin: Pin; readonly hsm: Hsm }, OperatorFault>> => {
  const { provision } = config.nats
  const { stream } = config.ledger.anchors
  if (provision === undefined) return fault('nats.provision: init needs the user that may create streams')
  const origin = await ensureOrigin(config.data_dir, name)
  if (!origin.ok) return fault(origin.error.message)
  const provisioning = await openConnection(config, provision, telemetry)
  if (!provisioning.ok) return provisioning
  const connection = await openConnection(config, config.nats.ledger, telemetry)
  if (!connection.ok) {
    await provisioning.value.close()
    return connection
  }
  const hsm = await openHsm({ config, origin: origin.value, telemetry })
  let isKept = false
  try {
    const made = await initLedger(
      {
        dataDir: config.data_dir,
        origin: origin.value,
        provision: provisioning.value,
        connection: connection.value,
        replicas: config.nats.replicas,
        keepsCheckpoints: stream !== undefined && stream.servers === undefined,
        sync: toSyncCheck(config),
        hsm,
        backend: config.hsm.ledger_backend,
        clock: systemClock,
        scheduler: systemScheduler,
        telemetry,
        formatVkey,
        parseVkey,
      },
      AbortSignal.timeout(LIMITS.hsmStartDeadlineMs),
    )
    if (!made.ok) return fault(made.error.message)
    const prepared = await prepareBackends(config.hsm, hsm)
    if (!prepared.ok) return prepared
    isKept = true
    return ok({ pin: made.value, hsm })
  } finally {
    if (!isKept) await hsm.close()
    await Promise.all([provisioning.value.close(), connection.value.close()])
  }
}

/** The second step: a handle key on each backend but the ledger's, which has its own since genesis. */
const prepareBackends = async (
  { backends, ledger_backend }: Config['hsm'],
  hsm: Hsm,
): Promise<Result<void, OperatorFault>> => {
  for (const { id } of backends) {
    if (id === ledger_backend) continue
    const made = await hsm.createHandleKey(id, AbortSignal.timeout(LIMITS.hsmStartDeadlineMs))
    if (!made.ok) return fault(`backend ${id} has no handle key, and none could be made: ${made.error.message}`)
  }
  return ok(undefined)
}
