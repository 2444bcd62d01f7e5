import type { EventFilter } from './eventFilter.ts'

/** A place in the ledger: the event at `index` of the commit at `seq`, or where it would be. */
export interface EventPlace {
  readonly seq: number
  readonly index: number
}

/** Which part of the ledger is to be listed, and of it what. */
export interface EventsQuery {
  readonly from: EventPlace
  /** The last sequence to look at; not beyond the head of the view. */
  readonly to: number
  readonly filter: EventFilter
  /** Commits with a time from the first on, and before the second: by the clock of their writer. */
  readonly fromMs?: number
  readonly untilMs?: number
  readonly itemsMax: number
}

/** One event, its hash in hex, and what was recorded: no identity tags, bytes as base64 text. */
export interface ListedEvent extends EventPlace {
  readonly hash: string
  readonly timeMs: number
  readonly fields: Readonly<Record<string, unknown>>
}

/** A part of the ledger, in its order. */
export interface EventListing {
  readonly items: readonly ListedEvent[]
  /** The last commit that was looked at, hash in hex; nothing where there was none to look at. */
  readonly reached?: { readonly seq: number; readonly hash: string }
  /** Where to go on. Nothing once all up to `to` was looked at. */
  readonly next?: EventPlace
}
