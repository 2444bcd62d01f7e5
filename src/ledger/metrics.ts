import type { Event } from '../../schemas/events.ts'

/** One settled commit, for the head file, metrics and the feed. */
export interface Committed {
  readonly seq: number
  readonly subject: string
  readonly hash: string
  /** The time in its head. */
  readonly timeMs: number
  /** Empty for an `EpochOpened`. */
  readonly events: readonly Event[]
  readonly milliseconds: number
}

/** What this process has appended since it started. Milliseconds are from publish to acknowledgement. */
export interface LedgerMetrics {
  readonly commits: number
  readonly events: number
  readonly appendMillisecondsSum: number
  readonly appendMillisecondsMax: number
}

export const createMetrics = (): { count(committed: Committed): void; read(): LedgerMetrics } => {
  let now: LedgerMetrics = { commits: 0, events: 0, appendMillisecondsSum: 0, appendMillisecondsMax: 0 }
  return {
    count({ events, milliseconds }) {
      now = {
        commits: now.commits + 1,
        events: now.events + events.length,
        appendMillisecondsSum: now.appendMillisecondsSum + milliseconds,
        appendMillisecondsMax: Math.max(now.appendMillisecondsMax, milliseconds),
      }
    },
    read: () => now,
  }
}
