import { LIMITS } from '../../schemas/limits.ts'
import { isRecord } from '../core/byteFields.ts'
import { type Commit, decodeCommit } from '../core/commit.ts'
import { isWanted } from '../core/eventFilter.ts'
import type { EventListing, EventPlace, EventsQuery, ListedEvent } from '../core/eventListing.ts'
import { toGapLeafHash } from '../core/gap.ts'
import { withoutIdentityTags } from '../core/identityTags.ts'
import { toLeafHash } from '../core/merkle.ts'
import { readFields } from '../core/recordedEvent.ts'
import { must } from '../core/result.ts'
import type { StoredMessage } from './commitStream.ts'
import type { TreeFile } from './treeFile.ts'

/** The leaves of what this process has verified, sequence by sequence. */
export type VerifiedTree = Pick<TreeFile, 'size' | 'leaf'>

/**
 * One reading of a part of the ledger, message by message. Whoever holds the storage may have written to it since this
 * process verified it, so nothing is taken that has not the leaf hash which then entered the tree: it covers the envelope,
 * and the envelope the events. Of a sequence that the ledger was recovered over nothing is shown.
 */
export interface EventScan {
  /**
   * Takes the next message and all that is missing before it, as far as there is room. False, and `next()` is where, if
   * something else was verified there.
   */
  take(message: StoredMessage): boolean
  /** Passes sequences up to `to` that have no message, as far as there is room. False if one was verified there. */
  skipMissing(to: number): boolean
  /** Whether a bound is met: of items, of bytes to show, of commits or bytes to look at. */
  isFull(): boolean
  /** The first place that was not looked at. */
  next(): EventPlace
  found(): Omit<EventListing, 'next'>
}

export const createEventScan = (query: EventsQuery, tree: VerifiedTree): EventScan => {
  const items: ListedEvent[] = []
  let { seq, index } = query.from
  let reached: EventListing['reached']
  let [commits, bytes, shownBytes] = [0, 0, 0]

  const isFull = (): boolean =>
    items.length >= query.itemsMax ||
    shownBytes >= LIMITS.pageBytesMax ||
    commits >= LIMITS.eventListCommitsMax ||
    bytes >= LIMITS.eventListBytes
  const wasVerified = (leafHash: Uint8Array): boolean => Buffer.compare(tree.leaf(seq - 1), leafHash) === 0
  const step = (): void => {
    seq += 1
    index = 0
    commits += 1
  }
  const skipMissing = (to: number): boolean => {
    for (; seq <= to && !isFull(); step()) if (!wasVerified(MISSING)) return false
    return true
  }
  const show = (commit: Commit): void => {
    const hash = Buffer.from(commit.hash).toString('hex')
    reached = { seq, hash }
    const { length } = isInTime(commit, query) ? commit.events : []
    for (; index < length && !isFull(); index += 1) {
      const fields = showEvent(commit, index, query)
      if (fields === undefined) continue
      items.push({ seq, index, hash, timeMs: commit.head.timeMs, fields })
      shownBytes += ITEM_BYTES + Buffer.byteLength(JSON.stringify(fields))
    }
    if (index >= length) step()
  }
  return {
    take({ seq: at, payload }) {
      if (!skipMissing(at - 1)) return false
      if (isFull()) return true
      const commit = decodeCommit(payload)
      if (commit.ok && wasVerified(toLeafHash(commit.value.envelope))) show(commit.value)
      else if (wasVerified(toGapLeafHash(payload))) step()
      else return false
      // Counted afterwards: however large it is, one message is always looked at.
      bytes += payload.length
      return true
    },
    skipMissing,
    isFull,
    next: () => ({ seq, index }),
    found: () => ({ items, ...(reached === undefined ? {} : { reached }) }),
  }
}

const MISSING = toGapLeafHash()

/** What an item has beside the event, in JSON. */
const ITEM_BYTES = 256

const isInTime = ({ head }: Commit, { fromMs = 0, untilMs = Number.POSITIVE_INFINITY }: EventsQuery): boolean =>
  head.timeMs >= fromMs && head.timeMs < untilMs

/** An event as it is listed; nothing if it is not wanted. */
const showEvent = (commit: Commit, index: number, { filter }: EventsQuery): ListedEvent['fields'] | undefined => {
  const event = commit.events[index]
  must(event !== undefined, 'a place in a commit has an event')
  // The type is at hand; the rest takes decoding.
  if (filter.types?.includes(event.type) === false) return undefined
  const fields = readFields(event)
  const shown = isWanted(fields, filter) ? withoutIdentityTags(fields, toBase64) : undefined
  return isRecord(shown) ? shown : undefined
}

const toBase64 = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64')
