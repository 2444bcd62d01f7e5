import type { EventMeta } from '../../projections/projection.ts'
import { createEmptyView, foldEvent, moveTo, type View } from '../../projections/view.ts'
import { extendChain, reachedBy, startChain, stepChain } from '../core/chain.ts'
import type { ChainState, Pin } from '../core/chainState.ts'
import type { Commit, EncodedCommit } from '../core/commit.ts'
import type { VerifyKey } from '../core/ed25519.ts'
import type { EventCheck } from '../core/eventCheck.ts'
import type { Anchor, LedgerEvent } from '../core/ledgerEvents.ts'
import { toLeafHash } from '../core/merkle.ts'
import { ok } from '../core/result.ts'
import type { StoredMessage } from './commitStream.ts'
import { describeError, faulty, type LedgerFault, type LedgerResult } from './fault.ts'
import { EMPTY_GROWTH, type GapLeaves, type Growth, growTree, skipLeaves } from './growth.ts'

/**
 * The ledger as far as it is verified and folded: an immutable value. Chain, view and tree are always at the same commit,
 * except that the chain alone goes on through a gap.
 */
export interface Tip {
  readonly chain: ChainState
  readonly view: View
  /** The Merkle tree over all sequences up to the view's, and what the last step added to it. */
  readonly tree: Growth
  /**
   * Every root key that was ever in force, the newest last, with the first size of a checkpoint that it may sign and, but for
   * the pinned one, the stored message of its `RootRotated`.
   */
  readonly roots: readonly { readonly fromSize: number; readonly key: VerifyKey; readonly message?: Uint8Array }[]
  /** Anchors that a `LedgerRecovered` has given up. */
  readonly lost: readonly Anchor[]
  /** What stands after the view's commit and is not a valid commit; only a `LedgerRecovered` goes on. */
  readonly gap?: { readonly leaves: GapLeaves; readonly fault: LedgerFault }
}

export interface Verifier {
  /** Before the first commit. */
  readonly start: Tip
  /**
   * Verifies the next message whole and folds it. Faults: `bad_commit` (nothing may be chained over it), `cannot_fold`;
   * both name the sequence, the latter the event's index and type too.
   */
  advance(tip: Tip, message: StoredMessage): LedgerResult<Tip>
  /**
   * The same for who reads what is long written: a message that is not a valid commit, or is missing, opens a gap, which a
   * `LedgerRecovered` further on may close. Who has read to the end and stands in a gap has found its `fault`.
   */
  read(tip: Tip, message: StoredMessage): LedgerResult<Tip>
  /** The tip after an ordinary commit of our own, whose events are folded into `view` already. */
  extend(tip: Tip, commit: EncodedCommit, folded: { readonly view: View; readonly timeMs: number }): Tip
}

export const createVerifier = (pin: Pin, check: EventCheck): Verifier => {
  const chain = startChain(pin)
  const read: Verifier['read'] = (tip, message) => {
    const missing = message.seq - toReached(tip) - 1
    const step = stepChain(tip.chain, message, { signatures: 'all' })
    const [finding] = step.findings
    const fault = toBadCommit(finding?.seq ?? message.seq, finding?.reason)
    if (finding?.kind === 'lasting') return { ok: false, error: fault }
    if (!step.ok) {
      const leaves = skipLeaves(tip.gap?.leaves, { missing, payload: message.payload })
      return ok({ ...tip, chain: step.state, gap: { leaves, fault: tip.gap?.fault ?? fault } })
    }
    const view = foldCommit(tip.view, step.commit, check)
    if (!view.ok) return view
    const gap = missing > 0 ? skipLeaves(tip.gap?.leaves, { missing }) : tip.gap?.leaves
    const { gap: _closed, ...open } = tip
    return ok({
      ...open,
      ...toRecord(tip, step, message.payload),
      chain: step.state,
      view: place(view.value, step.state, step.commit.head.timeMs),
      tree: growTree(tip.tree, gap, toLeafHash(step.commit.envelope)),
    })
  }
  return {
    start: {
      chain,
      view: createEmptyView(pin.origin),
      tree: EMPTY_GROWTH,
      roots: [{ fromSize: 0, key: chain.root }],
      lost: [],
    },
    read,
    advance(tip, message) {
      const next = read(tip, message)
      if (next.ok && next.value.gap !== undefined) return { ok: false, error: next.value.gap.fault }
      return next
    },
    extend(tip, commit, { view, timeMs }) {
      const next = extendChain(tip.chain, commit)
      const tree = growTree(tip.tree, undefined, toLeafHash(commit.envelope))
      return { ...tip, chain: next, view: place(view, next, timeMs), tree }
    },
  }
}

/** The stream that the next commit goes into; nothing where nobody has told of streams. */
export const toNextStream = ({ chain }: Pick<Tip, 'chain'>): { readonly stream?: string } => {
  const stream = chain.nextStream ?? chain.stream
  return stream === undefined ? {} : { stream }
}

/** The last sequence read, valid or not. */
export const toReached = ({ chain }: Tip): number => reachedBy(chain)

const toBadCommit = (seq: number, reason = 'unknown'): LedgerFault => ({
  kind: 'bad_commit',
  message: `sequence ${seq} of the ledger is not a valid commit: ${reason}. Nothing is appended after it; run ledger verify`,
})

/** What special commits leave behind beside the chain's own state. */
const toRecord = (
  { roots, lost }: Tip,
  { event, state }: { readonly event: LedgerEvent | undefined; readonly state: ChainState },
  payload: Uint8Array,
): Pick<Tip, 'roots' | 'lost'> => ({
  roots:
    event?.type === 'RootRotated'
      ? [...roots, { fromSize: state.seq, key: state.root, message: Uint8Array.from(payload) }]
      : roots,
  lost: event?.type === 'LedgerRecovered' ? [...lost, ...event.lost] : lost,
})

/** The view at the chain's last commit, which was made at `timeMs`. */
export const place = (view: View, chain: ChainState, timeMs: number): View =>
  moveTo(view, {
    origin: chain.origin,
    epoch: chain.epoch,
    seq: chain.seq,
    hash: Buffer.from(chain.hash).toString('hex'),
    timeMs,
  })

const foldCommit = (before: View, { head, events }: Commit, check: EventCheck): LedgerResult<View> => {
  const meta: EventMeta = { seq: head.seq, epoch: head.epoch, timeMs: head.timeMs }
  let view = before
  for (const [index, recorded] of events.entries())
    try {
      const event = check.read(recorded)
      if (event !== undefined) view = foldEvent(view, event, meta)
    } catch (error) {
      return faulty(
        'cannot_fold',
        `event ${index} (${recorded.type}) of commit ${head.seq} cannot be folded: ${describeError(error)}`,
      )
    }
  return ok(view)
}
