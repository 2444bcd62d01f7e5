import type { NatsConnection } from '@nats-io/nats-core'
import type { EventData, EventName, EventOf } from '../../schemas/events.ts'
import { LIMITS } from '../../schemas/limits.ts'
import { startChain, stepChain } from '../core/chain.ts'
import { type ChainPosition, parseChainPosition, toChainPosition } from '../core/chainPosition.ts'
import type { ChainState, Finding, Pin } from '../core/chainState.ts'
import type { Commit } from '../core/commit.ts'
import { createEventCheck } from '../core/eventCheck.ts'
import { type EventFilter, isWanted } from '../core/eventFilter.ts'
import { withoutIdentityTags } from '../core/identityTags.ts'
import { type RecordedEvent, readFields } from '../core/recordedEvent.ts'
import { LedgerFault } from './ledgerFault.ts'
import { pullLedger } from './ledgerSource.ts'

/** An event as it was recorded, of the newest version of its type, without identity tags. */
export type ReadEventOf<N extends EventName> = Omit<EventOf<N>, 'data'> & {
  readonly data: Omit<EventData<N>, 'identity_tags'>
}

/** Any event that this version knows, discriminated by `type`. */
export type ReadEvent = { [N in EventName]: ReadEventOf<N> }[EventName]

/** Where to go on: after a whole commit, and `delivered` events into the next. JSON; keep it where nobody else can write. */
export interface LedgerPosition {
  readonly chain: ChainPosition
  readonly delivered: number
}

/** One event, verified: everything before it is part of the same unbroken chain, back to the pinned root key. */
export interface LedgerEntry {
  readonly seq: number
  /** Its place in its commit, from 0. */
  readonly index: number
  /** Hex hash of its commit: with `seq` and `index` what the receipt of its operation says. */
  readonly hash: string
  /** By the clock of the writer; data, not evidence. */
  readonly timeMs: number
  readonly epoch: number
  readonly type: string
  /** Nothing if this version does not know the type. */
  readonly event: ReadEvent | undefined
  /** Every member as it was recorded, known or not, without identity tags. */
  readonly fields: Readonly<Record<string, unknown>>
  /** The exact bytes, identity tags included. */
  readonly bytes: Uint8Array
}

export interface LedgerReaderOptions {
  /** Of a user with the rights of `auditor`; stays the caller's to close. */
  readonly connection: NatsConnection
  /** What is trusted: see `parseVkey`. */
  readonly pin: Pin
  /**
   * Where an earlier reader stopped; from the first commit on if absent. Throws if it is not of this ledger, and a
   * {@link LedgerArchived} where the streams do not go back that far.
   */
  readonly from?: LedgerPosition
  /** What does not fit is verified all the same. */
  readonly filter?: EventFilter
  /** `last` ends with the last commit there is when it gets there; else it waits for more. */
  readonly until?: 'last'
  /** The stream to begin with, for a mirror of another name; else the oldest of the ledger's that is there. */
  readonly stream?: string
  readonly signal?: AbortSignal
}

/** Reads once: one iteration a reader. */
export interface LedgerReader extends AsyncIterable<LedgerEntry> {
  /** After the last entry that was taken, and all that the filter passed over since. */
  position(): LedgerPosition
}

/**
 * Reads the ledger in order, verifies every signature and hash as it goes, and gives out nothing unverified. Goes on in the next stream
 * where the ledger was rolled. Interrupted connections delay it, for as long as the connection itself is not closed; it goes on where it was,
 * so each event comes once. It asks the server for more only as entries are taken. Throws {@link LedgerFault} where the chain is broken and
 * no `LedgerRecovered` names what is wrong, and what NATS throws once the connection is closed for good.
 */
export const openLedgerReader = (options: LedgerReaderOptions): LedgerReader => {
  const signal = options.signal ?? new AbortController().signal
  const events = createEventCheck()
  let state = startState(options)
  let delivered = options.from?.delivered ?? 0

  const listEntries = function* (commit: Commit, before: ChainState, after: ChainState): Generator<LedgerEntry> {
    for (const [index, recorded] of commit.events.entries()) {
      if (index < delivered) continue
      const entry = toEntry(commit, index, recorded)
      const isLast = index + 1 === commit.events.length
      state = isLast ? after : before
      delivered = isLast ? 0 : index + 1
      if (options.filter === undefined || isWanted(entry.fields, options.filter))
        yield { ...entry, event: readEvent(recorded) }
    }
    state = after
    delivered = 0
  }
  const readEvent = (recorded: RecordedEvent): ReadEvent | undefined => {
    const event: unknown = withoutIdentityTags(events.read(recorded))
    return isReadEvent(event) ? event : undefined
  }

  return {
    position: () => ({ chain: toChainPosition(state), delivered }),
    async *[Symbol.asyncIterator]() {
      // The chain as far as it was read: ahead of `state` while a commit is being given out, or a gap is open.
      let read = state
      const findings: Finding[] = []
      const pulling = { reached: () => read, endsAtLast: options.until === 'last', stream: options.stream }
      for await (const { message, isLast } of pullLedger(options.connection, pulling, signal)) {
        const before = read
        const step = stepChain(read, message, { signatures: 'all' })
        read = step.state
        if (step.ok) {
          findings.length = 0
          yield* listEntries(step.commit, before, step.state)
          continue
        }
        for (const finding of step.findings)
          if (finding.kind !== 'consequence' && findings.length < LIMITS.findingsReportedMax) findings.push(finding)
        const isCurable = findings.every(({ kind }) => kind === 'own')
        // What is wrong may have been recovered over: that is known where the stream ends.
        if (!isCurable || isLast) throw new LedgerFault(findings)
      }
    },
  }
}

const startState = ({ pin, from }: LedgerReaderOptions): ChainState => {
  if (from === undefined) return startChain(pin)
  const kept = parseChainPosition(from.chain, pin)
  if (!kept.ok) throw new TypeError(kept.error)
  if (!Number.isSafeInteger(from.delivered) || from.delivered < 0) throw new TypeError('delivered is not a count')
  return kept.value
}

const toEntry = (commit: Commit, index: number, recorded: RecordedEvent): Omit<LedgerEntry, 'event'> => {
  const fields: unknown = withoutIdentityTags(readFields(recorded))
  return {
    seq: commit.head.seq,
    index,
    hash: Buffer.from(commit.hash).toString('hex'),
    timeMs: commit.head.timeMs,
    epoch: commit.head.epoch,
    type: recorded.type,
    fields: isRecord(fields) ? fields : {},
    bytes: recorded.bytes,
  }
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null

/** Says what the check of the event has just made sure of. */
const isReadEvent = (event: unknown): event is ReadEvent => isRecord(event)
