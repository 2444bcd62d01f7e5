import type { Finding, PlacedHead } from '../core/chainState.ts'
import type { Anchor } from '../core/ledgerEvents.ts'
import type { NamedAnchor } from './anchors.ts'

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
  /** Takes back what was seen from `seq` on: a commit there turned out not to be valid. */
  forget(seq: number): void
  /** Anchors that a `LedgerRecovered` gives up: they neither fail the ledger nor vouch for it. */
  giveUp(lost: readonly Anchor[]): void
  /** The outcome for a ledger whose last sequence is `lastSeq`. */
  settle(lastSeq: number): AnchorOutcome
}

/** Starts with no commit seen. */
export const createAnchorCheck = (anchors: readonly NamedAnchor[]): AnchorCheck => {
  const bySize = new Map<number, NamedAnchor[]>()
  for (const anchor of anchors) bySize.set(anchor.size, [...(bySize.get(anchor.size) ?? []), anchor])
  const matched = new Set<NamedAnchor>()
  const lost = new Set<string>()
  return {
    see(commit) {
      for (const anchor of bySize.get(commit.head.seq) ?? []) if (fits(anchor, commit)) matched.add(anchor)
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
      const highest = counted.filter((anchor) => matched.has(anchor)).sort((a, b) => b.size - a.size)[0]
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

const toFinding = (anchor: NamedAnchor, lastSeq: number): Finding =>
  anchor.size > lastSeq
    ? { seq: lastSeq + 1, reason: `shorter than anchor (${anchor.name} at ${anchor.size})`, kind: 'lasting' }
    : { seq: anchor.size, reason: `not what the anchor remembers (${anchor.name})`, kind: 'lasting' }
