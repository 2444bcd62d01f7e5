import { kindOf } from '../../schemas/eventKinds.ts'
import { LIMITS } from '../../schemas/limits.ts'
import type { LedgerMessage, StepOptions, VouchedCommit } from '../core/chainState.ts'
import { type Commit, decodeCommit, isCommitSignedBy } from '../core/commit.ts'
import { parseVerifyKey, type VerifyKey } from '../core/ed25519.ts'
import { isLedgerEvent, parseLedgerEvent } from '../core/ledgerEvents.ts'
import { toLeafHash } from '../core/merkle.ts'
import { parseExportLine } from './exportLine.ts'

/** Whole lines of an export, or messages of a stream one after the other: as much as one thread reads at a time. */
export interface Batch {
  readonly bytes: Uint8Array
  /** Of a stream's messages, in order; absent for lines. */
  readonly messages?: readonly (Omit<LedgerMessage, 'payload'> & { readonly length: number })[]
}

/** One line or message of a batch, by its place in the bytes, and what was found in it if it is an ordinary good commit. */
export interface ReadItem {
  readonly start: number
  readonly end: number
  readonly vouched?: Vouched
}

/** What a thread vouches for. Its claims need no trust: it runs the same code as the thread that asks. */
export interface Vouched {
  readonly message: Omit<LedgerMessage, 'payload'>
  readonly commit: VouchedCommit
  readonly unknownEvents: number
  /** Leaf of the ledger's Merkle tree. */
  readonly leafHash: Uint8Array
}

/** What is known of the ledger when a batch is given out, and how much is asked of it. */
export interface ReadOptions extends StepOptions {
  /** Raw public keys that signatures may be by. */
  readonly keys: readonly Uint8Array[]
}

/**
 * Reads batches; remembers the epoch keys that it has met, so that it can check signatures before the chain is known. With
 * `signatures: 'fast'` it leaves out those of commits that a later one of the batch names in its `prev`, whose own it checks.
 */
export interface BatchReader {
  read(batch: Batch, options: ReadOptions): readonly ReadItem[]
}

/** A reader that knows no key. */
export const createBatchReader = (): BatchReader => {
  const known = new Map<string, VerifyKey>()
  const learn = (raw: Uint8Array): void => {
    const key = parseVerifyKey(raw)
    if (!key.ok || known.has(key.value.kid)) return
    const oldest = known.size >= LIMITS.verifyKeysMax ? known.keys().next() : undefined
    if (oldest !== undefined && !oldest.done) known.delete(oldest.value)
    // A copy, which slice() of a Buffer is not: the batch's bytes are given away when it was read.
    known.set(key.value.kid, { ...key.value, raw: new Uint8Array(raw) })
  }
  const seen = new Set<string>()
  // For the payloads of one batch; nothing of it leaves this reader.
  let room = Buffer.alloc(0)
  return {
    read(batch, { keys, signatures }) {
      for (const raw of keys) {
        const text = Buffer.from(raw).toString('hex')
        if (seen.has(text)) continue
        if (seen.size >= LIMITS.verifyKeysMax) seen.clear()
        seen.add(text)
        learn(raw)
      }
      if (room.length < batch.bytes.length) room = Buffer.allocUnsafeSlow(batch.bytes.length)
      const pieces = split(batch, room)
      const claims = pieces.map(({ message }) => message && toClaim(message, known, learn))
      const good = findGood(claims, signatures)
      return pieces.map(({ start, end }, index) => {
        const claim = good[index]
        return { start, end, ...(claim && { vouched: vouch(claim) }) }
      })
    },
  }
}

interface Piece {
  readonly start: number
  readonly end: number
  readonly message: LedgerMessage | undefined
}

const split = (batch: Batch, room: Buffer): readonly Piece[] => {
  const { bytes, messages } = batch
  if (messages === undefined) return splitLines(bytes, room)
  let at = 0
  return messages.map(({ length, ...message }) => {
    const start = at
    at += length
    return { start, end: at, message: { ...message, payload: bytes.subarray(start, at) } }
  })
}

const splitLines = (given: Uint8Array, room: Buffer): readonly Piece[] => {
  // A Buffer finds a byte many times faster.
  const bytes = Buffer.from(given.buffer, given.byteOffset, given.length)
  const pieces: Piece[] = []
  let free = room
  for (let start = 0; start < bytes.length; ) {
    const found = bytes.indexOf(NEWLINE, start)
    const end = found === -1 ? bytes.length : found
    if (end > start) {
      const line =
        end - start <= LIMITS.exportLineBytesMax ? parseExportLine(bytes.subarray(start, end), free) : undefined
      if (line?.ok) free = free.subarray(line.value.payload.length)
      pieces.push({ start, end, message: line?.ok ? line.value : undefined })
    }
    start = end + 1
  }
  return pieces
}

const NEWLINE = 0x0a

/** An ordinary commit, well-formed, and the known key that must have signed it. */
interface Claim {
  readonly message: LedgerMessage
  readonly commit: Commit
  readonly key: VerifyKey
}

/** Undefined for all that is not an ordinary commit, well-formed and said to be by a known key: its judge is the chain. */
const toClaim = (
  message: LedgerMessage,
  known: ReadonlyMap<string, VerifyKey>,
  learn: (raw: Uint8Array) => void,
): Claim | undefined => {
  const decoded = decodeCommit(message.payload)
  if (!decoded.ok) return undefined
  const commit = decoded.value
  if (commit.events.some(({ type }) => isLedgerEvent(type))) {
    learnEpochKey(commit, learn)
    return undefined
  }
  const key = known.get(commit.kid)
  return key && { message, commit, key }
}

/** The claims whose signature was checked, or is covered by the one after them; undefined in the place of any other. */
const findGood = (
  claims: readonly (Claim | undefined)[],
  signatures: ReadOptions['signatures'],
): readonly (Claim | undefined)[] => {
  const good: (Claim | undefined)[] = []
  let next: Claim | undefined
  for (const claim of claims.toReversed()) {
    const isGood =
      claim && ((signatures === 'fast' && isNamedBy(claim, next)) || isCommitSignedBy(claim.key, claim.commit))
    next = isGood ? claim : undefined
    good.push(next)
  }
  return good.reverse()
}

/** Whether a commit that was found good is by the same key and names this one: its signature covers both, by the hash. */
const isNamedBy = ({ commit, key }: Claim, next: Claim | undefined): boolean =>
  next?.key === key && Buffer.from(next.commit.head.prev).equals(commit.hash)

const vouch = ({ message, commit, key }: Claim): Vouched => {
  const { origin, epoch, seq, subject, first, count, prev } = commit.head
  const { payload: _payload, ...rest } = message
  return {
    message: rest,
    commit: {
      // Copies: what is sent to another thread would take the whole batch along with a view of it.
      head: { origin, epoch, seq, subject, first, count, prev: new Uint8Array(prev) },
      kid: commit.kid,
      hash: new Uint8Array(commit.hash),
      signedBy: key.raw,
    },
    unknownEvents: commit.events.reduce((count, { type }) => count + (kindOf(type) === undefined ? 1 : 0), 0),
    leafHash: new Uint8Array(toLeafHash(commit.envelope)),
  }
}

/** Only a guess at what may be signed by: whether the epoch is one is for the chain to say. */
const learnEpochKey = ({ events }: Commit, learn: (raw: Uint8Array) => void): void => {
  const [event] = events
  if (event?.type !== 'EpochOpened') return
  const opened = parseLedgerEvent(event)
  if (opened.ok && opened.value.type === 'EpochOpened') learn(opened.value.publicKey)
}
