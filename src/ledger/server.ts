import type { NatsConnection } from '@nats-io/transport-node'
import { LIMITS } from '../../schemas/limits.ts'
import { ok } from '../core/result.ts'
import { describeError, faulty, type LedgerResult } from './fault.ts'

/** Older servers drop settings they do not know without a word, and lack fixes to fsync. */
const VERSION_MIN = [2, 10, 23] as const

/** How the service learns that the server fsyncs every message before it acknowledges. */
export interface SyncCheck {
  /** Base URLs of the monitoring ports, one a server of the cluster; each must answer `sync_always`. */
  readonly monitorUrls: readonly string[]
  /** The operator vouches for it. */
  readonly assumeSyncAlways: boolean
}

/** Faults: `server_too_old`, `sync_not_always`, `unreachable`. */
export const checkServer = async (connection: NatsConnection, sync: SyncCheck): Promise<LedgerResult<void>> => {
  const version = connection.info?.version ?? 'unknown'
  if (!isRecentEnough(version))
    return faulty('server_too_old', `nats-server is ${version}; it must be ${VERSION_MIN.join('.')} or newer`)
  if (sync.assumeSyncAlways) return ok(undefined)
  if (sync.monitorUrls.length === 0)
    return faulty(
      'sync_not_always',
      'whether nats-server fsyncs each message is not known: set nats.monitor_url to its monitoring port, or nats.assume_sync_always if you know that jetstream.sync_interval is "always"',
    )
  for (const url of sync.monitorUrls) {
    const answer = await readSyncAlways(url)
    if (!answer.ok) return answer
    if (!answer.value)
      return faulty(
        'sync_not_always',
        `the nats-server at ${url} acknowledges messages before they are on disk; set jetstream.sync_interval to "always"`,
      )
  }
  return ok(undefined)
}

const readSyncAlways = async (url: string): Promise<LedgerResult<boolean>> => {
  try {
    const response = await fetch(new URL('/jsz?config=1', url), {
      signal: AbortSignal.timeout(LIMITS.natsRequestTimeoutMs),
    })
    const body: unknown = await response.json()
    const config = isObject(body) ? body['config'] : undefined
    return ok(isObject(config) && config['sync_always'] === true)
  } catch (error) {
    return faulty('unreachable', `cannot read nats-server's monitoring port at ${url}: ${describeError(error)}`)
  }
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null

/** Compares `major.minor.patch`; a pre-release suffix is ignored. */
export const isRecentEnough = (version: string): boolean => {
  const parts = /^v?(\d+)\.(\d+)\.(\d+)/.exec(version)?.slice(1).map(Number)
  if (parts === undefined) return false
  for (const [index, wanted] of VERSION_MIN.entries()) {
    const part = parts[index] ?? 0
    if (part !== wanted) return part > wanted
  }
  return true
}
