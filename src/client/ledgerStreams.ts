import { JetStreamApiCodes, JetStreamApiError, jetstreamManager } from '@nats-io/jetstream'
import type { NatsConnection } from '@nats-io/nats-core'
import { LIMITS } from '../../schemas/limits.ts'
import { parseLedgerStream } from '../../schemas/streams.ts'

/** A stream with a part of the ledger, as it stands. */
export interface StreamEnds {
  readonly name: string
  /** The name that the ledger knows it by: of a mirror that of its source. */
  readonly ledgerName: string
  /** Where the ledger begins in it; 1 also for a first stream that has lost its beginning, which only reading it tells. */
  readonly begin: number
  /** The first and last sequences that it has; `lastSeq` counts messages that it has lost. Empty: last is before first. */
  readonly firstSeq: number
  readonly lastSeq: number
}

/** The ledger's streams that are there, oldest first. Throws what NATS throws. */
export const listLedgerStreams = async (connection: NatsConnection, timeoutMs?: number): Promise<readonly string[]> => {
  const manager = await openManager(connection, timeoutMs)
  const found: { readonly name: string; readonly number: number }[] = []
  for await (const name of manager.streams.names()) {
    const number = parseLedgerStream(name)
    if (number !== undefined) found.push({ name, number })
  }
  return found.sort((one, other) => one.number - other.number).map(({ name }) => name)
}

/** Throws what NATS throws; {@link isStreamMissing} tells where there is none. */
export const readStreamEnds = async (
  connection: NatsConnection,
  name: string,
  timeoutMs?: number,
): Promise<StreamEnds> => {
  const { config, state } = await (await openManager(connection, timeoutMs)).streams.info(name)
  const ledgerName = config.mirror?.name ?? name
  const isLater = (parseLedgerStream(ledgerName) ?? 1) > 1
  const firstSeq = Math.max(1, state.first_seq)
  return { name, ledgerName, begin: isLater ? firstSeq : 1, firstSeq, lastSeq: state.last_seq }
}

export const isStreamMissing = (error: unknown): boolean =>
  error instanceof JetStreamApiError && error.code === JetStreamApiCodes.StreamNotFound

const openManager = (connection: NatsConnection, timeoutMs: number = LIMITS.natsRequestTimeoutMs) =>
  jetstreamManager(connection, { checkAPI: false, timeout: timeoutMs })
