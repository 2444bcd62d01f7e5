import type { NatsConnection } from '@nats-io/nats-core'
import { STREAM_LEDGER } from '../../schemas/streams.ts'
import { getMessages, type StreamMessage } from './ledgerGets.ts'
import { listLedgerStreams, readStreamEnds, type StreamEnds } from './ledgerStreams.ts'

/** The ledger as its streams hold it, up to the last sequence there was when it was opened. */
export interface StoredLedger {
  /** Where the ledger begins there: after 1 once older streams are archived and deleted. */
  readonly begin: { readonly seq: number; readonly stream: string }
  readonly lastSeq: number
  /**
   * The messages in order, from a sequence on, each with the name of its stream: in a mirror, of the stream that it mirrors. Ends
   * early only by the signal, and where the streams cannot give what they count. Throws what NATS throws.
   */
  messages(from: number, signal: AbortSignal): AsyncGenerator<StreamMessage>
}

export interface StoredLedgerOptions {
  /** The one stream to read, such as a mirror; all of the ledger's without it. */
  readonly stream?: string | undefined
  /** How long one answer may take. */
  readonly timeoutMs: number
}

/** Asks a user with the rights of `auditor` what there is. Throws what NATS throws, also where there is no such stream. */
export const openStoredLedger = async (
  connection: NatsConnection,
  { stream, timeoutMs }: StoredLedgerOptions,
): Promise<StoredLedger> => {
  const names = stream === undefined ? await listLedgerStreams(connection, timeoutMs) : [stream]
  const [oldest = STREAM_LEDGER, ...later] = names
  const first = await readStreamEnds(connection, oldest, timeoutMs)
  const streams: StreamEnds[] = [first]
  for (const name of later) streams.push(await readStreamEnds(connection, name, timeoutMs))
  return {
    begin: { seq: first.begin, stream: first.ledgerName },
    lastSeq: Math.max(...streams.map(({ lastSeq }) => lastSeq)),
    async *messages(from, signal) {
      for (const { name, ledgerName, firstSeq, lastSeq } of streams) {
        const range = { stream: name, from: Math.max(from, firstSeq), to: lastSeq, timeoutMs }
        for await (const message of getMessages(connection, range, signal)) yield { ...message, stream: ledgerName }
      }
    },
  }
}
