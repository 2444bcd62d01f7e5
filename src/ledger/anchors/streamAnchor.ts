import type { NatsConnection } from '@nats-io/transport-node'
import { STREAM_CHECKPOINTS, SUBJECT_CHECKPOINTS } from '../../../schemas/streams.ts'
import { formatNote, parseNote } from '../../core/signedNote.ts'
import { describeError } from '../fault.ts'
import { createStreamSubjects } from '../streamSubjects.ts'
import type { Anchor, Kept, Recalled } from './anchor.ts'
import { rememberNote } from './remember.ts'

/**
 * The stream `KMS_CHECKPOINTS`, which belongs in an account, better on a server, that whoever controls the ledger's storage
 * does not control. `connect` gives the connection, or throws while there is none; it may publish to its subject and read its messages, and needs nothing else. Each publish
 * expects the message that this process saw last, so that a writer that was replaced cannot put an older checkpoint on top.
 */
export const createStreamAnchor = (connect: () => Promise<NatsConnection>, origin: string): Anchor => {
  const makeIt = 'run init, or make it where it belongs'
  const subjects = createStreamSubjects(connect, { stream: STREAM_CHECKPOINTS, makeIt })
  /** Sequence of the newest message, as this process knows it. */
  let lastSeq: number | undefined

  const recall = async (): Promise<Recalled> => {
    const last = await subjects.readLast(SUBJECT_CHECKPOINTS)
    if (last.kind === 'error') return { kind: 'unanswered', why: last.why }
    lastSeq = last.kind === 'absent' ? 0 : last.seq
    if (last.kind === 'absent') return { kind: 'nothing' }
    const note = parseNote(last.payload)
    const remembered = note.ok ? rememberNote(note.value, origin) : note
    return remembered.ok
      ? { kind: 'remembers', what: remembered.value }
      : { kind: 'unanswered', why: `its last message is no checkpoint of this ledger: ${remembered.error}` }
  }
  const publish = async (text: string, after: number): Promise<Kept | 'lost_race'> => {
    const published = await subjects.publish(SUBJECT_CHECKPOINTS, text, after)
    if (published.kind === 'wrong_last') return 'lost_race'
    if (published.kind === 'error') return { kind: 'unanswered', why: published.why }
    lastSeq = published.seq
    return { kind: 'kept', cosignatures: [] }
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
