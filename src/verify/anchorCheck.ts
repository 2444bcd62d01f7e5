import type { Finding, PlacedHead } from '../core/chainState.ts'
import { openCheckpoint } from '../core/checkpoint.ts'
import type { VerifyKey } from '../core/ed25519.ts'
import type { Anchor } from '../core/ledgerEvents.ts'
import type { CheckpointAnchor, NamedAnchor } from './anchors.ts'

/** What anchors are compared with. */
interface SeenCommit {
  readonly head: Pick<PlacedHead, 'seq' | 'count'>
  readonly hash: Uint8Array
}

/** What the anchors say at the end of a run. */
export interface AnchorOutcome {
  /** The highest sequence a matching anchor vouches for; 0 if none. */
  readonly anchoredTo: number
  readonly anchoredBy: string | undefined
  readonly findings: readonly Finding[]
}

/** Compares anchors with commits as they pass; memory is that of the anchors. */
export interface AnchorCheck {
  see(commit: SeenCommit): void
  /** The tree at a size, and the root key in force there: what checkpoints are compared with. */
  seeTree(size: number, root: () => Uint8Array, rootKey: VerifyKey): void
  /** Takes back what was seen from `seq` on: a commit there turned out not to be valid. */
  forget(seq: number): void
  /** Anchors that a `LedgerRecovered` gives up: they neither fail the ledger nor vouch for it. */
  giveUp(lost: readonly Anchor[]): void
  /** The outcome for a ledger whose last sequence is `lastSeq`. */
  settle(lastSeq: number): AnchorOutcome
}

/** Starts with no commit seen. */
export const createAnchorCheck = (origin: string, anchors: readonly NamedAnchor[]): AnchorCheck => {
  const bySize = new Map<number, NamedAnchor[]>()
  for (const anchor of anchors) bySize.set(anchor.size, [...(bySize.get(anchor.size) ?? []), anchor])
  const matched = new Set<NamedAnchor>()
  const vouching = new Set<NamedAnchor>()
  const lost = new Set<string>()
  const match = (anchor: NamedAnchor, vouches: boolean): void => {
    matched.add(anchor)
    if (vouches) vouching.add(anchor)
  }
  return {
    see(commit) {
      for (const anchor of bySize.get(commit.head.seq) ?? [])
        if (anchor.checkpoint === undefined && fits(anchor, commit)) match(anchor, true)
    },
    seeTree(size, root, rootKey) {
      for (const anchor of bySize.get(size) ?? []) {
        const { checkpoint, hash } = anchor
        if (checkpoint === undefined || Buffer.from(root()).toString('hex') !== hash) continue
        const signed = judgeSignatures(checkpoint, origin, rootKey)
        if (signed !== undefined) match(anchor, signed.vouches)
      }
    },
    forget(seq) {
      for (const anchor of matched) if (anchor.size >= seq) matched.delete(anchor)
    },
    giveUp(given) {
      for (const anchor of given) if (bySize.has(anchor.size)) lost.add(toKey(anchor))
    },
    settle(lastSeq) {
      const counted = anchors.filter((anchor) => !lost.has(toKey(anchor)))
      const failing = counted.filter((anchor) => !matched.has(anchor))
      const good = counted.filter((anchor) => matched.has(anchor) && vouching.has(anchor))
      const highest = good.sort((a, b) => b.size - a.size)[0]
      return {
        anchoredTo: highest?.size ?? 0,
        anchoredBy: highest?.name,
        findings: failing.map((anchor) => toFinding(anchor, lastSeq)),
      }
    },
  }
}

const toKey = (anchor: Anchor): string => `${anchor.size}:${anchor.hash}`

const fits = (anchor: NamedAnchor, commit: SeenCommit): boolean =>
  anchor.hash === Buffer.from(commit.hash).toString('hex') && (anchor.index ?? 0) < commit.head.count

/** A checkpoint agrees by the root in force; it vouches for the ledger's end only with each witness that was named. */
const judgeSignatures = (
  { bytes, witnessKeys, isOfArchive }: CheckpointAnchor,
  origin: string,
  rootKey: VerifyKey,
): { readonly vouches: boolean } | undefined => {
  const ledgerKeys = [{ name: origin, type: 'ed25519', key: rootKey } as const]
  const opened = openCheckpoint(bytes, { origin, ledgerKeys, witnessKeys })
  if (!opened.ok) return undefined
  const isCosigned = witnessKeys.every((wanted) => opened.value.cosignedBy.some(({ key }) => key === wanted))
  return { vouches: isCosigned && !isOfArchive }
}

const toFinding = (anchor: NamedAnchor, lastSeq: number): Finding =>
  anchor.size > lastSeq
    ? { seq: lastSeq + 1, reason: `shorter than anchor (${anchor.name} at ${anchor.size})`, kind: 'lasting' }
    : { seq: anchor.size, reason: `not what the anchor remembers (${anchor.name})`, kind: 'lasting' }
