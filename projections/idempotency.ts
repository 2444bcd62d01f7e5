import { Map as ImmutableMap, List } from 'immutable'
import type { Event } from '../schemas/events.ts'
import { LIMITS } from '../schemas/limits.ts'
import type { Lid } from '../src/core/instruction.ts'
import type { Projection } from './projection.ts'

/** A success that occupies its slot: a replay with the same body hash is answered from the view. */
export interface IdempotencyRecord {
  readonly slotHex: string
  readonly bodyHex: string
  readonly lid: Lid
  readonly timeMs: number
  /** Descendants whose effective state changed, for a change of state. */
  readonly affected: number
}

/** Slots by hex; `order` holds them by commit time so that expired ones leave from the front. */
export interface IdempotencyState {
  readonly bySlot: ImmutableMap<string, IdempotencyRecord>
  readonly order: List<IdempotencyRecord>
}

const toHex = (bytes: Uint8Array): string => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex')

interface Claim {
  readonly slot: Uint8Array
  readonly body: Uint8Array
  readonly lid: string
  readonly affected: number
}

const readClaim = (event: Event): Claim | undefined => {
  switch (event.type) {
    case 'KeyCreated':
      return event.data.idempotency && { ...event.data.idempotency, lid: event.data.lid, affected: 0 }
    case 'KeyEnabled':
    case 'KeyDisabled':
      return event.data.idempotency && { ...event.data.idempotency, lid: event.data.lid, affected: event.data.affected }
    default:
      return undefined
  }
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
    const claim = readClaim(event)
    if (claim === undefined) return state
    const kept = dropExpired(state, meta.timeMs)
    const record: IdempotencyRecord = {
      slotHex: toHex(claim.slot),
      bodyHex: toHex(claim.body),
      lid: claim.lid as Lid,
      timeMs: meta.timeMs,
      affected: claim.affected,
    }
    return { bySlot: kept.bySlot.set(record.slotHex, record), order: kept.order.push(record) }
  },
}

/** The success that holds this slot at `nowMs`, if any. */
export const findSlot = (state: IdempotencyState, slotHex: string, nowMs: number): IdempotencyRecord | undefined => {
  const record = state.bySlot.get(slotHex)
  return record && record.timeMs + LIMITS.idempotencyWindowMs > nowMs ? record : undefined
}
