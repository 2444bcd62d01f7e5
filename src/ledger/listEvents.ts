import { setImmediate as nextTurn } from 'node:timers/promises'
import { LIMITS } from '../../schemas/limits.ts'
import type { EventListing, EventsQuery } from '../core/eventListing.ts'
import type { Telemetry } from '../core/ports.ts'
import { fail, InvariantError, ok, type Result } from '../core/result.ts'
import type { StoredMessage } from './commitStream.ts'
import { createEventScan, type VerifiedTree } from './eventScan.ts'
import { describeError } from './fault.ts'

/** Where listings come from. */
export interface EventSource {
  /** Nothing while there is no tree. */
  tree(): VerifiedTree | undefined
  /**
   * The messages `from` to `to` that there are, in order. Ends early in silence when the signal fires; throws where it is
   * cut off otherwise.
   */
  read(range: { readonly from: number; readonly to: number }, signal: AbortSignal): AsyncIterable<StoredMessage>
  /** The first sequence that is in a stream: what is older stands in the archive only. */
  begin(): Promise<number>
  readonly telemetry: Telemetry
}

/** Lists events as the `Ledger` port promises, at most `eventListsMax` at once. */
export const createEventLister = (source: EventSource) => {
  let running = 0
  return async (query: EventsQuery, signal: AbortSignal): Promise<Result<EventListing>> => {
    if (running >= LIMITS.eventListsMax) return fail('OVERLOADED', 'too many listings of the ledger at once')
    running += 1
    try {
      return await list(query, source, AbortSignal.any([signal, AbortSignal.timeout(LIMITS.eventListMs)]))
    } catch (error) {
      if (error instanceof InvariantError) throw error
      source.telemetry.log('warn', 'the ledger could not be listed', { error: describeError(error) })
      return fail('LEDGER_UNAVAILABLE', 'the stream of the ledger does not answer')
    } finally {
      running -= 1
    }
  }
}

const list = async (query: EventsQuery, source: EventSource, signal: AbortSignal): Promise<Result<EventListing>> => {
  const tree = source.tree()
  if (tree === undefined) return fail('LEDGER_UNAVAILABLE', 'there is no tree of the ledger to check it against')
  const to = Math.min(query.to, tree.size)
  const begin = await source.begin()
  const place = query.from.seq < begin ? { seq: begin, index: 0 } : query.from
  const from = place.seq
  if (from > to) return ok({ items: [] })
  const scan = createEventScan({ ...query, from: place }, tree)
  let turnBegan = performance.now()
  for await (const message of source.read({ from, to }, signal)) {
    if (!scan.take(message)) return refuse(scan.next().seq, source)
    if (scan.isFull()) break
    // The writer shares this event loop.
    if (performance.now() - turnBegan < LIMITS.eventListTurnMs) continue
    await nextTurn()
    turnBegan = performance.now()
  }
  if (!signal.aborted && !scan.skipMissing(to)) return refuse(scan.next().seq, source)
  const next = scan.next()
  if (next.seq === from && next.index === place.index)
    return fail('LEDGER_UNAVAILABLE', 'the stream of the ledger did not answer in time')
  return ok({ ...scan.found(), ...(next.seq > to ? {} : { next }) })
}

/** Somebody wrote to the storage, or it is damaged: that is more than a listing that fails. */
const refuse = (seq: number, { telemetry }: EventSource): Result<never> => {
  telemetry.log('error', 'the stream no longer holds what was verified; run ledger verify', { seq })
  return fail(
    'LEDGER_UNAVAILABLE',
    `the stream no longer holds at sequence ${seq} what this service verified: run ledger verify`,
  )
}
