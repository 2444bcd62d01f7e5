import type { NatsConnection } from '@nats-io/transport-node'
import { LIMITS } from '../../schemas/limits.ts'
import { isRecord } from '../core/byteFields.ts'
import type { LedgerStatus, Scheduler, Telemetry } from '../core/ports.ts'
import { describeError } from './fault.ts'

export type StorageUse = NonNullable<LedgerStatus['storage']>

/**
 * How full the storage of the ledger is: of the servers whose monitoring ports are given the fullest, without any the limit of
 * the account. Nothing if nobody tells a limit. Throws what HTTP and NATS throw.
 *
 * A server's limit is `jetstream.max_file_store`, or three quarters of what was free on its disk when it started [M]. At the
 * limit it refuses every message, also right after a start that finds more than that in its store [M].
 */
export const readStorageUse = async (
  connection: NatsConnection,
  monitorUrls: readonly string[],
): Promise<StorageUse | undefined> => {
  if (monitorUrls.length > 0) return findFullest(await Promise.all(monitorUrls.map(readServer)))
  const message = await connection.request('$JS.API.INFO', '', { timeout: LIMITS.natsRequestTimeoutMs })
  const answer: unknown = message.json()
  const limits = isRecord(answer) ? answer['limits'] : undefined
  return isRecord(answer) && isRecord(limits) ? toUse(answer['storage'], limits['max_storage']) : undefined
}

const readServer = async (url: string): Promise<StorageUse | undefined> => {
  const signal = AbortSignal.timeout(LIMITS.natsRequestTimeoutMs)
  const answer: unknown = await (await fetch(new URL('/jsz?config=1', url), { signal })).json()
  const config = isRecord(answer) ? answer['config'] : undefined
  return isRecord(answer) && isRecord(config) ? toUse(answer['storage'], config['max_storage']) : undefined
}

/** A limit that is not positive is none. */
const toUse = (used: unknown, limit: unknown): StorageUse | undefined =>
  typeof used === 'number' && typeof limit === 'number' && limit > 0
    ? { usedBytes: used, limitBytes: limit, isWarning: used * 100 >= limit * LIMITS.storageWarnPercent }
    : undefined

const findFullest = (uses: readonly (StorageUse | undefined)[]): StorageUse | undefined =>
  uses
    .filter((use) => use !== undefined)
    .reduce<StorageUse | undefined>(
      (fullest, use) => (fullest === undefined || toShare(use) > toShare(fullest) ? use : fullest),
      undefined,
    )

const toShare = ({ usedBytes, limitBytes }: StorageUse): number => usedBytes / limitBytes

/** Asks again and again how full the storage is. */
export interface StorageWatch {
  /** The last that was told. */
  use(): StorageUse | undefined
  close(): void
}

export interface StorageWatchOptions {
  /** May throw: what was told last then stands. */
  read(): Promise<StorageUse | undefined>
  readonly intervalMs: number
  readonly scheduler: Scheduler
  readonly telemetry: Telemetry
}

/** Asks at once, and then every `intervalMs`; says once in the log when the storage gets as full as that it is time to act. */
export const createStorageWatch = ({ read, intervalMs, scheduler, telemetry }: StorageWatchOptions): StorageWatch => {
  let last: StorageUse | undefined
  let isClosed = false
  let cancel = (): void => undefined
  const look = async (): Promise<void> => {
    try {
      const next = await read()
      if (isClosed) return
      if (next?.isWarning && !last?.isWarning)
        telemetry.log('warn', 'the storage of the ledger gets full', {
          percent: Math.floor(toShare(next) * 100),
          used_bytes: next.usedBytes,
          limit_bytes: next.limitBytes,
        })
      last = next ?? last
    } catch (error) {
      telemetry.log('debug', 'how full the storage is could not be asked', { error: describeError(error) })
    }
    if (!isClosed) cancel = scheduler.after(intervalMs, () => void look())
  }
  void look()
  return {
    use: () => last,
    close() {
      isClosed = true
      cancel()
    },
  }
}
