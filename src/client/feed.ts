import type { NatsConnection } from '@nats-io/nats-core'
import { type FeedMessage, type FeedMessageOf, type FeedName, toFeedSubject } from '../../schemas/feed.ts'
import { parseFeedPayload } from '../core/feed.ts'

export interface FeedOptions<N extends FeedName> {
  /** A connection of a user that may subscribe `kms.feed.>`; stays the caller's to close. */
  readonly connection: NatsConnection
  /** Only events of this type; all if absent. */
  readonly type?: N
  /** Only events about this key, a LID: what was done to its ancestors is announced under theirs. All if absent. */
  readonly keyId?: string
}

/** The announcements that match, from {@link openFeed} on. Ends when it or the connection is closed. */
export interface Feed<N extends FeedName> extends AsyncIterable<FeedMessageOf<N> & FeedMessage> {
  close(): void
}

/**
 * Listens to the live feed. Best effort: messages can be lost, never wrong for long, since the service answers what is
 * true now. So ask for the state once this has resolved, then wait; ask again from time to time. Whoever must not miss
 * anything reads the ledger. Rejects while the connection is down; the iteration throws if the server refuses the subscription.
 */
export const openFeed = async <N extends FeedName = FeedName>(options: FeedOptions<N>): Promise<Feed<N>> => {
  const subscription = options.connection.subscribe(toFeedSubject(options.type ?? '*', options.keyId ?? '*'))
  // The server knows the subscription when it has answered: nothing that happens from now on is missed for that reason.
  try {
    await options.connection.flush()
  } catch (error) {
    subscription.unsubscribe()
    throw error
  }
  return {
    async *[Symbol.asyncIterator]() {
      for await (const message of subscription) {
        const parsed = parseFeedPayload(message.data)
        if (parsed !== undefined && isWanted(parsed, options.type)) yield parsed
      }
    },
    close: () => subscription.unsubscribe(),
  }
}

const isWanted = <N extends FeedName>(
  message: FeedMessage,
  type: N | undefined,
): message is FeedMessageOf<N> & FeedMessage => type === undefined || message.type === type
