import type { Config } from '../../schemas/config.ts'
import { LIMITS } from '../../schemas/limits.ts'
import type { Hsm, LedgerStatus, PolicyDecisionPoint } from '../core/ports.ts'
import type { LedgerService } from '../ledger/ledger.ts'
import type { NatsTransport } from '../transport/nats.ts'
import type { Component } from '../transport/openRoutes.ts'
import type { Connections } from './connections.ts'

interface Probed {
  readonly config: { readonly hsm: Pick<Config['hsm'], 'ledger_backend'> }
  readonly connections: { readonly [C in 'front' | 'ledger']: Pick<Connections[C], 'flush'> }
  readonly ledger: Pick<LedgerService, 'status'>
  readonly hsm: Pick<Hsm, 'status' | 'execute'>
  readonly pdp: Pick<PolicyDecisionPoint, 'isReady'>
  readonly nats: Pick<NatsTransport, 'isServing'>
}

const withDeadline = async (probe: Promise<unknown>): Promise<boolean> => {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), LIMITS.readinessProbeMs)
  })
  try {
    return await Promise.race([probe.then(() => true), late])
  } catch {
    return false
  } finally {
    clearTimeout(timer)
  }
}

const describeCheckpoints = ({ seq, checkpoints }: LedgerStatus): string => {
  const { anchored } = checkpoints ?? {}
  const failing = checkpoints?.anchors.filter(({ failing: how }) => how !== undefined).map(({ name }) => name) ?? []
  const missing = failing.length === 0 ? '' : `; failing: ${failing.join(', ')}`
  if (anchored === undefined) return `not anchored since the start${missing}`
  return `anchored to ${anchored.size} of ${seq}, ${Math.round(anchored.ageMs / 1000)} s ago${missing}`
}

const describeLedger = ({ inDoubt, expired, role }: LedgerStatus): string => {
  if (expired) return 'the epoch key is past its bound and cannot be renewed'
  return inDoubt ? 'in doubt' : role
}

const describeStorage = ({ storage }: LedgerStatus): Component => {
  if (storage === undefined) return { name: 'storage', isReady: true, detail: 'nobody tells how full it is' }
  const { usedBytes, limitBytes, isWarning } = storage
  const detail = `${Math.floor((usedBytes / limitBytes) * 100)} % of ${limitBytes} bytes used`
  return { name: 'storage', isReady: true, detail, ...(isWarning ? { isWarning } : {}) }
}

/** Touches NATS, the ledger, every HSM backend and the PDP for real. Nothing here holds key data. */
export const createReadiness =
  ({ config, connections, ledger, hsm, pdp, nats }: Probed) =>
  async (): Promise<readonly Component[]> => {
    const status = ledger.status()
    const probeHsm = async (backend: string): Promise<Component> => {
      const drawn = await hsm.execute(
        { kind: 'random', backend, bytes: 1 },
        AbortSignal.timeout(LIMITS.readinessProbeMs),
      )
      if (drawn.ok) drawn.value.bytes[Symbol.dispose]()
      return {
        name: `hsm:${backend}`,
        isReady: drawn.ok,
        ...(drawn.ok ? {} : { detail: drawn.error.code }),
        // Without the ledger's own backend no epoch can be opened; any other one fails its own keys only.
        isOptional: backend !== config.hsm.ledger_backend,
      }
    }
    const [isConnected, ...backends] = await Promise.all([
      withDeadline(Promise.all([connections.front.flush(), connections.ledger.flush()])),
      ...hsm.status().map(({ backend }) => probeHsm(backend)),
    ])
    const isWriting = status.role === 'writer' && !status.inDoubt && !status.expired
    return [
      { name: 'nats', isReady: isConnected && nats.isServing() },
      { name: 'ledger', isReady: isWriting, detail: describeLedger(status) },
      ...backends,
      { name: 'pdp', isReady: pdp.isReady() },
      // Never a reason to send requests elsewhere: what is written is written.
      { name: 'checkpoints', isReady: true, detail: describeCheckpoints(status) },
      describeStorage(status),
    ]
  }
