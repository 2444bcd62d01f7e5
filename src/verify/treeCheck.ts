import { reachedBy } from '../core/chain.ts'
import type { ChainState, Finding, LedgerMessage, Step } from '../core/chainState.ts'
import { addLeaf, type CompactRange, rootOf } from '../core/compactRange.ts'
import type { VerifyKey } from '../core/ed25519.ts'
import { toGapLeafHash } from '../core/gap.ts'
import { toLeafHash } from '../core/merkle.ts'

/** The ledger's Merkle tree as it grows with the messages that are read, in logarithmic space. */
export interface TreeCheck {
  /** After a step of the chain: the leaves of what was missing and of the message. */
  step(before: ChainState, message: LedgerMessage, step: Step): void
  /** A commit that was vouched for, and the root in force after it. */
  add(leafHash: Uint8Array, rootKey: VerifyKey): void
  /** After the chain was settled: a commit that failed late stands in the gap, as any other bad message. */
  settle(before: ChainState, findings: readonly Finding[]): void
  range(): CompactRange
}

/** `see` is told each size as it passes, the root of the tree at it (when asked), and the ledger root in force. */
export const createTreeCheck = (
  start: CompactRange,
  see: (size: number, root: () => Uint8Array, rootKey: VerifyKey) => void,
): TreeCheck => {
  let range = start
  let beforeLast = start
  const push = (leafHash: Uint8Array, rootKey: VerifyKey): void => {
    beforeLast = range
    range = addLeaf(range, leafHash).range
    see(range.size, () => rootOf(range), rootKey)
  }
  const settle = ({ unchecked }: ChainState, findings: readonly Finding[]): void => {
    if (unchecked === undefined) return
    const { message, before } = unchecked
    if (!findings.some(({ seq, kind }) => seq === message.seq && kind === 'own')) return
    range = beforeLast
    push(toGapLeafHash(message.payload), before.root)
  }
  return {
    step(before, message, step) {
      settle(before, step.findings)
      const { state } = step
      // A message out of order has no leaf.
      if (reachedBy(state) !== message.seq || range.size >= message.seq) return
      while (range.size < message.seq - 1) push(MISSING, before.root)
      push(step.ok ? toLeafHash(step.commit.envelope) : toGapLeafHash(message.payload), state.root)
    },
    add: push,
    settle,
    range: () => range,
  }
}

const MISSING = toGapLeafHash()
