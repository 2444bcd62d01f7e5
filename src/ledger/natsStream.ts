import { headers, type NatsConnection } from '@nats-io/transport-node'
import { LIMITS } from '../../schemas/limits.ts'
import { STREAM_LEDGER } from '../../schemas/streams.ts'
import type { CommitStream, PublishOutcome, ReadBack } from './commitStream.ts'
import { describeError } from './fault.ts'
import type { ToStream } from './ledgerStreams.ts'

const WRONG_LAST_SEQUENCE = 10071
const NO_MESSAGE_FOUND = 10037

/** The ledger's streams over a connection of the `kms-ledger` user; `toStream` says where a sequence is read. */
export const createNatsStream = (
  connection: NatsConnection,
  toStream: ToStream = () => STREAM_LEDGER,
): CommitStream => {
  const ask = async (subject: string, payload: Uint8Array | string, options: object): Promise<unknown> => {
    const message = await connection.request(subject, payload, { timeout: LIMITS.publishTimeoutMs, ...options })
    return JSON.parse(message.string())
  }
  return {
    async publish({ seq, subject, payload, messageId, stream = STREAM_LEDGER }) {
      const fields = headers()
      fields.set('Nats-Msg-Id', messageId)
      fields.set('Nats-Expected-Stream', stream)
      fields.set('Nats-Expected-Last-Sequence', String(seq - 1))
      try {
        return toPublishOutcome(await ask(subject, payload, { headers: fields }), stream)
      } catch (error) {
        return { kind: 'unanswered', why: describeError(error) }
      }
    },
    async readBack(seq) {
      try {
        const stream = toStream(seq)
        const answer = await ask(`$JS.API.STREAM.MSG.GET.${stream}`, JSON.stringify({ seq }), {})
        return toReadBack(answer, { seq, stream })
      } catch (error) {
        return { kind: 'unanswered', why: describeError(error) }
      }
    },
    async tellTimeMs() {
      try {
        return toTimeMs(await ask(`$JS.API.STREAM.INFO.${toStream(Number.MAX_SAFE_INTEGER)}`, '', {}))
      } catch {
        return undefined
      }
    },
  }
}

/** A server tells its time with every stream info, since 2.10. */
const toTimeMs = (answer: unknown): number | undefined => {
  const timeMs = isObject(answer) ? Date.parse(String(answer['ts'])) : Number.NaN
  return Number.isNaN(timeMs) ? undefined : timeMs
}

const toPublishOutcome = (answer: unknown, wanted: string): PublishOutcome => {
  if (!isObject(answer)) return { kind: 'unanswered', why: 'the acknowledgement is not an object' }
  const error = answer['error']
  if (isObject(error)) {
    const description = String(error['description'])
    const last = /(\d+)\s*$/.exec(description)?.[1]
    return error['err_code'] === WRONG_LAST_SEQUENCE && last !== undefined
      ? { kind: 'wrong_last', lastSeq: Number(last) }
      : { kind: 'unanswered', why: `${error['err_code']} ${description}` }
  }
  const { stream, seq, duplicate } = answer
  return stream === wanted && typeof seq === 'number' && seq > 0
    ? { kind: 'acked', seq, duplicate: duplicate === true }
    : { kind: 'unanswered', why: 'the acknowledgement names no stream and sequence' }
}

const toReadBack = (answer: unknown, { seq, stream }: { readonly seq: number; readonly stream: string }): ReadBack => {
  if (!isObject(answer)) return { kind: 'unanswered', why: 'the answer is not an object' }
  const { error, message } = answer
  if (isObject(error))
    return error['err_code'] === NO_MESSAGE_FOUND
      ? { kind: 'absent' }
      : { kind: 'unanswered', why: `${error['err_code']} ${error['description']}` }
  if (!isObject(message) || message['seq'] !== seq || typeof message['subject'] !== 'string')
    return { kind: 'unanswered', why: 'the answer holds no message' }
  // A message without payload has no `data` member.
  const data = typeof message['data'] === 'string' ? message['data'] : ''
  return { kind: 'found', message: { seq, subject: message['subject'], payload: Buffer.from(data, 'base64'), stream } }
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null
