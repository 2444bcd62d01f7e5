import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { connect, type NatsConnection } from '@nats-io/transport-node'
import { LIMITS } from '../../schemas/limits.ts'
import type { Telemetry } from '../core/ports.ts'
import { ok } from '../core/result.ts'
import { describeError, faulty, type LedgerResult } from './fault.ts'

export interface ConnectionOptions {
  readonly servers: readonly string[]
  /** What each user may do stands in `nats.conf`. */
  readonly user: string
  /** Read again at each attempt to connect, so that a rotated password needs no restart. Absent: no authentication. */
  readonly passwordFile?: string
  readonly tls?: { readonly caFile?: string; readonly certFile?: string; readonly keyFile?: string }
  readonly telemetry: Telemetry
}

/**
 * Connects as one user. Afterwards it reconnects for ever, between `natsReconnectMs` and `natsReconnectMaxMs` apart;
 * a server that went silent is noticed within two pings. The caller closes it. Faults: `unreachable`, `file`.
 */
export const connectNats = async (options: ConnectionOptions): Promise<LedgerResult<NatsConnection>> => {
  const { user, passwordFile, telemetry } = options
  let password: string | undefined
  if (passwordFile !== undefined)
    try {
      password = (await readFile(passwordFile, 'utf8')).trim()
    } catch (error) {
      return faulty('file', `cannot read the password of NATS user ${user}: ${describeError(error)}`)
    }
  const backoff = createBackoff()
  try {
    const connection = await connect({
      servers: [...options.servers],
      name: user,
      inboxPrefix: `_INBOX.${user}`,
      noAsyncTraces: true,
      pingInterval: LIMITS.natsPingIntervalMs,
      timeout: LIMITS.natsConnectTimeoutMs,
      maxReconnectAttempts: -1,
      ignoreAuthErrorAbort: true,
      reconnectDelayHandler: backoff.next,
      ...(options.tls === undefined ? {} : { tls: { ...options.tls } }),
      ...(passwordFile === undefined
        ? {}
        : { authenticator: () => ({ user, pass: rereadPassword(passwordFile, password ?? '') }) }),
    })
    void watchStatus(connection, { user, telemetry, backoff })
    return ok(connection)
  } catch (error) {
    return faulty(
      'unreachable',
      `cannot connect to NATS as ${user} at ${options.servers.join(', ')}: ${describeError(error)}`,
    )
  }
}

const rereadPassword = (file: string, last: string): string => {
  try {
    return readFileSync(file, 'utf8').trim()
  } catch {
    return last
  }
}

interface Backoff {
  next(): number
  reset(): void
}

const createBackoff = (): Backoff => {
  let waitMs: number = LIMITS.natsReconnectMs
  return {
    next() {
      const now = waitMs
      waitMs = Math.min(waitMs * 2, LIMITS.natsReconnectMaxMs)
      return now / 2 + Math.random() * (now / 2)
    },
    reset() {
      waitMs = LIMITS.natsReconnectMs
    },
  }
}

const watchStatus = async (
  connection: NatsConnection,
  { user, telemetry, backoff }: { user: string; telemetry: Telemetry; backoff: Backoff },
): Promise<void> => {
  for await (const status of connection.status())
    switch (status.type) {
      case 'disconnect':
      case 'staleConnection':
        telemetry.log('warn', 'NATS connection lost', { user, cause: status.type })
        break
      case 'reconnect':
        backoff.reset()
        telemetry.log('info', 'NATS connection is back', { user, server: status.server })
        break
      case 'error':
        telemetry.log('error', 'NATS reported an error', { user, error: status.error.message })
        break
      default:
    }
}
