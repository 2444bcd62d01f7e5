import { type ConsumerMessages, jetstream } from '@nats-io/jetstream'
import type { NatsConnection } from '@nats-io/nats-core'
import { LIMITS } from '../../schemas/limits.ts'
import type { LedgerMessage } from '../core/chainState.ts'

/** A stored message, and how many the stream holds after it. */
export interface Pulled {
  readonly message: LedgerMessage
  readonly pending: number
}

export interface PullOptions {
  readonly stream: string
  readonly from: number
  /** Whether to end where the stream ends at that moment; else waits for more. */
  readonly endsAtLast: boolean
}

/** No message of a ledger is longer than a commit may be, so as many as this stay within the bytes of one pull. */
const MESSAGES_PER_PULL = Math.floor(LIMITS.consumerBytesMax / LIMITS.commitBytesMax)

/**
 * Messages of a ledger's stream from `from` on, in order. Asks for the next few only when the last were taken: `consume()` of
 * the client library refills as messages arrive, whoever takes them, so a slow reader would hold the whole ledger in
 * memory. Payloads are the caller's own. Ends when the signal fires; throws what NATS throws.
 */
export async function* pullLedger(
  connection: NatsConnection,
  { stream, from, endsAtLast }: PullOptions,
  signal: AbortSignal,
): AsyncGenerator<Pulled> {
  const client = jetstream(connection, { timeout: LIMITS.natsRequestTimeoutMs })
  const consumer = await client.consumers.get(stream, { opt_start_seq: from })
  let batch: ConsumerMessages | undefined
  // Not awaited: it resolves only in an iteration, and there may be none any more.
  const stop = () => void batch?.close()
  signal.addEventListener('abort', stop, { once: true })
  try {
    if (endsAtLast && (await consumer.info(true)).num_pending === 0) return
    while (!signal.aborted) {
      batch = await consumer.fetch({ max_messages: MESSAGES_PER_PULL, expires: LIMITS.ledgerPullMs })
      for await (const { seq, subject, data, info } of batch) {
        yield { message: { seq, subject, payload: Uint8Array.from(data), stream }, pending: info.pending }
        if (signal.aborted || (endsAtLast && info.pending === 0)) return
      }
    }
  } finally {
    signal.removeEventListener('abort', stop)
    stop()
    // It would go away by itself after a while.
    await consumer.delete().catch(() => undefined)
  }
}
