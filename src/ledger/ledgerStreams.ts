import { jetstreamManager } from '@nats-io/jetstream'
import type { NatsConnection } from '@nats-io/transport-node'
import { LIMITS } from '../../schemas/limits.ts'
import { parseLedgerStream, STREAM_LEDGER } from '../../schemas/streams.ts'

/** One stream of the ledger, as the server tells it. */
export interface LedgerStream {
  readonly name: string
  /** From 1; the highest is the one that is written. */
  readonly number: number
  /** The sequence of its first message, or of the one that will be. */
  readonly firstSeq: number
  /** `firstSeq` − 1 while it is empty. */
  readonly lastSeq: number
  /** A roll has ended it: it takes no message any more. */
  readonly isSealed: boolean
  readonly config: Readonly<Record<string, unknown>>
}

/** The ledger's streams, in the order in which it goes on in them; older ones may have been deleted. Throws what NATS throws. */
export const listLedgerStreams = async (connection: NatsConnection): Promise<readonly LedgerStream[]> => {
  const manager = await jetstreamManager(connection, { checkAPI: false, timeout: LIMITS.natsRequestTimeoutMs })
  const found: LedgerStream[] = []
  for await (const name of manager.streams.names()) {
    const number = parseLedgerStream(name)
    if (number === undefined) continue
    const { config, state } = await manager.streams.info(name)
    const firstSeq = Math.max(state.first_seq, 1)
    found.push({ name, number, firstSeq, lastSeq: state.last_seq, isSealed: config.sealed, config: { ...config } })
  }
  return found.sort((a, b) => a.number - b.number)
}

/**
 * The first sequence that can be read from these streams on without a break between two of them: 1 until older ones are
 * deleted. Whether every message in them is there is not told.
 */
export const beginOf = (streams: readonly LedgerStream[]): number => {
  let begin = 1
  for (const [index, { firstSeq }] of streams.entries())
    if (firstSeq !== (streams[index - 1]?.lastSeq ?? 0) + 1) begin = firstSeq
  return begin
}

/** The newest sequence of the ledger, 0 if it is empty. */
export const endOf = (streams: readonly LedgerStream[]): number => streams.at(-1)?.lastSeq ?? 0

/** Which stream a sequence stands in, or will: the newest that begins at or before it. */
export type ToStream = (seq: number) => string

export const toStreamOf =
  (streams: readonly LedgerStream[]): ToStream =>
  (seq) =>
    (streams.filter(({ firstSeq }) => firstSeq <= seq).at(-1) ?? streams[0])?.name ?? STREAM_LEDGER
