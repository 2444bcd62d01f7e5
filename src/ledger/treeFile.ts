import { createHash } from 'node:crypto'
import { closeSync, fdatasync, fstatSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs'
import { promisify } from 'node:util'
import { LIMITS } from '../../schemas/limits.ts'
import { type CompactRange, joinSubtrees } from '../core/compactRange.ts'
import {
  assembleProof,
  type ProofPlan,
  planConsistency,
  planInclusion,
  planRoot,
  type Subtree,
} from '../core/merkleProof.ts'
import { must } from '../core/result.ts'
import type { Growth } from './growth.ts'

/**
 * Every perfect subtree of the ledger's Merkle tree, in one append-only file: a header of 32 bytes, then 32 bytes for each
 * node in the order in which leaves complete them, 64 bytes a commit in all. A node's place follows from its level and
 * index, so a proof reads a few nodes and no commit.
 *
 * The file is derived from the stream and no evidence of anything: as the ledger is read at start each of its nodes is
 * compared, and where it ends, is torn or disagrees it is cut and written anew. Who deletes it loses nothing.
 */
export interface TreeFile {
  /** Leaves that proofs can be made for: those that were put since the start, in order. */
  readonly size: number
  /** Takes what a step added to the tree; `growth.range.size` leaves stand in it afterwards. Never throws for the disk's sake. */
  put(growth: Growth): void
  /**
   * Goes on after the leaves of `range`, where nothing was put yet. False, and nothing has changed, if the file does not reach
   * so far or has other subtrees at the top. Those below are not compared: a proof with a wrong one does not verify.
   */
  resume(range: CompactRange): boolean
  /** Forgets what was put or resumed; the file is compared again from its start. */
  restart(): void
  /** Root of the first `size` leaves; throws if the tree has no more, or the file cannot be read. */
  root(size: number): Uint8Array
  /** The hash of leaf `index`, from 0; throws as `root` does. */
  leaf(index: number): Uint8Array
  inclusion(index: number, size: number): readonly Uint8Array[]
  consistency(oldSize: number, size: number): readonly Uint8Array[]
  /** Brings what was put onto the disk. Rejects if it cannot. */
  flush(): Promise<void>
  /** Writes what it can and closes. */
  close(): Promise<void>
}

const NODE_BYTES = 32
const NO_NODE = Buffer.alloc(0)

/** Opens the file of this ledger, or an empty one where there is none or it is another ledger's. Throws what the file system throws. */
export const openTreeFile = (path: string, origin: string): TreeFile => {
  const fd = openSync(path, openFlags(path), 0o644)
  const header = createHash('sha256').update(`chatelaine/tree/v1\0${origin}`).digest()
  if (!readAt(fd, 0, NODE_BYTES).equals(header)) {
    ftruncateSync(fd, 0)
    writeSync(fd, header, 0, NODE_BYTES, 0)
  }
  return createTreeFile(fd)
}

const openFlags = (path: string): string => {
  try {
    closeSync(openSync(path, 'ax'))
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
  }
  return 'r+'
}

const createTreeFile = (fd: number): TreeFile => {
  const nextStored = createReadAhead(fd)
  let size = 0
  /** Nodes in the file that may be believed as soon as they were compared; beyond it, `pending`. */
  let stored = Math.floor((fstatSync(fd).size - NODE_BYTES) / NODE_BYTES)
  let pending: Uint8Array[] = []
  let isOpen = true

  const putNode = (node: Uint8Array, place: number): void => {
    if (place < stored) {
      if (nextStored(place).equals(node)) return
      stored = place
      ftruncateSync(fd, toOffset(place))
    }
    pending.push(node)
  }
  const node = ({ level, index }: Subtree): Uint8Array => {
    const place = toPlace(level, index)
    const waiting = pending[place - stored]
    if (place >= stored && waiting !== undefined) return waiting
    const bytes = readAt(fd, toOffset(place), NODE_BYTES)
    must(bytes.length === NODE_BYTES, 'the tree file lacks a node')
    return bytes
  }
  const mustHold = (wanted: number): void =>
    must(Number.isSafeInteger(wanted) && wanted >= 0 && wanted <= size, 'the tree has no such size')
  const assemble = (plan: ProofPlan): readonly Uint8Array[] => assembleProof(plan, plan.flat().map(node))
  const write = (): void => {
    if (pending.length === 0) return
    writeAt(fd, toOffset(stored), Buffer.concat(pending))
    stored += pending.length
    pending = []
  }
  return {
    get size() {
      return size
    },
    put({ range, added }) {
      must(size + added.length === range.size, 'leaves enter the tree in order')
      for (const completed of added) {
        const place = toPlace(0, size)
        for (const [level, each] of completed.entries()) putNode(each, place + level)
        size += 1
      }
      // While a whole ledger is read nobody asks for a flush.
      if (pending.length >= LIMITS.treePendingNodesMax) write()
    },
    resume(range) {
      must(size === 0 && pending.length === 0, 'a tree resumes before its first leaf')
      if (stored < 2 * range.size - countOnes(range.size)) return false
      if (!hasTop(range, node)) return false
      size = range.size
      return true
    },
    restart() {
      must(pending.length === 0, 'a tree that was written to does not start again')
      size = 0
    },
    root(wanted) {
      mustHold(wanted)
      return joinSubtrees(planRoot(wanted).map(node))
    },
    leaf(index) {
      mustHold(index + 1)
      return node({ level: 0, index })
    },
    inclusion(index, wanted) {
      mustHold(wanted)
      return assemble(planInclusion(index, wanted))
    },
    consistency(oldSize, wanted) {
      mustHold(wanted)
      return assemble(planConsistency(oldSize, wanted))
    },
    async flush() {
      write()
      await sync(fd)
    },
    async close() {
      if (!isOpen) return
      isOpen = false
      try {
        write()
        await sync(fd)
      } finally {
        closeSync(fd)
      }
    },
  }
}

const hasTop = ({ size, hashes }: CompactRange, node: (place: Subtree) => Uint8Array): boolean =>
  planRoot(size).every((top, at) => Buffer.compare(node(top), hashes[at] ?? NO_NODE) === 0)

/** The file's nodes one after the other while they are compared: read in large pieces. */
const createReadAhead = (fd: number): ((place: number) => Buffer) => {
  let ahead: { readonly from: number; readonly bytes: Buffer } = { from: 0, bytes: Buffer.alloc(0) }
  return (place) => {
    const at = (place - ahead.from) * NODE_BYTES
    if (at >= 0 && at + NODE_BYTES <= ahead.bytes.length) return ahead.bytes.subarray(at, at + NODE_BYTES)
    ahead = { from: place, bytes: readAt(fd, toOffset(place), LIMITS.treeReadBytes) }
    return ahead.bytes.subarray(0, NODE_BYTES)
  }
}

const sync = promisify(fdatasync)

const toOffset = (place: number): number => NODE_BYTES * (place + 1)

/** Where a node stands: after all nodes that the leaves before its last one complete, and after its own smaller ones. */
const toPlace = (level: number, index: number): number => {
  const last = (index + 1) * 2 ** level - 1
  return 2 * last - countOnes(last) + level
}

/** Of the binary form: as many subtrees are not complete yet. */
const countOnes = (count: number): number => {
  let ones = 0
  for (let left = count; left > 0; left = Math.floor(left / 2)) ones += left % 2
  return ones
}

const writeAt = (fd: number, offset: number, bytes: Uint8Array): void => {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at, bytes.length - at, offset + at)
}

const readAt = (fd: number, offset: number, length: number): Buffer => {
  const bytes = Buffer.alloc(length)
  return bytes.subarray(0, readSync(fd, bytes, 0, length, offset))
}
