import { headers, type NatsConnection } from '@nats-io/transport-node'
import { LIMITS } from '../../schemas/limits.ts'

/** The newest message of a subject; `error` is what the server says in words. */
export type LastMessage =
  | { readonly kind: 'found'; readonly seq: number; readonly payload: Uint8Array }
  | { readonly kind: 'absent' }
  | { readonly kind: 'error'; readonly why: string }

export type Published =
  | { readonly kind: 'stored'; readonly seq: number }
  /** Another message stands last than was expected. */
  | { readonly kind: 'wrong_last' }
  | { readonly kind: 'error'; readonly why: string }

/**
 * One of the service's side streams by two requests of JetStream's, and no more rights than they need: publish to its subjects,
 * read the last message of one. Both throw what NATS throws, `connect` included. `makeIt` says what to do where there is no stream.
 */
export const createStreamSubjects = (
  connect: () => Promise<NatsConnection>,
  { stream, makeIt }: { readonly stream: string; readonly makeIt: string },
) => {
  const ask = async (subject: string, payload: Uint8Array | string, options: object = {}): Promise<unknown> => {
    const connection = await connect()
    const answer = await connection.request(subject, payload, { timeout: LIMITS.natsRequestTimeoutMs, ...options })
    return JSON.parse(answer.string())
  }
  const toReason = (error: unknown): string =>
    memberOf(error, 'err_code') === STREAM_NOT_FOUND
      ? `there is no stream ${stream}; ${makeIt}`
      : `${memberOf(error, 'err_code')} ${memberOf(error, 'description')}`
  return {
    async readLast(subject: string): Promise<LastMessage> {
      const answer = await ask(`$JS.API.STREAM.MSG.GET.${stream}`, JSON.stringify({ last_by_subj: subject }))
      const error = memberOf(answer, 'error')
      if (memberOf(error, 'err_code') === NO_MESSAGE_FOUND) return { kind: 'absent' }
      if (error !== undefined) return { kind: 'error', why: toReason(error) }
      const message = memberOf(answer, 'message')
      const [seq, data] = [memberOf(message, 'seq'), memberOf(message, 'data')]
      if (typeof seq !== 'number') return { kind: 'error', why: 'the answer holds no message' }
      // A message without payload has no `data` member.
      return { kind: 'found', seq, payload: Buffer.from(typeof data === 'string' ? data : '', 'base64') }
    },
    async publish(subject: string, payload: Uint8Array | string, expectedLast?: number): Promise<Published> {
      const fields = headers()
      fields.set('Nats-Expected-Stream', stream)
      if (expectedLast !== undefined) fields.set('Nats-Expected-Last-Sequence', String(expectedLast))
      const answer = await ask(subject, payload, { headers: fields })
      const [error, seq] = [memberOf(answer, 'error'), memberOf(answer, 'seq')]
      if (memberOf(error, 'err_code') === WRONG_LAST_SEQUENCE) return { kind: 'wrong_last' }
      if (error !== undefined) return { kind: 'error', why: toReason(error) }
      return typeof seq === 'number'
        ? { kind: 'stored', seq }
        : { kind: 'error', why: 'the acknowledgement names no sequence' }
    },
  }
}

const NO_MESSAGE_FOUND = 10037
const STREAM_NOT_FOUND = 10059
const WRONG_LAST_SEQUENCE = 10071

const memberOf = (value: unknown, name: string): unknown =>
  typeof value === 'object' && value !== null ? Object.entries(value).find(([key]) => key === name)?.[1] : undefined
