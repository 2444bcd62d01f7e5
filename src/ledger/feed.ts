import type { NatsConnection } from '@nats-io/transport-node'
import { LIMITS } from '../../schemas/limits.ts'
import { type FeedPublication, toFeedPublication } from '../core/feed.ts'
import type { Committed } from './metrics.ts'

export interface FeedOptions {
  /** The `kms-ledger` connection, which may publish `kms.feed.>`. */
  readonly connection: NatsConnection
  /** Told of announcements that the server has taken, or that were given up. */
  onMessages(outcome: 'published' | 'dropped', count: number): void
}

/** The live feed of state changes: best effort, and nothing ever waits for it. */
export interface Feed {
  /** Announces the state changes of a durable commit; never throws. */
  announce(committed: Committed): void
}

/**
 * What is not yet confirmed by the server is bounded by `feedPendingBytesMax`; beyond that, and while the connection is
 * down, announcements are dropped and counted. There is no second try: the ledger holds everything.
 */
export const createFeed = ({ connection, onMessages }: FeedOptions): Feed => {
  let pending = { bytes: 0, messages: 0 }
  let isConnected = true
  let isFlushing = false

  const watch = async (): Promise<void> => {
    for await (const { type } of connection.status()) {
      if (type === 'disconnect') isConnected = false
      if (type === 'reconnect') isConnected = true
    }
  }
  void watch().catch(() => undefined)

  /** One PING at a time: what was published before it has arrived when it is answered. */
  const flush = async (): Promise<void> => {
    isFlushing = true
    while (pending.messages > 0) {
      const sent = pending
      const isTaken = await connection.flush().then(
        () => true,
        () => false,
      )
      // On a lost connection nobody knows what arrived, and nothing that waited will be sent.
      const done = isTaken ? sent : pending
      pending = { bytes: pending.bytes - done.bytes, messages: pending.messages - done.messages }
      onMessages(isTaken ? 'published' : 'dropped', done.messages)
    }
    isFlushing = false
  }

  const publish = ({ subject, payload }: FeedPublication): boolean => {
    if (!isConnected || pending.bytes + payload.length > LIMITS.feedPendingBytesMax) return false
    try {
      connection.publish(subject, payload)
    } catch {
      return false
    }
    pending = { bytes: pending.bytes + payload.length, messages: pending.messages + 1 }
    return true
  }

  return {
    announce({ seq, hash, timeMs, events }) {
      for (const [index, event] of events.entries()) {
        const publication = toFeedPublication(event, { seq, index, hash }, timeMs)
        if (publication !== undefined && !publish(publication)) onMessages('dropped', 1)
      }
      if (pending.messages > 0 && !isFlushing) void flush()
    },
  }
}
