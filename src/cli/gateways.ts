import { readFile } from 'node:fs/promises'
import type { Config } from '../../schemas/config.ts'
import { LIMITS } from '../../schemas/limits.ts'
import type { Hsm, PolicyDecisionPoint } from '../core/ports.ts'
import type { Dispatch } from '../core/request.ts'
import { ok, type Result } from '../core/result.ts'
import { toOpenApi } from '../docs/openapi.ts'
import type { LedgerService } from '../ledger/ledger.ts'
import type { ServiceTelemetry } from '../telemetry/telemetry.ts'
import { createAdmission } from '../transport/admission.ts'
import type { HttpServer } from '../transport/httpServer.ts'
import { createNatsTransport, type NatsTransport } from '../transport/nats.ts'
import type { OpenPorts } from '../transport/openRoutes.ts'
import { createAdminListener, createRestGateway } from '../transport/rest.ts'
import { fault, type OperatorFault } from './config.ts'
import type { Connections } from './connections.ts'
import { createReadiness } from './readiness.ts'
import { VERSION } from './version.ts'

export interface GatewayOptions {
  readonly config: Config
  readonly connections: Connections
  readonly dispatch: Dispatch
  readonly ledger: LedgerService
  readonly hsm: Hsm
  readonly pdp: PolicyDecisionPoint
  readonly telemetry: ServiceTelemetry
}

/** Both transports of one process, and the listeners that need no token. */
export interface Gateways {
  readonly httpAddress: string
  /**
   * From now on takes NATS requests whenever this process is the writer; `prepare` runs before each time. Resolves when
   * requests are being taken for the first time.
   */
  serveWhileWriter(prepare: () => Promise<void>): Promise<void>
  /** Takes no new request and waits, within a deadline, for those under way. */
  stop(): Promise<void>
}

/** Opens the HTTP listener at once, so that health can be asked while the ledger is still being read. */
export const createGateways = async (options: GatewayOptions): Promise<Result<Gateways, OperatorFault>> => {
  const { config, connections, dispatch, ledger, hsm, telemetry } = options
  const admission = createAdmission()
  telemetry.metrics.registerGauges({
    ledgerStatus: () => ledger.status(),
    hsmStatus: () => hsm.status(),
    inFlight: () => admission.inFlight(),
  })
  const serve = { dispatch, telemetry, admission }
  const nats = createNatsTransport({
    ...serve,
    connection: connections.front,
    version: VERSION,
    onReplySubjectRefused: () => telemetry.metrics.countRefusedReplySubject(),
  })
  const openapi = JSON.stringify(toOpenApi(VERSION))
  const open: OpenPorts = {
    readiness: createReadiness({ ...options, nats }),
    metrics: () => telemetry.metrics.render(),
    openapi: () => openapi,
  }
  const { http } = config
  const tls = await readTls(http.tls)
  const rest = createRestGateway({
    ...serve,
    ...(tls === undefined ? {} : { tls }),
    ...(http.admin === undefined ? { open } : {}),
  })
  const listening = await listen(rest, http, 'http.port')
  if (!listening.ok) return listening
  const admin = http.admin && createAdminListener({ telemetry, open })
  const administered = admin && http.admin ? await listen(admin, http.admin, 'http.admin.port') : listening
  if (!administered.ok) return administered
  const servers = admin === undefined ? [rest] : [rest, admin]
  return ok({
    httpAddress: `${tls === undefined ? 'http' : 'https'}://${http.host}:${listening.value}`,
    serveWhileWriter: (prepare) => serveWhileWriter(options, nats, prepare),
    async stop() {
      await Promise.all([
        nats.drain(LIMITS.drainDeadlineMs),
        ...servers.map((server) => server.close(LIMITS.drainDeadlineMs)),
      ])
    },
  })
}

const serveWhileWriter = (
  { ledger, telemetry }: GatewayOptions,
  nats: NatsTransport,
  prepare: () => Promise<void>,
): Promise<void> =>
  new Promise((resolve) => {
    const enter = async (role: ReturnType<LedgerService['status']>['role']) => {
      if (role !== 'writer') return nats.leave()
      await prepare()
      if (ledger.status().role !== 'writer') return
      await nats.join()
      resolve()
    }
    const follow = (role: Parameters<typeof enter>[0]) => {
      enter(role).catch(() => telemetry.log('error', 'the NATS transport could not follow a change of role', { role }))
    }
    ledger.onRole(follow)
    follow(ledger.status().role)
  })

const listen = async (
  server: HttpServer,
  address: { readonly host: string; readonly port: number },
  setting: string,
): Promise<Result<number, OperatorFault>> => {
  try {
    return ok(await server.listen({ host: address.host, port: address.port }))
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    if (code === 'EADDRINUSE')
      return fault(`port ${address.port} is in use: set KMS_HTTP_PORT, or ${setting} in the configuration`)
    return fault(`cannot listen on ${address.host}:${address.port} (${setting}): ${String(code ?? 'unknown error')}`)
  }
}

const readTls = async (tls: Config['http']['tls']) => {
  if (tls === undefined) return undefined
  const [cert, key] = await Promise.all([readFile(tls.cert_file), readFile(tls.key_file)])
  return { cert, key, ...(tls.client_ca_file === undefined ? {} : { clientCa: await readFile(tls.client_ca_file) }) }
}
