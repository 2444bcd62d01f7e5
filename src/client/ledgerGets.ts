import { JetStreamApiCodes, JetStreamApiError } from '@nats-io/jetstream'
import type { NatsConnection } from '@nats-io/nats-core'
import { LIMITS } from '../../schemas/limits.ts'
import type { LedgerMessage } from '../core/chainState.ts'

/** A message and the stream that it was read from. */
export type StreamMessage = LedgerMessage & { readonly stream: string }

export interface GetRange {
  readonly stream: string
  readonly from: number
  readonly to: number
  /** How long one answer may take. */
  readonly timeoutMs?: number
}

/**
 * The messages `from` to `to` of a stream in order, each asked for by its sequence, then ends; also where the stream can give no more
 * of them. A jump in `seq` is a run of messages that are missing or that the server cannot read. Asks ahead only as messages
 * are taken, and for few where they are large. Payloads are the caller's own. The signal ends it once the answer that is awaited is here;
 * throws what NATS throws. Of all ways to read a stream this alone gives a reader no say in where messages are delivered.
 */
export async function* getMessages(
  connection: NatsConnection,
  { stream, from, to, timeoutMs = LIMITS.natsRequestTimeoutMs }: GetRange,
  signal: AbortSignal,
): AsyncGenerator<StreamMessage> {
  const ask = (query: object) => askForMessage(connection, { stream, query, timeoutMs })
  const ahead: { readonly seq: number; readonly answer: Promise<StreamMessage | undefined> }[] = []
  let next = from
  let expectedBytes: number = LIMITS.commitBytesMax
  while (!signal.aborted) {
    const width = toWidth(expectedBytes)
    // Many at once go out in one write to the socket.
    for (const isLow = 2 * ahead.length <= width; isLow && next <= to && ahead.length < width; next += 1) {
      const answer = ask({ seq: next })
      // It is awaited later, if at all.
      answer.catch(() => undefined)
      ahead.push({ seq: next, answer })
    }
    const first = ahead.shift()
    const message = await first?.answer
    if (first === undefined || signal.aborted) return
    if (message !== undefined) {
      expectedBytes = Math.max(message.payload.length, expectedBytes * SMALLER)
      yield message
      continue
    }
    // One question for a run of any length.
    const found = await ask({ seq: first.seq + 1, next_by_subj: '>' })
    if (found === undefined || found.seq > to) return
    while (ahead[0] !== undefined && ahead[0].seq < found.seq) ahead.shift()
    next = Math.max(next, found.seq)
  }
}

/** Large messages come in runs: what was large is remembered over some tens of small ones. */
const SMALLER = 15 / 16

const toWidth = (expectedBytes: number): number =>
  Math.max(1, Math.min(LIMITS.ledgerGetsMax, Math.floor(LIMITS.ledgerGetsBytes / Math.max(1, expectedBytes))))

interface Asking {
  readonly stream: string
  readonly query: object
  readonly timeoutMs: number
}

/** Nothing where there is no such message, or the server cannot read it. */
const askForMessage = async (
  connection: NatsConnection,
  { stream, query, timeoutMs }: Asking,
): Promise<StreamMessage | undefined> => {
  const subject = `$JS.API.STREAM.MSG.GET.${stream}`
  const answer: unknown = (await connection.request(subject, JSON.stringify(query), { timeout: timeoutMs })).json()
  const { error, message } = isRecord(answer) ? answer : {}
  if (isApiError(error)) {
    if (error.err_code === JetStreamApiCodes.NoMessageFound) return undefined
    throw new JetStreamApiError(error)
  }
  const { seq, subject: storedOn, data = '' } = isRecord(message) ? message : {}
  // A message without payload has no `data` member.
  if (typeof seq !== 'number' || typeof storedOn !== 'string' || typeof data !== 'string')
    throw new Error(`the answer to ${subject} holds no message`)
  return { seq, subject: storedOn, payload: decodeBase64(data), stream }
}

/** Into memory of its own: `Buffer.from` would share that of small buffers. */
const decodeBase64 = (text: string): Uint8Array => {
  const bytes = new Uint8Array(Buffer.byteLength(text, 'base64'))
  Buffer.from(bytes.buffer).write(text, 'base64')
  return bytes
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null

const isApiError = (
  value: unknown,
): value is { readonly code: number; readonly err_code: number; readonly description: string } =>
  isRecord(value) && typeof value['err_code'] === 'number'
