import type { NatsConnection } from '@nats-io/transport-node'
import type { Config } from '../../schemas/config.ts'
import type { Telemetry } from '../core/ports.ts'
import { ok, type Result } from '../core/result.ts'
import { connectNats } from '../ledger/connections.ts'
import { fault, type OperatorFault } from './config.ts'

type UserConfig = Config['nats']['front']

/** Connects as one configured NATS user. */
export const openConnection = async (
  { nats }: Config,
  user: UserConfig,
  telemetry: Telemetry,
): Promise<Result<NatsConnection, OperatorFault>> => {
  const connected = await connectNats({
    servers: nats.servers,
    user: user.user,
    passwordFile: user.password_file,
    ...toNatsTls(nats.tls),
    telemetry,
  })
  return connected.ok ? connected : fault(connected.error.message)
}

/** A configuration's TLS files as a connection takes them. */
export const toNatsTls = (tls: Config['nats']['tls']) =>
  tls === undefined
    ? {}
    : {
        tls: {
          ...(tls.ca_file === undefined ? {} : { caFile: tls.ca_file }),
          ...(tls.cert_file === undefined ? {} : { certFile: tls.cert_file }),
          ...(tls.key_file === undefined ? {} : { keyFile: tls.key_file }),
        },
      }

/** The two connections of a service: requests come in by one, and only the other may write the ledger. */
export interface Connections {
  readonly front: NatsConnection
  readonly ledger: NatsConnection
  close(): Promise<void>
}

export const openConnections = async (
  config: Config,
  telemetry: Telemetry,
): Promise<Result<Connections, OperatorFault>> => {
  const front = await openConnection(config, config.nats.front, telemetry)
  if (!front.ok) return front
  const ledger = await openConnection(config, config.nats.ledger, telemetry)
  if (!ledger.ok) {
    await front.value.close()
    return ledger
  }
  const close = async () => {
    await Promise.all([front.value.close(), ledger.value.close()])
  }
  return ok({ front: front.value, ledger: ledger.value, close })
}
