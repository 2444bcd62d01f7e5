import { connect, type NatsConnection } from '@nats-io/transport-node'
import type { Config } from '../../schemas/config.ts'
import { LIMITS } from '../../schemas/limits.ts'
import { ok, type Result } from '../core/result.ts'
import { type CliFault, describeError, unreachable } from './exit.ts'
import { readTextFile } from './terminal.ts'

export interface NatsLogin {
  readonly servers: readonly string[]
  readonly tls?: Config['nats']['tls'] | undefined
  /** No user: a server that asks for none. */
  readonly user?: string | undefined
  readonly passwordFile?: string | undefined
  /** Ends the message when nobody listens there. */
  readonly advice: string
}

/** Connects once, without coming back after a loss: a command that lost its server says so and ends. */
export const openNats = async (login: NatsLogin): Promise<Result<NatsConnection, CliFault>> => {
  const { servers, tls, user, passwordFile } = login
  const place = servers.join(', ')
  const password = passwordFile === undefined ? ok(undefined) : await readTextFile(passwordFile, LIMITS.tokenBytesMax)
  if (!password.ok) return unreachable(`no running service found at ${place}: ${login.advice} (${password.error})`)
  try {
    const connection = await connect({
      servers: [...servers],
      name: `chatelaine-cli ${user ?? ''}`.trim(),
      reconnect: false,
      timeout: LIMITS.natsConnectTimeoutMs,
      pingInterval: LIMITS.natsPingIntervalMs,
      noAsyncTraces: true,
      ...(tls === undefined ? {} : { tls: toTls(tls) }),
      ...(user === undefined ? {} : { user, inboxPrefix: `_INBOX.${user}` }),
      ...(password.value === undefined ? {} : { pass: password.value }),
    })
    return ok(connection)
  } catch (error) {
    return unreachable(explainFailure(login, place, error))
  }
}

const toTls = (tls: NonNullable<Config['nats']['tls']>) => ({
  ...(tls.ca_file === undefined ? {} : { caFile: tls.ca_file }),
  ...(tls.cert_file === undefined ? {} : { certFile: tls.cert_file }),
  ...(tls.key_file === undefined ? {} : { keyFile: tls.key_file }),
})

const explainFailure = ({ user, advice }: NatsLogin, place: string, error: unknown): string => {
  const why = describeError(error)
  if (/authorization|authentication/i.test(why))
    return `the NATS server at ${place} refuses ${user === undefined ? 'a connection without user' : `the user ${user}`}`
  return `no running service found at ${place}: ${advice} (${why})`
}
