import { Map as ImmutableMap, List } from 'immutable'
import type { Event } from '../schemas/events.ts'
import { LIMITS } from '../schemas/limits.ts'
import type { Lid } from '../src/core/instruction.ts'
import type { Projection } from './projection.ts'

/** A success that occupies its slot: a replay with the same body hash is answered from the view. */
export interface IdempotencyRecord {
  readonly slotHex: string
  readonly bodyHex: string
  readonly timeMs: number
  /** What a reply needs beside the view: the members of the event's data that name or count something. */
  readonly lid?: Lid
  readonly name?: string
  readonly jobId?: string
  readonly version?: number
  readonly deletionAtMs?: number
  /** Descendants whose effective state changed, for a change of state. */
  readonly affected?: number
}

/** Slots by hex; `order` holds them by commit time so that expired ones leave from the front. */
export interface IdempotencyState {
  readonly bySlot: ImmutableMap<string, IdempotencyRecord>
  readonly order: List<IdempotencyRecord>
}

const toHex = (bytes: Uint8Array): string => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex')

type Data = Readonly<Record<string, unknown>>

const pick = <T>(data: Data, member: string, isIt: (value: unknown) => value is T): T | undefined => {
  const value = data[member]
  return isIt(value) ? value : undefined
}
const isText = (value: unknown): value is string => typeof value === 'string'
const isLid = (value: unknown): value is Lid => isText(value)
const isNumber = (value: unknown): value is number => typeof value === 'number'

/** The claim of any event that has one: a new kind of change needs nothing here. */
const readRecord = (event: Event, timeMs: number): IdempotencyRecord | undefined => {
  if (!('idempotency' in event.data) || event.data.idempotency === undefined) return undefined
  const { slot, body } = event.data.idempotency
  const data: Data = event.data
  const found = {
    lid: pick(data, 'lid', isLid),
    name: pick(data, 'name', isText),
    jobId: pick(data, 'job_id', isText),
    version: pick(data, 'version', isNumber),
    deletionAtMs: pick(data, 'deletion_at', isNumber),
    affected: pick(data, 'affected', isNumber),
  }
  const members = Object.entries(found).filter(([, value]) => value !== undefined)
  return { slotHex: toHex(slot), bodyHex: toHex(body), timeMs, ...Object.fromEntries(members) }
}

const dropExpired = (state: IdempotencyState, nowMs: number): IdempotencyState => {
  let { bySlot, order } = state
  for (let first = order.first(); first && first.timeMs + LIMITS.idempotencyWindowMs <= nowMs; first = order.first()) {
    order = order.shift()
    if (bySlot.get(first.slotHex) === first) bySlot = bySlot.delete(first.slotHex)
  }
  return { bySlot, order }
}

export const idempotencyProjection: Projection<IdempotencyState> = {
  name: 'idempotency',
  version: 1,
  initial: { bySlot: ImmutableMap(), order: List() },
  evolve(state, event, meta) {
    const record = readRecord(event, meta.timeMs)
    if (record === undefined) return state
    const kept = dropExpired(state, meta.timeMs)
    return { bySlot: kept.bySlot.set(record.slotHex, record), order: kept.order.push(record) }
  },
}

/** The success that holds this slot at `nowMs`, if any. */
export const findSlot = (state: IdempotencyState, slotHex: string, nowMs: number): IdempotencyRecord | undefined => {
  const record = state.bySlot.get(slotHex)
  return record && record.timeMs + LIMITS.idempotencyWindowMs > nowMs ? record : undefined
}
