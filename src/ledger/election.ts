import { type NatsConnection, RequestError, type Subscription } from '@nats-io/transport-node'
import { LIMITS } from '../../schemas/limits.ts'
import type { Scheduler } from '../core/ports.ts'
import { wait } from './wait.ts'

export const WRITER_SUBJECT = 'kms.writer'

/** What the living writer says of itself. */
export interface WriterState {
  readonly epoch: number
  readonly seq: number
}

/**
 * Answers whoever asks for the writer, on a connection that hears requests (`kms-front`). The server does not check a
 * request's reply subject, so what is not an inbox gets no answer.
 */
export const answerAsWriter = (front: NatsConnection, tell: () => WriterState): Subscription =>
  front.subscribe(WRITER_SUBJECT, {
    callback: (error, message) => {
      if (error === null && message.reply?.startsWith('_INBOX.')) message.respond(JSON.stringify(tell()))
    },
  })

export type WriterAnswer = 'alive' | 'no_responders' | 'silent'

/** Asks for the writer, on a connection that hears no request (`kms-ledger`). Never throws. */
export const askForWriter = async (connection: NatsConnection): Promise<WriterAnswer> => {
  try {
    await connection.request(WRITER_SUBJECT, '', { timeout: LIMITS.writerAskIntervalMs })
    return 'alive'
  } catch (error) {
    return error instanceof RequestError && error.isNoResponders() ? 'no_responders' : 'silent'
  }
}

export interface VacancyOptions {
  ask(): Promise<WriterAnswer>
  /** The epoch that the follower has seen last: when it moves, there is a new writer and asking begins anew. */
  seenEpoch(): number
  readonly scheduler: Scheduler
  readonly askIntervalMs: number
  readonly jitterMs: number
  /** This process has just started: if its first question finds nobody, there is no crowd of standbys to keep apart. */
  readonly startsNow: boolean
}

/**
 * Resolves true once there seems to be no writer: no responders, or `writerUnansweredMax` questions in a row without
 * an answer, and still no new epoch after a random wait (none at a start that finds nobody). False when the signal fires. It may be wrong (a partition):
 * that costs an attempt, never a fork, since the stream takes only one commit for each sequence.
 */
export const untilVacant = async (options: VacancyOptions, signal: AbortSignal): Promise<boolean> => {
  let unanswered = 0
  let startsNow = options.startsNow
  while (!signal.aborted) {
    const epoch = options.seenEpoch()
    const answer = await options.ask()
    if (startsNow && answer === 'no_responders') return !signal.aborted
    startsNow = false
    unanswered = answer === 'alive' ? 0 : unanswered + 1
    if (answer === 'no_responders' || unanswered >= LIMITS.writerUnansweredMax) {
      await wait(options.scheduler, Math.random() * options.jitterMs, signal)
      if (options.seenEpoch() === epoch) return !signal.aborted
      unanswered = 0
    }
    if (answer === 'alive') await wait(options.scheduler, options.askIntervalMs, signal)
  }
  return false
}
