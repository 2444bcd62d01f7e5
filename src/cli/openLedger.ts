import { hostname } from 'node:os'
import type { Config } from '../../schemas/config.ts'
import { LIMITS } from '../../schemas/limits.ts'
import type { Pin } from '../core/chainState.ts'
import type { Hsm, Telemetry } from '../core/ports.ts'
import { ok, type Result } from '../core/result.ts'
import { toLedgerFiles } from '../ledger/genesis.ts'
import { createLedger, type LedgerService } from '../ledger/ledger.ts'
import type { Committed } from '../ledger/metrics.ts'
import { fault, type OperatorFault } from './config.ts'
import type { Connections } from './connections.ts'
import { openAnchors } from './openAnchors.ts'
import { systemClock, systemScheduler } from './time.ts'

export interface OpenLedgerOptions {
  readonly config: Config
  readonly pin: Pin
  readonly connections: Connections
  readonly hsm: Hsm
  readonly telemetry: Telemetry
  /** Start on a non-empty ledger without a head file. */
  readonly trustOnFirstUse?: boolean
  /** Open an epoch at once. */
  readonly takeOver?: boolean
  onCommitted?(committed: Committed): void
}

/** The check of the server that a configuration asks for. */
export const toSyncCheck = ({ nats }: Config) => ({
  monitorUrls: nats.monitor_url === undefined ? [] : [nats.monitor_url],
  assumeSyncAlways: nats.assume_sync_always,
})

/** Opens the ledger of a configuration; it reads and verifies itself in the background. */
export const openLedger = async (options: OpenLedgerOptions): Promise<Result<LedgerService, OperatorFault>> => {
  const { config, pin, connections, hsm, telemetry } = options
  const anchors = openAnchors(config, pin.origin, { ledger: connections.ledger, telemetry })
  if (!anchors.ok) return anchors
  const made = await createLedger({
    connection: connections.ledger,
    front: connections.front,
    pin,
    replicas: config.nats.replicas,
    sync: toSyncCheck(config),
    hsm,
    backend: config.hsm.ledger_backend,
    writer: `${hostname()}/${process.pid}`.slice(0, 128),
    headFile: toLedgerFiles(config.data_dir).head,
    checkpoints: anchors.value.settings,
    snapshots: { intervalMs: config.ledger.snapshot_interval_ms, commitsMin: LIMITS.snapshotCommitsMin },
    trustOnFirstUse: options.trustOnFirstUse ?? false,
    takeOver: options.takeOver ?? false,
    clock: systemClock,
    scheduler: systemScheduler,
    telemetry,
    ...(options.onCommitted === undefined ? {} : { onCommitted: options.onCommitted }),
  })
  if (!made.ok) {
    await anchors.value.close()
    return fault(made.error.message)
  }
  const ledger = made.value
  return ok({
    ...ledger,
    async stop() {
      await ledger.stop()
      await anchors.value.close()
    },
  })
}
