import type { CommitStream, Publication, PublishOutcome, StoredMessage } from './commitStream.ts'

/** How a commit's fate became certain. */
export type Settlement =
  /** It stands in the stream at its sequence, byte for byte. */
  | { readonly kind: 'settled' }
  /** Another message stands at its sequence; whether that one is valid is for the caller to see. */
  | { readonly kind: 'foreign'; readonly message: StoredMessage }
  /** The stream contradicts itself or what it acknowledged before; nothing may be appended any more. */
  | { readonly kind: 'alarm'; readonly why: string }
  /** The service stops; the next epoch settles it. */
  | { readonly kind: 'abandoned' }

export interface SettleOptions {
  /** Waits between two attempts; resolves early when `stop` fires. */
  pause(): Promise<void>
  /** Fires when the service stops. */
  readonly stop: AbortSignal
  /** Whether the deadline for the callers has passed. */
  isOverdue(): boolean
  /** The first attempt was not acknowledged: the commit is in doubt. Told once. */
  onDoubt(why: string): void
}

/**
 * Brings one commit to certainty, however long it takes: publishes the same bytes under the same headers again and
 * again, and reads its sequence back between attempts. It never gives up while the service runs, because until then no
 * other commit may be built for that sequence. Absence in a read-back proves nothing: an earlier attempt may still be
 * on its way to the stream.
 */
export const settleCommit = async (
  stream: CommitStream,
  publication: Publication,
  options: SettleOptions,
): Promise<Settlement> => {
  const { seq } = publication
  for (let attempt = 1; !options.stop.aborted; attempt += 1) {
    const outcome = await stream.publish(publication)
    if (outcome.kind === 'acked')
      return outcome.seq === seq ? { kind: 'settled' } : { kind: 'alarm', why: describeWrongAck(outcome, seq) }
    if (attempt === 1) options.onDoubt(describeOutcome(outcome))
    const back = await stream.readBack(seq)
    if (back.kind === 'found')
      return isSame(back.message, publication) ? { kind: 'settled' } : { kind: 'foreign', message: back.message }
    if (isShorter(outcome, seq) && options.isOverdue())
      return {
        kind: 'alarm',
        why: `the stream ends at ${outcome.lastSeq}, but ${seq - 1} was acknowledged: acknowledged commits are lost`,
      }
    await options.pause()
  }
  return { kind: 'abandoned' }
}

const isSame = (message: StoredMessage, publication: Publication): boolean =>
  message.subject === publication.subject && Buffer.compare(message.payload, publication.payload) === 0

/** A cluster's new leader may be behind for a moment, so this counts only after the deadline. */
const isShorter = (outcome: PublishOutcome, seq: number): outcome is PublishOutcome & { kind: 'wrong_last' } =>
  outcome.kind === 'wrong_last' && outcome.lastSeq < seq - 1

const describeWrongAck = (outcome: PublishOutcome & { kind: 'acked' }, seq: number): string =>
  `the stream acknowledged commit ${seq} ${outcome.duplicate ? 'as a duplicate of' : 'at'} sequence ${outcome.seq}`

const describeOutcome = (outcome: PublishOutcome): string =>
  outcome.kind === 'unanswered' ? outcome.why : `the stream says its last sequence is ${JSON.stringify(outcome)}`
