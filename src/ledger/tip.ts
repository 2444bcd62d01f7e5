import type { EventMeta } from '../../projections/projection.ts'
import { createEmptyView, foldEvent, moveTo, type View } from '../../projections/view.ts'
import { extendChain, startChain, stepChain } from '../core/chain.ts'
import type { ChainState, Pin } from '../core/chainState.ts'
import type { Commit, EncodedCommit } from '../core/commit.ts'
import { ok } from '../core/result.ts'
import type { StoredMessage } from './commitStream.ts'
import type { EventCheck } from './eventCheck.ts'
import { describeError, faulty, type LedgerResult } from './fault.ts'

/** The ledger as far as it is verified and folded: an immutable value, chain and view always at the same commit. */
export interface Tip {
  readonly chain: ChainState
  readonly view: View
}

export interface Verifier {
  /** Before the first commit. */
  readonly start: Tip
  /**
   * Verifies the next message whole and folds it. Faults: `bad_commit` (nothing may be chained over it), `cannot_fold`;
   * both name the sequence, the latter the event's index and type too.
   */
  advance(tip: Tip, message: StoredMessage): LedgerResult<Tip>
  /** The tip after an ordinary commit of our own, whose events are folded into `view` already. */
  extend(tip: Tip, commit: EncodedCommit, folded: { readonly view: View; readonly timeMs: number }): Tip
}

export const createVerifier = (pin: Pin, check: EventCheck): Verifier => ({
  start: { chain: startChain(pin), view: createEmptyView(pin.origin) },
  advance(tip, message) {
    const step = stepChain(tip.chain, message, { signatures: 'all' })
    const [finding] = step.findings
    if (!step.ok || finding !== undefined)
      return faulty(
        'bad_commit',
        `sequence ${finding?.seq ?? message.seq} of the ledger is not a valid commit: ${finding?.reason ?? 'unknown'}. Nothing is appended after it; run ledger verify`,
      )
    const view = foldCommit(tip.view, step.commit, check)
    return view.ok ? ok({ chain: step.state, view: place(view.value, step.state, step.commit.head.timeMs) }) : view
  },
  extend(tip, commit, { view, timeMs }) {
    const chain = extendChain(tip.chain, commit)
    return { chain, view: place(view, chain, timeMs) }
  },
})

const place = (view: View, chain: ChainState, timeMs: number): View =>
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
