import { EMPTY_ROOT, toNodeHash } from './merkle.ts'
import { must } from './result.ts'

/**
 * A Merkle tree of `size` leaves in logarithmic space: the hashes of its perfect subtrees, from the largest (left) to the
 * smallest. It gives the root and takes further leaves, which is all that a reader needs to check checkpoints as the
 * ledger passes. A value: nothing changes in place.
 */
export interface CompactRange {
  readonly size: number
  /** One hash for each 1 in the binary form of `size`. */
  readonly hashes: readonly Uint8Array[]
}

export const EMPTY_RANGE: CompactRange = { size: 0, hashes: [] }

/** The range with one more leaf, and the perfect subtrees that the leaf completes: itself (level 0), then level 1 and up. */
export const addLeaf = (
  range: CompactRange,
  leafHash: Uint8Array,
): { readonly range: CompactRange; readonly completed: readonly Uint8Array[] } => {
  const hashes = [...range.hashes]
  const completed = [leafHash]
  let node = leafHash
  for (let size = range.size; size % 2 === 1; size = Math.floor(size / 2)) {
    const left = hashes.pop()
    must(left !== undefined, 'a compact range lacks a hash')
    node = toNodeHash(left, node)
    completed.push(node)
  }
  hashes.push(node)
  return { range: { size: range.size + 1, hashes }, completed }
}

/** RFC 6962 root of the leaves so far; SHA-256 of nothing for none. */
export const rootOf = ({ hashes }: CompactRange): Uint8Array => joinSubtrees(hashes)

/** The hash over neighbouring perfect subtrees of falling size, from left to right: the smallest are joined first. */
export const joinSubtrees = (hashes: readonly Uint8Array[]): Uint8Array => {
  let node = hashes.at(-1)
  if (node === undefined) return EMPTY_ROOT
  for (let at = hashes.length - 2; at >= 0; at--) {
    const left = hashes[at]
    must(left !== undefined, 'a hash is missing')
    node = toNodeHash(left, node)
  }
  return node
}
