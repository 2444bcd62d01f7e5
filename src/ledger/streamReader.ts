import { type ConsumerMessages, jetstream } from '@nats-io/jetstream'
import type { NatsConnection } from '@nats-io/transport-node'
import { STREAM_LEDGER } from '../../schemas/events.ts'
import { LIMITS } from '../../schemas/limits.ts'
import type { StoredMessage } from './commitStream.ts'

/**
 * The ledger's messages from sequence `from` on, in order, as they come, until the signal fires. A jump in `seq` is a
 * message that is gone. Throws what NATS throws; the caller goes on after the last message it has got.
 */
export async function* followMessages(
  connection: NatsConnection,
  from: number,
  signal: AbortSignal,
): AsyncGenerator<StoredMessage> {
  for await (const { message } of consume(connection, { from, endsAtLast: false }, signal)) yield message
}

/**
 * The ledger's messages `from` to `to`, in order, then ends; also where the stream holds no more, so that missing
 * messages at the end end the reading too. Works for the `auditor` user. Throws what NATS throws, and when it is cut off
 * before the end: only the signal ends it early in silence.
 */
export async function* readMessages(
  connection: NatsConnection,
  range: { readonly from: number; readonly to: number; readonly stream?: string },
  signal: AbortSignal,
): AsyncGenerator<StoredMessage> {
  if (range.from > range.to) return
  const { from, stream } = range
  for await (const { message, pending } of consume(connection, { from, endsAtLast: true, stream }, signal)) {
    if (message.seq <= range.to) yield message
    if (message.seq >= range.to || pending === 0) return
  }
}

async function* consume(
  connection: NatsConnection,
  options: { readonly from: number; readonly endsAtLast: boolean; readonly stream?: string | undefined },
  signal: AbortSignal,
): AsyncGenerator<{ readonly message: StoredMessage; readonly pending: number }> {
  if (signal.aborted) return
  const { from, endsAtLast, stream = STREAM_LEDGER } = options
  const client = jetstream(connection, { timeout: LIMITS.natsRequestTimeoutMs })
  // An ordered consumer: in memory, without acknowledgements, made anew by the client library when it lost a message.
  const consumer = await client.consumers.get(stream, { opt_start_seq: from })
  let messages: ConsumerMessages | undefined
  // Never awaited: closing resolves only in an iteration, and there may be none any more. It unsubscribes at once.
  const close = () => void messages?.close()
  try {
    if (signal.aborted) return
    if (endsAtLast && (await consumer.info(true)).num_pending === 0) return
    messages = await consumer.consume({ max_bytes: LIMITS.consumerBytesMax })
    signal.addEventListener('abort', close, { once: true })
    if (signal.aborted) return
    for await (const { seq, subject, data, info } of messages)
      yield { message: { seq, subject, payload: data }, pending: info.pending }
    if (endsAtLast && !signal.aborted) throw new Error('reading the ledger was cut off')
  } finally {
    signal.removeEventListener('abort', close)
    close()
    // It would go away by itself after a while; a consumer that cannot be deleted is no reason to fail.
    await consumer.delete().catch(() => undefined)
  }
}
