import { type ConsumerMessages, jetstream, jetstreamManager } from '@nats-io/jetstream'
import type { NatsConnection } from '@nats-io/nats-core'
import { LIMITS } from '../../schemas/limits.ts'
import type { LedgerMessage } from '../core/chainState.ts'
import { LedgerFault } from './ledgerFault.ts'

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
  let last = from - 1
  const expires = endsAtLast ? LIMITS.ledgerSilenceMs : LIMITS.ledgerPullMs
  // Not awaited: it resolves only in an iteration, and there may be none any more.
  const stop = () => void batch?.close()
  signal.addEventListener('abort', stop, { once: true })
  try {
    if (endsAtLast && (await consumer.info(true)).num_pending === 0) return
    while (!signal.aborted) {
      batch = await consumer.fetch({
        max_messages: MESSAGES_PER_PULL,
        expires,
      })
      let count = 0
      // A server that cannot read what comes next does not even let the pull expire.
      let timer = setTimeout(stop, expires + LIMITS.natsRequestTimeoutMs)
      for await (const { seq, subject, data, info } of batch) {
        clearTimeout(timer)
        count += 1
        last = seq
        yield { message: { seq, subject, payload: Uint8Array.from(data), stream }, pending: info.pending }
        if (signal.aborted || (endsAtLast && info.pending === 0)) return
        timer = setTimeout(stop, expires + LIMITS.natsRequestTimeoutMs)
      }
      clearTimeout(timer)
      if (!endsAtLast || signal.aborted) continue
      // A message that the server cannot read from its disk is counted as pending and never delivered. That the
      // server answers tells this from a connection that is away.
      if (count === 0 && !(await hasMessage(connection, stream, last + 1)))
        throw new LedgerFault([{ seq: last + 1, reason: 'the server does not deliver it', kind: 'lasting' }])
    }
  } finally {
    signal.removeEventListener('abort', stop)
    stop()
    // It would go away by itself after a while.
    await consumer.delete().catch(() => undefined)
  }
}

const hasMessage = async (connection: NatsConnection, stream: string, seq: number): Promise<boolean> => {
  const manager = await jetstreamManager(connection, { checkAPI: false, timeout: LIMITS.natsRequestTimeoutMs })
  return (await manager.streams.getMessage(stream, { seq })) !== null
}
