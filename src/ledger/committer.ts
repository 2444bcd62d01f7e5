import { LIMITS } from '../../schemas/limits.ts'
import { encodeCommit, toSubject } from '../core/commit.ts'
import { type Failure, must } from '../core/result.ts'
import { answerBatch, type Batch, failBatch, takeBatch } from './batch.ts'
import type { Publication, StoredMessage } from './commitStream.ts'
import type { CommitterOptions } from './committerOptions.ts'
import type { Epoch } from './epoch.ts'
import { describeError, faulty, type LedgerFault } from './fault.ts'
import { createRenewal, type Renewal } from './renewal.ts'
import { type Settlement, settleCommit } from './settle.ts'
import { type Tip, toNextStream } from './tip.ts'
import { wait } from './wait.ts'

/**
 * The one place that appends. One loop owns tail, signature and publish, so there is never more than one commit in
 * flight and none is built for a sequence whose fate is open.
 *
 *  phase     | in flight           | a new entry                 | leaves by
 *  ----------|---------------------|-----------------------------|---------------------------------------------------
 *  opening   | own EpochOpened     | waits (refused before the   | settled → idle · HSM away → idle with the old key,
 *            |                     | first epoch)                |   or ended if there is none · foreign → ended
 *  idle      | none                | waits for the next turn     | entries → in_flight · epoch old → opening ·
 *            |                     |                             |   foreign message seen → ended · stop → ended
 *  in_flight | one commit          | waits for the next commit   | settled → idle · unanswered → in_doubt
 *  in_doubt  | the same bytes      | waits                       | settled → idle · deadline → overdue ·
 *            | again and again     |                             |   foreign, alarm, stop → ended
 *  overdue   | the same bytes      | LEDGER_UNAVAILABLE          | as in_doubt; callers were told "outcome unknown",
 *            | again and again     |                             |   and the commit is folded if it was taken after all
 *  ended     | none                | LEDGER_UNAVAILABLE          | nothing: the ledger makes another committer
 */
export type Phase = 'opening' | 'idle' | 'in_flight' | 'in_doubt' | 'overdue' | 'ended'

/** Why a committer ended. */
export type End =
  /** Somebody else's valid commit stands in the way: follow it. */
  | { readonly kind: 'demoted' }
  /** No epoch could be opened: the HSM is away. Try again later. */
  | { readonly kind: 'not_opened'; readonly why: string }
  /** Nothing may be appended any more, by anybody, before an operator has looked. */
  | { readonly kind: 'alarm'; readonly fault: LedgerFault }
  | { readonly kind: 'stopped' }

export interface Committer {
  /** Opens an epoch after `tip`, then writes until it ends. Never rejects. */
  run(tip: Tip): Promise<End>
  /** Entries wait in the queue. */
  wake(): void
  readonly phase: Phase
  /** The epoch key is past its bound and cannot be renewed: entries are refused until it is. */
  readonly isExpired: boolean
  /** Ends after writing what waits; without `drain` at once, leaving a commit in doubt to the next epoch. */
  stop(drain: boolean): void
}

const UNKNOWN: Failure = {
  code: 'LEDGER_UNAVAILABLE',
  message: 'the ledger did not confirm the record; whether it was written is not known yet',
}
const EXPIRED: Failure = {
  code: 'LEDGER_UNAVAILABLE',
  message: 'the key that signs records is past its bound and cannot be renewed while the HSM of the ledger is away',
}
const UNAVAILABLE: Failure = { code: 'LEDGER_UNAVAILABLE', message: 'the ledger does not take records at the moment' }

export const createCommitter = (options: CommitterOptions): Committer => {
  const renewal = createRenewal({ ...options, limits: options.epochLimits })
  const state: State = { phase: 'opening', epoch: undefined, renewal, draining: false, rouse: undefined }
  const stopping = new AbortController()
  return {
    async run(tip) {
      try {
        return await reign({ options, state, stop: stopping.signal, tip })
      } catch (error) {
        return toAlarm(`the committer failed: ${describeError(error)}`)
      } finally {
        state.phase = 'ended'
        options.queue.failAll(UNAVAILABLE)
      }
    },
    wake: () => state.rouse?.(),
    get phase() {
      return state.phase
    },
    get isExpired() {
      return renewal.isExpired
    },
    stop(drain) {
      state.draining = true
      if (!drain) stopping.abort()
      state.rouse?.()
    },
  }
}

/** All that changes while a committer runs, besides the tip. */
interface State {
  phase: Phase
  epoch: Epoch | undefined
  readonly renewal: Renewal
  draining: boolean
  /** Ends the idle wait. */
  rouse: (() => void) | undefined
}

interface Reign {
  readonly options: CommitterOptions
  readonly state: State
  /** Fires when nothing may be waited for any more. */
  readonly stop: AbortSignal
  tip: Tip
}

const reign = async (now: Reign): Promise<End> => {
  const { state, stop } = now
  const { queue } = now.options
  let end = await openEpoch(now, stop)
  while (end === undefined) {
    await nextTurn()
    if (stop.aborted || (state.draining && queue.size === 0)) return { kind: 'stopped' }
    end = queue.size > 0 ? await write(now) : await watch(now)
  }
  return end
}

/** Resolves in the next turn of the event loop, so that replies leave before the next commit is built. */
const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

const openEpoch = async (now: Reign, signal: AbortSignal): Promise<End | undefined> => {
  const { options, state } = now
  state.phase = 'opening'
  const opening = await options.epochs.open(now.tip, signal)
  if (!opening.ok) return { kind: 'not_opened', why: opening.error.message }
  const { message: payload, hash, seq } = opening.value.commit
  const place = { seq, subject: opening.value.subject, ...toNextStream(now.tip) }
  const publication = { ...place, payload, messageId: toHex(hash) }
  const next = options.verifier.advance(now.tip, publication)
  // The HSM's root is not the pinned one, or the attestation is not by it: such an epoch must never be published.
  if (!next.ok) return { kind: 'alarm', fault: next.error }
  const end = await commit(now, { publication, next: next.value })
  if (end !== undefined) return end
  const isFirst = state.epoch === undefined
  state.epoch = opening.value.epoch
  options.telemetry.log('info', 'epoch opened', { epoch: state.epoch.number, seq })
  if (isFirst) options.onOpened(state.epoch.number)
  return undefined
}

/** One commit of what waits, after a renewal of the epoch key if that is due. */
const write = async (now: Reign): Promise<End | undefined> => {
  const { options, state } = now
  const end = await renew(now)
  if (end !== undefined) return end
  must(state.epoch !== undefined, 'a commit is built without an epoch')
  if (!state.renewal.isExpired) return writeBatch(now, state.epoch)
  options.queue.failAll(EXPIRED)
  return undefined
}

/** A new epoch key, if one is due and the HSM is there. */
const renew = async (now: Reign): Promise<End | undefined> => {
  const { state, stop } = now
  must(state.epoch !== undefined, 'a key is renewed that was never made')
  const due = state.renewal.judge(state.epoch, now.tip.view.at.seq)
  if (due === 'none') return undefined
  const attempt = state.renewal.limit(due, stop)
  const end = await openEpoch(now, attempt.signal)
  attempt.done()
  if (end === undefined) state.renewal.succeeded()
  if (end?.kind !== 'not_opened') return end
  state.phase = 'idle'
  state.renewal.failed(due, end.why)
  return undefined
}

const writeBatch = async (now: Reign, epoch: Epoch): Promise<End | undefined> => {
  const { options, tip } = now
  const { origin, seq } = tip.view.at
  const place = { origin, epoch: epoch.number, seq: seq + 1, timeMs: options.clock.now() }
  const batch = takeBatch({
    queue: options.queue,
    view: tip.view,
    meta: place,
    check: options.check,
    onRejected: (reason, types) =>
      options.telemetry.log('error', 'a record could not be written', { reason, types: types.join(' ') }),
  })
  if (batch === undefined) return undefined
  const subject = toSubject(batch.recorded.map(({ type }) => type))
  const encoded = encodeCommit({
    ...place,
    subject,
    first: tip.chain.events,
    prev: tip.chain.hash,
    events: batch.events,
    kid: epoch.kid,
    sign: epoch.sign,
  })
  const publication = {
    ...{ seq: place.seq, subject, payload: encoded.message, messageId: toHex(encoded.hash) },
    ...toNextStream(tip),
  }
  const next = options.verifier.extend(tip, encoded, { view: batch.view, timeMs: place.timeMs })
  return commit(now, { publication, next, batch })
}

interface Pending {
  readonly publication: Publication
  /** The tip with the commit in it. */
  readonly next: Tip
  /** Absent for an `EpochOpened`. */
  readonly batch?: Batch
}

/** Publishes and settles one commit, folds it and answers its callers; or says how the reign ends. */
const commit = async (now: Reign, { publication, next, batch }: Pending): Promise<End | undefined> => {
  const { options, state } = now
  const startedMs = options.clock.now()
  if (state.phase !== 'opening') state.phase = 'in_flight'
  const settlement = await settle(now, publication, () => failBatch(batch, UNKNOWN))
  if (settlement.kind === 'settled') {
    now.tip = next
    state.phase = 'idle'
    options.onTip(next, {
      seq: publication.seq,
      subject: publication.subject,
      hash: publication.messageId,
      timeMs: next.view.at.timeMs,
      events: batch?.recorded ?? [],
      milliseconds: options.clock.now() - startedMs,
    })
    answerBatch(batch, next.view)
    return undefined
  }
  failBatch(batch, UNKNOWN)
  switch (settlement.kind) {
    case 'foreign':
      return judgeForeign(now, settlement.message)
    case 'alarm':
      return toAlarm(settlement.why)
    case 'abandoned':
      return { kind: 'stopped' }
    default:
      return settlement satisfies never
  }
}

const settle = async (now: Reign, publication: Publication, onOverdue: () => void): Promise<Settlement> => {
  const { options, state, stop } = now
  const { scheduler, telemetry } = options
  const { seq } = publication
  const cancel = scheduler.after(options.appendDeadlineMs, () => {
    state.phase = 'overdue'
    telemetry.log('error', 'a commit is still in doubt after the deadline', { seq })
    onOverdue()
    options.queue.failAll(UNAVAILABLE)
  })
  const settlement = await settleCommit(options.stream, publication, {
    stop,
    pause: () => wait(scheduler, LIMITS.republishPauseMs, stop),
    isOverdue: () => state.phase === 'overdue',
    onDoubt(why) {
      if (state.phase !== 'overdue') state.phase = 'in_doubt'
      telemetry.log('warn', 'a commit is in doubt', { seq, why })
    },
  })
  cancel()
  return settlement
}

/** Nothing waits: look whether somebody else wrote, so that a writer that was replaced does not find out by failing. */
const watch = async (now: Reign): Promise<End | undefined> => {
  const { options, state } = now
  await new Promise<void>((resolve) => {
    const rouse = () => {
      cancel()
      state.rouse = undefined
      resolve()
    }
    const cancel = options.scheduler.after(options.watchIntervalMs, rouse)
    state.rouse = rouse
  })
  if (options.queue.size > 0 || state.draining) return undefined
  const back = await options.stream.readBack(now.tip.view.at.seq + 1)
  if (back.kind === 'found') return judgeForeign(now, back.message)
  // Nothing comes to a writer that refuses records: it has to look by itself whether the HSM is back.
  return now.state.renewal.isExpired ? renew(now) : undefined
}

const judgeForeign = ({ options, state, tip }: Reign, message: StoredMessage): End => {
  const verified = options.verifier.advance(tip, message)
  if (!verified.ok) return { kind: 'alarm', fault: verified.error }
  if (state.epoch === undefined || verified.value.view.at.epoch > state.epoch.number) return { kind: 'demoted' }
  return toAlarm(`sequence ${message.seq} holds a valid commit of this epoch that this writer did not make`)
}

const toAlarm = (why: string): End => ({ kind: 'alarm', fault: faulty('bad_commit', why).error })

const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
