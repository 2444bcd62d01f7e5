import { addLeaf, type CompactRange, EMPTY_RANGE } from '../core/compactRange.ts'
import { toGapLeafHash } from '../core/gap.ts'

/** The ledger's Merkle tree at some size, in logarithmic space, and what the step to that size added to it. */
export interface Growth {
  readonly range: CompactRange
  /** For each leaf of the last step: the perfect subtrees that it completed, the leaf itself first. */
  readonly added: readonly (readonly Uint8Array[])[]
}

export const EMPTY_GROWTH: Growth = { range: EMPTY_RANGE, added: [] }

/** Leaves of sequences in a gap, newest first: they enter the tree when the gap is recovered. */
export interface GapLeaves {
  readonly hash: Uint8Array
  /** How many leaves like this one stand in a row. */
  readonly count: number
  readonly before: GapLeaves | undefined
}

/** The gap with some missing sequences more, and after them a message that is not a valid commit, if there is one. */
export const skipLeaves = (
  before: GapLeaves | undefined,
  { missing, payload }: { readonly missing: number; readonly payload?: Uint8Array },
): GapLeaves => {
  const holes = missing > 0 ? { hash: MISSING, count: missing, before } : before
  if (payload !== undefined) return { hash: toGapLeafHash(payload), count: 1, before: holes }
  return holes ?? { hash: MISSING, count: 0, before }
}

/** The tree with the leaves of a gap, if there is one, and then one more. */
export const growTree = ({ range }: Growth, gap: GapLeaves | undefined, leafHash: Uint8Array): Growth => {
  if (gap === undefined) {
    const next = addLeaf(range, leafHash)
    return { range: next.range, added: [next.completed] }
  }
  let now = range
  const added: (readonly Uint8Array[])[] = []
  const add = (hash: Uint8Array): void => {
    const next = addLeaf(now, hash)
    now = next.range
    added.push(next.completed)
  }
  for (const { hash, count } of listGap(gap)) for (let n = 0; n < count; n++) add(hash)
  add(leafHash)
  return { range: now, added }
}

const MISSING = toGapLeafHash()

const listGap = (newest: GapLeaves): readonly GapLeaves[] => {
  const list: GapLeaves[] = []
  for (let at: GapLeaves | undefined = newest; at !== undefined; at = at.before) list.push(at)
  return list.reverse()
}
