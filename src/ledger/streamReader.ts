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
  for await (const { message } of consume(connection, from, signal)) yield message
}

/**
 * The ledger's messages `from` to `to`, in order, then ends; also where the stream holds no more, so that missing
 * messages at the end end the reading too. Works for the `auditor` user. Throws what NATS throws.
 */
export async function* readMessages(
  connection: NatsConnection,
  range: { readonly from: number; readonly to: number },
  signal: AbortSignal,
): AsyncGenerator<StoredMessage> {
  if (range.from > range.to) return
  for await (const { message, pending } of consume(connection, range.from, signal)) {
    if (message.seq <= range.to) yield message
    if (message.seq >= range.to || pending === 0) return
  }
}

async function* consume(
  connection: NatsConnection,
  from: number,
  signal: AbortSignal,
): AsyncGenerator<{ readonly message: StoredMessage; readonly pending: number }> {
  if (signal.aborted) return
  const client = jetstream(connection, { timeout: LIMITS.natsRequestTimeoutMs })
  // An ordered consumer: in memory, without acknowledgements, made anew by the client library when it lost a message.
  const consumer = await client.consumers.get(STREAM_LEDGER, { opt_start_seq: from })
  let messages: ConsumerMessages | undefined
  // Never awaited: closing resolves only in an iteration, and there may be none any more. It unsubscribes at once.
  const close = () => void messages?.close()
  try {
    if (signal.aborted) return
    messages = await consumer.consume({ max_bytes: LIMITS.consumerBytesMax })
    signal.addEventListener('abort', close, { once: true })
    if (signal.aborted) return
    for await (const { seq, subject, data, info } of messages)
      yield { message: { seq, subject, payload: data }, pending: info.pending }
  } finally {
    signal.removeEventListener('abort', close)
    close()
    // It would go away by itself after a while; a consumer that cannot be deleted is no reason to fail.
    await consumer.delete().catch(() => undefined)
  }
}
