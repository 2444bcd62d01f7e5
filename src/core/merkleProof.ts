import { joinSubtrees } from './compactRange.ts'
import { toNodeHash } from './merkle.ts'
import { must } from './result.ts'

/** A perfect subtree: the leaves from `index · 2^level` on, 2^level of them. */
export interface Subtree {
  readonly level: number
  readonly index: number
}

/**
 * What a proof is made of, without the hashes: for each of its elements, in order, the perfect subtrees whose joined hash
 * (`joinSubtrees`) it is.
 */
export type ProofPlan = readonly (readonly Subtree[])[]

/** RFC 6962 §2.1.1: the path of leaf `index` in the tree of `size` leaves, from the bottom up. */
export const planInclusion = (index: number, size: number): ProofPlan => {
  must(index >= 0 && index < size, 'a proof is asked for a leaf that the tree does not have')
  const plan: (readonly Subtree[])[] = []
  let [from, to] = [0, size]
  while (to - from > 1) {
    const split = from + largestPowerBelow(to - from)
    if (index < split) {
      plan.push(listSubtrees(split, to))
      to = split
    } else {
      plan.push(listSubtrees(from, split))
      from = split
    }
  }
  return plan.reverse()
}

/** RFC 6962 §2.1.2: that the tree of `oldSize` leaves is a prefix of the one of `size`. Empty if they are equal, or the old one is. */
export const planConsistency = (oldSize: number, size: number): ProofPlan => {
  must(oldSize >= 0 && oldSize <= size, 'a consistency proof is asked for a tree that is larger')
  if (oldSize === 0 || oldSize === size) return []
  const plan: (readonly Subtree[])[] = []
  let [from, to] = [0, size]
  // The whole old tree is known to who checks the proof: it is left out when it is one subtree.
  let isWhole = true
  while (oldSize < to) {
    const split = from + largestPowerBelow(to - from)
    if (oldSize <= split) {
      plan.push(listSubtrees(split, to))
      to = split
    } else {
      plan.push(listSubtrees(from, split))
      from = split
      isWhole = false
    }
  }
  if (!isWhole) plan.push(listSubtrees(from, to))
  return plan.reverse()
}

/** The perfect subtrees that make up the tree of `size` leaves, the largest first. */
export const planRoot = (size: number): readonly Subtree[] => listSubtrees(0, size)

/** A proof's hashes, once those of its subtrees are known: `hashes` as the plan has them, flattened. */
export const assembleProof = (plan: ProofPlan, hashes: readonly Uint8Array[]): readonly Uint8Array[] => {
  let at = 0
  return plan.map((subtrees) => {
    const part = hashes.slice(at, at + subtrees.length)
    must(part.length === subtrees.length, 'hashes of a proof are missing')
    at += subtrees.length
    return joinSubtrees(part)
  })
}

/** Whether `path` proves that the tree `oldRoot` of `oldSize` leaves is a prefix of the tree `root` of `size` (RFC 9162 §2.1.4.2). */
export const isConsistent = (proof: {
  readonly oldSize: number
  readonly oldRoot: Uint8Array
  readonly size: number
  readonly root: Uint8Array
  readonly path: readonly Uint8Array[]
}): boolean => {
  const { oldSize, oldRoot, size, root, path } = proof
  if (!(Number.isSafeInteger(oldSize) && Number.isSafeInteger(size) && oldSize >= 0 && oldSize <= size)) return false
  if (oldSize === size) return path.length === 0 && isSame(oldRoot, root)
  if (oldSize === 0) return path.length === 0
  const nodes = isPowerOfTwo(oldSize) ? [oldRoot, ...path] : path
  const roots = foldConsistency(nodes, oldSize - 1, size - 1)
  return roots !== undefined && isSame(roots.old, oldRoot) && isSame(roots.all, root)
}

/** Both roots that a path leads to, from the last leaf of the old and of the whole tree up; nothing if its length is wrong. */
const foldConsistency = (
  [first, ...rest]: readonly Uint8Array[],
  oldLast: number,
  wholeLast: number,
): { readonly old: Uint8Array; readonly all: Uint8Array } | undefined => {
  let [at, last] = [oldLast, wholeLast]
  while (at % 2 === 1) [at, last] = [half(at), half(last)]
  if (first === undefined) return undefined
  let [old, all] = [first, first]
  for (const sibling of rest) {
    if (last === 0) return undefined
    if (at % 2 === 1 || at === last) {
      old = toNodeHash(sibling, old)
      all = toNodeHash(sibling, all)
      while (at % 2 === 0 && at !== 0) [at, last] = [half(at), half(last)]
    } else all = toNodeHash(all, sibling)
    at = half(at)
    last = half(last)
  }
  return last === 0 ? { old, all } : undefined
}

const half = (count: number): number => Math.floor(count / 2)

/** Subtrees over the leaves `from`..`to − 1`, where `from` is a multiple of every power of two up to the range's length. */
const listSubtrees = (from: number, to: number): readonly Subtree[] => {
  const subtrees: Subtree[] = []
  for (let at = from; at < to; ) {
    let [level, width] = [0, 1]
    while (width * 2 <= to - at) [level, width] = [level + 1, width * 2]
    subtrees.push({ level, index: at / width })
    at += width
  }
  return subtrees
}

const largestPowerBelow = (count: number): number => {
  let power = 1
  while (power * 2 < count) power *= 2
  return power
}

const isPowerOfTwo = (count: number): boolean => largestPowerBelow(count + 1) === count

const isSame = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0
