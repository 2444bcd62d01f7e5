import { createHash, type Hash } from 'node:crypto'
import { toLeafHash } from './merkle.ts'

/**
 * Sequences after the last valid commit that hold no valid commit, and the running digest that a `LedgerRecovered` must
 * name: SHA-256 over, in order, SHA-256(payload), or 32 zero bytes where the message is missing.
 */
export interface Gap {
  readonly from: number
  /** The last sequence in the gap; `from - 1` when it is empty. */
  readonly to: number
  /** Never updated in place: a gap is a value. */
  readonly running: Hash
}

/**
 * The leaf of the ledger's Merkle tree for a sequence in a gap that was recovered: its data are the 32 bytes that entered the
 * digest. Without a payload: the message is missing.
 */
export const toGapLeafHash = (payload?: Uint8Array): Uint8Array =>
  toLeafHash(payload === undefined ? ZEROS.subarray(0, 32) : createHash('sha256').update(payload).digest())

/** An empty gap that would begin at `from`. */
export const startGap = (from: number): Gap => ({ from, to: from - 1, running: createHash('sha256') })

/** The gap with one more message in it. */
export const addMessage = (gap: Gap, payload: Uint8Array): Gap => ({
  from: gap.from,
  to: gap.to + 1,
  running: gap.running.copy().update(createHash('sha256').update(payload).digest()),
})

/** The gap with every sequence up to `to` missing. */
export const addMissing = (gap: Gap, to: number): Gap => {
  const running = gap.running.copy()
  for (let left = to - gap.to; left > 0; left -= ZEROS_AT_ONCE)
    running.update(ZEROS.subarray(0, 32 * Math.min(left, ZEROS_AT_ONCE)))
  return { from: gap.from, to, running }
}

/** The digest of what the gap holds now; SHA-256 of nothing for an empty one. */
export const digestOf = (gap: Gap): Uint8Array => gap.running.copy().digest()

const ZEROS_AT_ONCE = 4096
const ZEROS = Buffer.alloc(32 * ZEROS_AT_ONCE)
