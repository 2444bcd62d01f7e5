import { headers, type NatsConnection } from '@nats-io/transport-node'
import { STREAM_CHECKPOINTS, SUBJECT_CHECKPOINTS } from '../../../schemas/events.ts'
import { LIMITS } from '../../../schemas/limits.ts'
import { formatNote, parseNote } from '../../core/signedNote.ts'
import { describeError } from '../fault.ts'
import type { Anchor, Kept, Recalled } from './anchor.ts'
import { rememberNote } from './remember.ts'

/**
 * The stream `KMS_CHECKPOINTS`, which belongs in an account, better on a server, that whoever controls the ledger's storage
 * does not control. `connect` gives the connection, or throws while there is none; it may publish to its subject and read its messages, and needs nothing else. Each publish
 * expects the message that this process saw last, so that a writer that was replaced cannot put an older checkpoint on top.
 */
export const createStreamAnchor = (connect: () => Promise<NatsConnection>, origin: string): Anchor => {
  const ask = async (subject: string, payload: string, options: object = {}): Promise<unknown> => {
    const connection = await connect()
    const answer = await connection.request(subject, payload, { timeout: LIMITS.natsRequestTimeoutMs, ...options })
    return JSON.parse(answer.string())
  }
  /** Sequence of the newest message, as this process knows it. */
  let lastSeq: number | undefined

  const recall = async (): Promise<Recalled> => {
    const answer = await ask(GET, JSON.stringify({ last_by_subj: SUBJECT_CHECKPOINTS }))
    const error = memberOf(answer, 'error')
    if (memberOf(error, 'err_code') === NO_MESSAGE_FOUND) {
      lastSeq = 0
      return { kind: 'nothing' }
    }
    if (error !== undefined) return { kind: 'unanswered', why: toReason(error) }
    const message = memberOf(answer, 'message')
    const [seq, data] = [memberOf(message, 'seq'), memberOf(message, 'data')]
    if (typeof seq !== 'number') return { kind: 'unanswered', why: 'the answer holds no message' }
    lastSeq = seq
    const note = parseNote(Buffer.from(typeof data === 'string' ? data : '', 'base64'))
    const remembered = note.ok ? rememberNote(note.value, origin) : note
    return remembered.ok
      ? { kind: 'remembers', what: remembered.value }
      : { kind: 'unanswered', why: `its last message is no checkpoint of this ledger: ${remembered.error}` }
  }
  const publish = async (text: string, after: number): Promise<Kept | 'lost_race'> => {
    const fields = headers()
    fields.set('Nats-Expected-Stream', STREAM_CHECKPOINTS)
    fields.set('Nats-Expected-Last-Sequence', String(after))
    const answer = await ask(SUBJECT_CHECKPOINTS, text, { headers: fields })
    const [error, seq] = [memberOf(answer, 'error'), memberOf(answer, 'seq')]
    if (error === undefined && typeof seq === 'number') {
      lastSeq = seq
      return { kind: 'kept', cosignatures: [] }
    }
    return memberOf(error, 'err_code') === WRONG_LAST_SEQUENCE
      ? 'lost_race'
      : { kind: 'unanswered', why: toReason(error) }
  }
  return {
    name: `stream ${STREAM_CHECKPOINTS}`,
    async recall() {
      try {
        return await recall()
      } catch (error) {
        return { kind: 'unanswered', why: describeError(error) }
      }
    },
    async keep({ note, checkpoint }) {
      const text = formatNote(note)
      try {
        const first = lastSeq === undefined ? 'lost_race' : await publish(text, lastSeq)
        if (first !== 'lost_race') return first
        // Whatever stands on top now, by whom ever: only a smaller checkpoint may be covered by ours.
        const now = await recall()
        if (now.kind === 'unanswered') return now
        if (now.kind === 'remembers' && now.what.size > checkpoint.size)
          return { kind: 'ahead', why: `it has a checkpoint of size ${now.what.size} already` }
        const second = await publish(text, lastSeq ?? 0)
        return second === 'lost_race'
          ? { kind: 'unanswered', why: 'somebody else publishes checkpoints at this moment' }
          : second
      } catch (error) {
        // Whether it was taken is not known: the next one looks first.
        lastSeq = undefined
        return { kind: 'unanswered', why: describeError(error) }
      }
    },
  }
}

const GET = `$JS.API.STREAM.MSG.GET.${STREAM_CHECKPOINTS}`
const NO_MESSAGE_FOUND = 10037
const STREAM_NOT_FOUND = 10059
const WRONG_LAST_SEQUENCE = 10071

const toReason = (error: unknown): string =>
  memberOf(error, 'err_code') === STREAM_NOT_FOUND
    ? `there is no stream ${STREAM_CHECKPOINTS}; run init, or make it where it belongs`
    : `${memberOf(error, 'err_code')} ${memberOf(error, 'description')}`

const memberOf = (value: unknown, name: string): unknown =>
  typeof value === 'object' && value !== null ? Object.entries(value).find(([key]) => key === name)?.[1] : undefined
