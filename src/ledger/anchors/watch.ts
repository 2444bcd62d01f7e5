import { addLeaf, rootOf } from '../../core/compactRange.ts'
import { verifyNote } from '../../core/signedNote.ts'
import type { LedgerFault } from '../fault.ts'
import type { Tip } from '../tip.ts'
import type { Remembered } from './anchor.ts'

/** What an anchor remembers, and which anchor. */
export interface NamedMemory extends Remembered {
  readonly name: string
}

/** A memory that the ledger does not meet, and how. */
export interface Misfit {
  readonly memory: NamedMemory
  readonly fault: LedgerFault
}

/** Compares what anchors remember with the ledger as it is read. */
export interface AnchorWatch {
  /** A step from one tip to the next. */
  see(before: Tip, after: Tip): void
  /**
   * For who starts at `tip` and not at the first commit: asks about each memory up to there that was not given up. If all
   * fit they are met, and true comes back; else nothing has changed.
   */
  meetEarlier(tip: Tip, wasBefore: (memory: NamedMemory) => Promise<boolean>): Promise<boolean>
  /** What is wrong, once everything was read: a ledger that is shorter, or other, than an anchor remembers; or nothing. */
  judge(end: Tip): LedgerFault | undefined
  /** All that is wrong, memory by memory. */
  misfits(end: Tip): readonly Misfit[]
  /** The anchors that a `LedgerRecovered` has not given up, by name. */
  listStanding(end: Tip): ReadonlySet<string>
}

/** Starts before the first commit. Memories that a `LedgerRecovered` gives up do not count. */
export const createAnchorWatch = (memories: readonly NamedMemory[]): AnchorWatch => {
  const met = new Set<NamedMemory>()
  return {
    see(before, after) {
      for (const memory of memories)
        if (memory.size > before.view.at.seq && memory.size <= after.view.at.seq && fits(memory, before, after))
          met.add(memory)
    },
    async meetEarlier(tip, wasBefore) {
      const earlier = memories.filter((memory) => memory.size <= tip.view.at.seq && !isGivenUp(memory, tip))
      for (const memory of earlier) if (!(await wasBefore(memory))) return false
      for (const memory of earlier) met.add(memory)
      return true
    },
    judge: (end) => listMisfits(memories, met, end)[0]?.fault,
    misfits: (end) => listMisfits(memories, met, end),
    listStanding: (end) => new Set(memories.filter((memory) => !isGivenUp(memory, end)).map(({ name }) => name)),
  }
}

const listMisfits = (memories: readonly NamedMemory[], met: ReadonlySet<NamedMemory>, end: Tip): readonly Misfit[] =>
  memories.flatMap((memory) => {
    const fault = isGivenUp(memory, end) ? undefined : judgeOne(memory, end, met.has(memory))
    return fault === undefined ? [] : [{ memory, fault }]
  })

const fits = (memory: NamedMemory, before: Tip, after: Tip): boolean => {
  // In a gap that was recovered there is no commit, but the tree has leaves.
  if (memory.hash !== undefined) return memory.size === after.view.at.seq && memory.hash === after.view.at.hash
  return memory.root === undefined || Buffer.compare(memory.root, rootAt(memory.size, before, after)) === 0
}

const rootAt = (size: number, { tree: { range } }: Tip, { tree }: Tip): Uint8Array => {
  if (size === tree.range.size) return rootOf(tree.range)
  let now = range
  for (const [leaf] of tree.added.slice(0, size - range.size)) if (leaf !== undefined) now = addLeaf(now, leaf).range
  return rootOf(now)
}

const isGivenUp = ({ size, hash, root }: NamedMemory, { lost }: Tip): boolean => {
  const known = hash ?? (root === undefined ? undefined : Buffer.from(root).toString('hex'))
  // A witness tells its size only.
  return lost.some((anchor) => anchor.size === size && (known === undefined || anchor.hash === known))
}

const judgeOne = (memory: NamedMemory, end: Tip, isMet: boolean): LedgerFault | undefined => {
  const { name, size, note } = memory
  const { seq } = end.view.at
  if (note !== undefined && !isSignedByRoot(note, size, end))
    return {
      kind: 'anchor_disagrees',
      message: `the checkpoint of size ${size} that the ${name} holds is not signed by the root key of this ledger: it was planted there, or it is of another ledger. Remove it, and find out who wrote it`,
    }
  if (size > seq)
    return {
      kind: 'shorter_than_anchor',
      message: `the ledger ends at ${seq}, but the ${name} remembers commit ${size}: commits ${seq + 1} to ${size} are missing. Restore the JetStream store they are in; what else can be done stands in docs/RUNBOOK.md, "The ledger is refused"`,
    }
  if (isMet) return undefined
  return {
    kind: 'anchor_disagrees',
    message: `commit ${size} is not the one the ${name} remembers: history was rewritten, at or before it. Restore the JetStream store, or the ${name} if that was changed; see docs/RUNBOOK.md, "The ledger is refused"`,
  }
}

/** By the root in force after the commit at that size; of sizes beyond the end, by the newest. */
const isSignedByRoot = (note: NonNullable<NamedMemory['note']>, size: number, { roots, chain }: Tip): boolean => {
  const root = roots.filter(({ fromSize }) => fromSize <= size).at(-1)
  return root !== undefined && verifyNote(note, [{ name: chain.origin, type: 'ed25519', key: root.key }]).ok
}
