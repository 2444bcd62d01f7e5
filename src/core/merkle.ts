import { hash } from 'node:crypto'

/** RFC 6962 §2.1 leaf hash: SHA-256(00 ‖ data). */
export const toLeafHash = (data: Uint8Array): Uint8Array => hash('sha256', Buffer.concat([LEAF, data]), 'buffer')

/** RFC 6962 §2.1 node hash: SHA-256(01 ‖ left ‖ right). */
export const toNodeHash = (left: Uint8Array, right: Uint8Array): Uint8Array =>
  hash('sha256', Buffer.concat([NODE, left, right]), 'buffer')

/** RFC 6962 §2.1 hash of the empty tree: SHA-256 of nothing. */
export const EMPTY_ROOT: Uint8Array = hash('sha256', Buffer.alloc(0), 'buffer')

/** RFC 6962 §2.1 root over leaf data; {@link EMPTY_ROOT} if there are no leaves. */
export const toMerkleRoot = (leaves: readonly Uint8Array[]): Uint8Array => {
  let level = hashLeaves(leaves)
  while (level.length > 1) level = toParents(level)
  const [root] = level
  return root === undefined ? EMPTY_ROOT : toBytes(root)
}

/** RFC 6962 §2.1.1 audit path of leaf `index`, from the bottom up. */
export const toInclusionPath = (leaves: readonly Uint8Array[], index: number): readonly Uint8Array[] => {
  const path: Uint8Array[] = []
  let level = hashLeaves(leaves)
  for (let at = index; level.length > 1; at >>= 1) {
    const sibling = level[at ^ 1]
    if (sibling !== undefined) path.push(toBytes(sibling))
    level = toParents(level)
  }
  return path
}

/** Whether `path` proves that the leaf hash stands at `index` among `size` leaves under `root` (RFC 9162 §2.1.3.2). */
export const isIncluded = (proof: {
  readonly leafHash: Uint8Array
  readonly index: number
  readonly size: number
  readonly path: readonly Uint8Array[]
  readonly root: Uint8Array
}): boolean => {
  if (!(proof.index >= 0 && proof.index < proof.size)) return false
  let at = proof.index
  let last = proof.size - 1
  let node = proof.leafHash
  for (const sibling of proof.path) {
    if (last === 0) return false
    if (at % 2 === 1 || at === last) {
      node = toNodeHash(sibling, node)
      while (at % 2 === 0 && at !== 0) {
        at = Math.floor(at / 2)
        last = Math.floor(last / 2)
      }
    } else node = toNodeHash(node, sibling)
    at = Math.floor(at / 2)
    last = Math.floor(last / 2)
  }
  return last === 0 && Buffer.from(node).equals(proof.root)
}

const LEAF = Buffer.of(0)
const NODE = Buffer.of(1)

/** A hash as 32 characters of latin1: node:crypto makes that in 0.5 µs, a buffer in 1.3 µs, and buffers cost again when collected. */
type Digest = string

const toBytes = (digest: Digest): Uint8Array => Buffer.from(digest, 'latin1')

/** One buffer for all of them: making one for each costs half as much as the hash itself. */
const hashLeaves = (leaves: readonly Uint8Array[]): readonly Digest[] => {
  const scratch = Buffer.allocUnsafe(1 + leaves.reduce((longest, { length }) => Math.max(longest, length), 0))
  scratch.set(LEAF)
  return leaves.map((leaf) => {
    scratch.set(leaf, 1)
    return hash('sha256', scratch.subarray(0, leaf.length + 1), 'binary')
  })
}

/** One level up: neighbours are joined, a last one without neighbour moves up as it is, which is RFC 6962's split. */
const toParents = (level: readonly Digest[]): readonly Digest[] => {
  const scratch = Buffer.allocUnsafe(65)
  scratch.set(NODE)
  const join = (left: Digest, right: Digest): Digest => {
    scratch.write(left, 1, 'latin1')
    scratch.write(right, 33, 'latin1')
    return hash('sha256', scratch, 'binary')
  }
  const parents: Digest[] = []
  for (let at = 0; at < level.length; at += 2) {
    const [left, right] = [level[at], level[at + 1]]
    if (left !== undefined) parents.push(right === undefined ? left : join(left, right))
  }
  return parents
}
