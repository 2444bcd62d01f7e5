import { checkGuards } from '../../projections/guards.ts'
import type { EventMeta } from '../../projections/projection.ts'
import { foldEvent, type View } from '../../projections/view.ts'
import type { Event } from '../../schemas/events.ts'
import { LIMITS } from '../../schemas/limits.ts'
import { encodeEvent } from '../core/commit.ts'
import { type EventCheck, isOwnKind } from '../core/eventCheck.ts'
import type { Failure } from '../core/result.ts'
import { must } from '../core/result.ts'
import type { AppendQueue, Waiting } from './appendQueue.ts'

/** One entry's place in a commit. */
export interface Member {
  readonly waiting: Waiting
  /** Place of the entry's last event in the commit, from 0. */
  readonly index: number
  /** The guard that failed: `toFailed` stands in the commit instead of the entry's events. */
  readonly refused?: Failure
}

/** The content of one commit, not yet signed: nothing outside has changed. */
export interface Batch {
  readonly members: readonly Member[]
  readonly recorded: readonly Event[]
  /** Their bytes. */
  readonly events: readonly Uint8Array[]
  /** The view with every event folded in, still at the position before the commit. */
  readonly view: View
}

export interface BatchInput {
  readonly queue: AppendQueue
  readonly view: View
  readonly meta: EventMeta
  readonly check: EventCheck
  /** An entry that cannot be recorded at all: a bug of the service, answered INTERNAL. */
  onRejected(reason: string, types: readonly string[]): void
}

/**
 * Takes entries from the queue into one commit, in order, until the commit is full: an entry is in it whole or not at
 * all. Guards see every earlier event of the same commit. An entry that cannot be encoded or folded is answered here
 * and leaves no trace in the batch: what a reader could not fold is never written. Nothing if no entry is left.
 */
export const takeBatch = (input: BatchInput): Batch | undefined => {
  const members: Member[] = []
  const recorded: Event[] = []
  const events: Uint8Array[] = []
  let view = input.view
  let bytes: number = LIMITS.envelopeBytesMax
  for (let next = input.queue.peek(); next !== undefined; next = input.queue.peek()) {
    const prepared = prepareOrReject(next, view, input)
    if (prepared === undefined) continue
    const fits =
      events.length + prepared.events.length <= LIMITS.commitEventsMax &&
      bytes + prepared.bytes <= LIMITS.commitBytesMax
    if (!fits) break
    input.queue.take()
    events.push(...prepared.events)
    recorded.push(...prepared.recorded)
    bytes += prepared.bytes
    view = prepared.view
    members.push({
      waiting: next,
      index: events.length - 1,
      ...(prepared.refused === undefined ? {} : { refused: prepared.refused }),
    })
  }
  return members.length === 0 ? undefined : { members, recorded, events, view }
}

/** Tells every caller that its record is durable; `view` stands at the commit. */
export const answerBatch = (batch: Batch | undefined, view: View): void => {
  const { seq, hash } = view.at
  for (const { waiting, index, refused } of batch?.members ?? [])
    waiting.answer({
      ok: true,
      value: { receipt: { seq, index, hash }, view, ...(refused === undefined ? {} : { refused }) },
    })
}

/** Tells every caller that its record is not confirmed. Who was answered before hears nothing new. */
export const failBatch = (batch: Batch | undefined, failure: Failure): void => {
  for (const { waiting } of batch?.members ?? []) waiting.answer({ ok: false, error: failure })
}

interface Prepared {
  readonly events: readonly Uint8Array[]
  readonly recorded: readonly Event[]
  readonly bytes: number
  readonly view: View
  readonly refused?: Failure
}

/** Undefined if the entry was rejected: it is out of the queue and answered. */
const prepareOrReject = (next: Waiting, view: View, input: BatchInput): Prepared | undefined => {
  try {
    return prepare(next, view, input)
  } catch (error) {
    input.queue.take()
    input.onRejected(
      error instanceof Error ? error.message : String(error),
      next.entry.events.map(({ type }) => type),
    )
    next.answer({ ok: false, error: { code: 'INTERNAL', message: 'the record of this request could not be written' } })
    return undefined
  }
}

const prepare = ({ entry }: Waiting, view: View, { meta, check }: BatchInput): Prepared => {
  const refused = checkGuards(view, entry.guards)
  const events = refused === undefined ? entry.events : [entry.toFailed(refused)]
  must(events.length > 0, 'an entry holds no event')
  const encoded = events.map((event) => encodeChecked(event, check))
  const bytes = encoded.reduce((sum, event) => sum + EVENT_PREFIX_BYTES + event.length, 0)
  must(
    events.length <= LIMITS.commitEventsMax && LIMITS.envelopeBytesMax + bytes <= LIMITS.commitBytesMax,
    'an entry is larger than a commit',
  )
  return {
    events: encoded,
    recorded: events,
    bytes,
    view: events.reduce((folded, event) => foldEvent(folded, event, meta), view),
    ...(refused === undefined ? {} : { refused }),
  }
}

/** The u32le length before each event. */
const EVENT_PREFIX_BYTES = 4

const encodeChecked = (event: Event, check: EventCheck): Uint8Array => {
  must(!isOwnKind(event.type), `${event.type} is an event of the ledger itself`)
  check.mustFit(event)
  return encodeEvent(event)
}
