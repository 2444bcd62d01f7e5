import type { Event } from '../schemas/events.ts'

/** What a fold may know of the commit an event stands in. `timeMs` is data of the writer, not evidence. */
export interface EventMeta {
  readonly seq: number
  readonly epoch: number
  readonly timeMs: number
}

/** A pure fold of events: no I/O, no clock, no randomness. `evolve` throws only when history contradicts itself. */
export interface Projection<S> {
  readonly name: string
  readonly version: number
  readonly initial: S
  evolve(state: S, event: Event, meta: EventMeta): S
}
