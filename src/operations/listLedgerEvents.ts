import { LIMITS } from '../../schemas/limits.ts'
import type { Body, Request } from '../../schemas/registry.ts'
import type { EventFilter } from '../core/eventFilter.ts'
import type { EventsQuery, ListedEvent } from '../core/eventListing.ts'
import { fail, must, ok, type Result } from '../core/result.ts'
import { parseEventCursor, toCursor, toEventPlace } from './cursor.ts'
import { toTimestamp } from './keyBody.ts'
import { type Operation, planRecord, type Resolved } from './operation.ts'

/**
 * Shows what stands in the ledger before the request's own record. A permit is for all events of all keys: it is the auditor's,
 * and no event is asked about on its own.
 */
export const listLedgerEvents: Operation<'ListLedgerEvents'> = {
  targets: ({ key_id }) =>
    ok([
      { kind: 'service', action: 'kms:ListLedgerEvents' },
      ...(key_id === undefined ? [] : [{ kind: 'key', action: 'kms:DescribeKey', ref: key_id } as const]),
    ]),
  evidence(input, resolved) {
    const query = toQuery(input, resolved)
    return query.ok ? ok({ kind: 'events', query: query.value }) : query
  },
  plan(input, resolved) {
    const query = toQuery(input, resolved)
    if (!query.ok) return query
    const {
      events: listing,
      keys: [record],
    } = resolved
    must(listing !== undefined, 'the pipeline has brought the events')
    const { items, reached, next } = listing
    const about = record === undefined ? {} : { lid: record.lid }
    const range = { from_seq: query.value.from.seq, ...(reached === undefined ? {} : { to_seq: reached.seq }) }
    return ok(
      planRecord([], () => ({
        event: { type: 'LedgerEventsListed', data: { ...about, ...range, items: items.length } },
        resources: record === undefined ? [] : [{ lid: record.lid }],
        toReply: () => ({
          items: items.map(toItem),
          ...(reached === undefined ? {} : { reached: { ...reached } }),
          ...(next === undefined ? {} : { next_cursor: toCursor(toEventPlace(next, query.value.to)) }),
        }),
      })),
    )
  },
}

/**
 * What is asked of the ledger. A cursor ends where the first page's ledger ended: each page is a record too, so that a list up
 * to the head would have no end.
 */
const toQuery = (input: Request<'ListLedgerEvents'>, { view, keys: [record] }: Resolved): Result<EventsQuery> => {
  const { from_seq: first = 1, to_seq: last = view.at.seq } = input
  if (input.to_seq !== undefined && first > last) return fail('INVALID_REQUEST', 'to_seq: must not be below from_seq')
  const times = toTimes(input)
  if (!times.ok) return times
  const cursor = parseEventCursor(input.cursor)
  if (!cursor.ok) return cursor
  const { place = { seq: first, index: 0 }, until = last } = cursor.value
  return ok({
    from: place.seq < first ? { seq: first, index: 0 } : place,
    to: Math.min(last, until, view.at.seq),
    filter: toFilter(input, record?.lid),
    ...times.value,
    itemsMax: input.max_results ?? LIMITS.pageItemsDefault,
  })
}

const toFilter = (
  { types, principal, action, outcome, request_id: requestId }: Request<'ListLedgerEvents'>,
  keyId: string | undefined,
): EventFilter => ({
  ...(types === undefined ? {} : { types }),
  ...(keyId === undefined ? {} : { keyId }),
  ...(principal === undefined ? {} : { principal }),
  ...(action === undefined ? {} : { action }),
  ...(outcome === undefined ? {} : { outcome }),
  ...(requestId === undefined ? {} : { requestId }),
})

const toTimes = (input: Request<'ListLedgerEvents'>): Result<Pick<EventsQuery, 'fromMs' | 'untilMs'>> => {
  const [fromMs, untilMs] = [input.from_time, input.to_time].map((text) =>
    text === undefined ? undefined : Date.parse(text),
  )
  if (Number.isNaN(fromMs)) return fail('INVALID_REQUEST', 'from_time: is not a time')
  if (Number.isNaN(untilMs)) return fail('INVALID_REQUEST', 'to_time: is not a time')
  return ok({ ...(fromMs === undefined ? {} : { fromMs }), ...(untilMs === undefined ? {} : { untilMs }) })
}

const toItem = ({ seq, index, hash, timeMs, fields }: ListedEvent): Body<'ListLedgerEvents'>['items'][number] => ({
  seq,
  index,
  hash,
  time: toTimestamp(Math.min(timeMs, TIME_MAX_MS)),
  event: fields,
})

/** The last moment that has a date; a head may name a later one, since nobody verifies its time. */
const TIME_MAX_MS = 8.64e15
