import { type ConsumerMessages, jetstream, jetstreamManager } from '@nats-io/jetstream'
import type { NatsConnection } from '@nats-io/transport-node'
import { LIMITS } from '../../schemas/limits.ts'
import type { StoredMessage } from './commitStream.ts'
import { listLedgerStreams } from './ledgerStreams.ts'

/**
 * A stream's messages from sequence `from` on, in order, as they come, until the signal fires. A jump in `seq` is a
 * message that is gone. Throws what NATS throws; the caller goes on after the last message it has got.
 */
export async function* followMessages(
  connection: NatsConnection,
  { from, stream }: { readonly from: number; readonly stream: string },
  signal: AbortSignal,
): AsyncGenerator<StoredMessage> {
  for await (const { message } of consume(connection, { from, stream }, signal)) yield message
}

/**
 * The ledger's messages `from` to `to`, in order, then ends; also where its streams hold no more, so that missing
 * messages at the end end the reading too. Throws what NATS throws, and when it is cut off
 * before the end: only the signal ends it early in silence.
 */
export async function* readMessages(
  connection: NatsConnection,
  { from, to }: { readonly from: number; readonly to: number },
  signal: AbortSignal,
): AsyncGenerator<StoredMessage> {
  if (from > to) return
  const streams = await listLedgerStreams(connection)
  for (const [index, { name, firstSeq, lastSeq }] of streams.entries()) {
    const isNewest = index + 1 === streams.length
    const range = { from: Math.max(from, firstSeq), to: isNewest ? to : Math.min(to, lastSeq), stream: name }
    if (!signal.aborted) yield* readStream(connection, range, signal)
  }
}

/** As {@link readMessages}, of one stream by its name. */
async function* readStream(
  connection: NatsConnection,
  { from, to, stream }: { readonly from: number; readonly to: number; readonly stream: string },
  signal: AbortSignal,
): AsyncGenerator<StoredMessage> {
  if (from > to) return
  const isOver = () => isUnreadable(connection, stream, to)
  for await (const { message, pending } of consume(connection, { from, stream, isOver }, signal)) {
    if (message.seq <= to) yield message
    if (message.seq >= to || pending === 0) return
  }
}

interface ConsumeOptions {
  readonly from: number
  readonly stream: string
  /**
   * For reading that ends with the stream. Asked when nothing has come for a while: a message that the server cannot read from
   * its disk is counted as pending and never delivered, and at the end of the stream nothing follows it.
   */
  readonly isOver?: () => Promise<boolean>
}

async function* consume(
  connection: NatsConnection,
  { from, isOver, stream }: ConsumeOptions,
  signal: AbortSignal,
): AsyncGenerator<{ readonly message: StoredMessage; readonly pending: number }> {
  if (signal.aborted) return
  const client = jetstream(connection, { timeout: LIMITS.natsRequestTimeoutMs })
  // An ordered consumer: in memory, without acknowledgements, made anew by the client library when it lost a message.
  const consumer = await client.consumers.get(stream, { opt_start_seq: from })
  let messages: ConsumerMessages | undefined
  // Never awaited: closing resolves only in an iteration, and there may be none any more. It unsubscribes at once.
  const close = () => void messages?.close()
  const silence = isOver && createSilence(isOver, close)
  try {
    if (signal.aborted) return
    if (isOver !== undefined && (await consumer.info(true)).num_pending === 0) return
    messages = await consumer.consume({ max_bytes: LIMITS.consumerBytesMax })
    signal.addEventListener('abort', close, { once: true })
    if (signal.aborted) return
    silence?.listen()
    for await (const { seq, subject, data, info } of messages) {
      silence?.end()
      yield { message: { seq, subject, payload: data, stream }, pending: info.pending }
      silence?.listen()
    }
    if (isOver !== undefined && !signal.aborted && !silence?.isOver()) throw new Error('reading the ledger was cut off')
  } finally {
    silence?.end()
    signal.removeEventListener('abort', close)
    close()
    // It would go away by itself after a while; a consumer that cannot be deleted is no reason to fail.
    await consumer.delete().catch(() => undefined)
  }
}

/** Whether the stream holds no message at `seq` that can be read. */
const isUnreadable = async (connection: NatsConnection, stream: string, seq: number): Promise<boolean> => {
  const manager = await jetstreamManager(connection, { checkAPI: false, timeout: LIMITS.natsRequestTimeoutMs })
  return (await manager.streams.getMessage(stream, { seq })) === null
}

/** Asks again and again, while nothing comes, whether anything will; calls `stop` when not. */
const createSilence = (ask: () => Promise<boolean>, stop: () => void) => {
  let timer: NodeJS.Timeout | undefined
  let isOver = false
  const listen = (): void => {
    timer = setTimeout(async () => {
      const asked = timer
      const answer = await ask().catch(() => false)
      if (timer !== asked) return
      if (!answer) return listen()
      isOver = true
      stop()
    }, LIMITS.ledgerSilenceMs)
  }
  const end = (): void => {
    clearTimeout(timer)
    timer = undefined
  }
  return { listen, end, isOver: () => isOver }
}
