import { EVENTS, type Event } from '../../schemas/events.ts'
import { FEED, FEED_SERVICE, type FeedMessage, isFeedName, toFeedSubject } from '../../schemas/feed.ts'
import { findByteFields, isRecord, readByteFields, writeByteFields } from './byteFields.ts'
import type { LedgerReceipt } from './ports.ts'
import { parseStrictJson } from './strictJson.ts'

/** An event as it is announced: a subject and JSON. */
export interface FeedPublication {
  readonly subject: string
  readonly payload: Buffer
}

const BYTE_FIELDS = new Map(Object.entries(EVENTS).map(([type, { data }]) => [type, findByteFields(data)]))

/**
 * What the live feed says of an event of a durable commit; nothing for uses, queries and the ledger's own events. Only
 * what {@link FEED} lists is looked at, so a member that is added to an event stays out until it is listed.
 */
export const toFeedPublication = (
  event: Event,
  receipt: LedgerReceipt,
  timeMs: number,
): FeedPublication | undefined => {
  const { type } = event
  if (!isFeedName(type)) return undefined
  const data: Readonly<Record<string, unknown>> = { ...event.data }
  const members = FEED[type].filter((name) => data[name] !== undefined)
  const shown = Object.fromEntries(members.map((name) => [name, data[name]]))
  const fields = BYTE_FIELDS.get(type)
  const lid = typeof data['lid'] === 'string' ? data['lid'] : undefined
  const message = {
    id: event.id,
    type,
    v: event.v,
    time: new Date(timeMs).toISOString(),
    ...(lid === undefined ? {} : { key_id: lid }),
    data: fields === undefined ? shown : writeByteFields(fields, shown),
    receipt,
  }
  return { subject: toFeedSubject(type, lid ?? FEED_SERVICE), payload: Buffer.from(JSON.stringify(message)) }
}

const DEPTH_MAX = 8

/**
 * The message in a feed payload; undefined for what is no such message, and for a type that this version does not know.
 * The feed is signed by nobody: who may publish `kms.feed.>` decides what it says.
 */
export const parseFeedPayload = (payload: Uint8Array): FeedMessage | undefined => {
  const parsed = parseStrictJson(payload, DEPTH_MAX)
  if (!parsed.ok || !isRecord(parsed.value)) return undefined
  const { id, type, time, data, receipt } = parsed.value
  if (typeof type !== 'string' || !isFeedName(type) || typeof id !== 'string' || typeof time !== 'string')
    return undefined
  if (!isRecord(data) || !isRecord(receipt) || typeof receipt['seq'] !== 'number') return undefined
  const fields = BYTE_FIELDS.get(type)
  if (fields !== undefined && !readByteFields(fields, data).ok) return undefined
  const message: unknown = parsed.value
  return message as FeedMessage
}
