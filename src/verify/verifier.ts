import { kindOf } from '../../schemas/eventKinds.ts'
import { reachedBy, settleChain, startChain, stepChain, stepVouched } from '../core/chain.ts'
import type { Finding, LedgerMessage, Pin, Step } from '../core/chainState.ts'
import { EMPTY_RANGE, rootOf } from '../core/compactRange.ts'
import type { Anchor } from '../core/ledgerEvents.ts'
import { type AnchorCheck, type AnchorOutcome, createAnchorCheck } from './anchorCheck.ts'
import type { NamedAnchor } from './anchors.ts'
import { createFindingLog } from './findings.ts'
import type { ReadOptions, Vouched } from './readBatch.ts'
import { type Report, toReport } from './report.ts'
import type { ResumePoint } from './resumePoint.ts'
import { createTreeCheck } from './treeCheck.ts'

/** Reads a ledger message by message in constant memory (beside anchors, recoveries and 1000 findings). */
export interface Verifier {
  add(message: LedgerMessage): Step | undefined
  /** Takes a commit that another thread has checked, if the chain has a place for it; if not, {@link add} must judge it. */
  addVouched(vouched: Vouched): boolean
  /** For who reads the next commits ahead of the chain. */
  readOptions(): ReadOptions
  /** Something that is not even a message, such as a malformed line of an export. */
  addMalformed(reason: string): void
  /** Something that no chain can tell, such as that a source ends before where another run began. */
  addFinding(finding: Finding): void
  /** `lastSeq` is the stream's own last sequence, where the source knows it: a cut that the stream admits is a finding. */
  finish(lastSeq?: number): Report
  /** Where a later run may go on, after {@link finish}: undefined while something stands in a gap. */
  toResumePoint(report: Report): ResumePoint | undefined
}

/** What a verification trusts, and how it reads. */
export interface VerifierOptions {
  readonly pin: Pin
  readonly anchors: readonly NamedAnchor[]
  readonly fast?: boolean
  /** Goes on there instead of at the beginning. Anchors of sizes before it cannot be compared: do not give any. */
  readonly resumed?: ResumePoint
  /** Keeps the Merkle tree although no checkpoint asks for it, for {@link Verifier.toResumePoint}. */
  readonly keepsTree?: boolean
}

/** Trusts nothing but `pin` and `anchors`. `fast` leaves out most signatures of ordinary commits, and nothing else. */
export const createVerifier = (options: VerifierOptions): Verifier => {
  const signatures = options.fast ? 'fast' : 'all'
  const { resumed } = options
  const anchors = createAnchorCheck(options.pin.origin, options.anchors)
  const log = createFindingLog()
  const tally = startTally(resumed)
  const tree = wantsTree(options) ? createTreeCheck(resumed?.range ?? EMPTY_RANGE, anchors.seeTree) : undefined
  let state = resumed?.chain ?? startChain(options.pin)
  if (resumed !== undefined) seeAgain(anchors, resumed)

  const note = (findings: readonly Finding[]): void => {
    for (const { seq, kind } of findings) if (kind === 'own') anchors.forget(seq)
    log.add(findings)
  }
  const settle = (): void => {
    const settled = settleChain(state)
    note(settled.findings)
    tree?.settle(state, settled.findings)
    state = settled.state
  }
  return {
    add(message) {
      const before = state
      const step = stepChain(before, message, { signatures })
      state = step.state
      note(step.findings)
      tree?.step(before, message, step)
      if (!step.ok) return step
      anchors.see(step.commit)
      countCommit(tally, step.commit.head.count, step.commit.events.filter(isUnknown).length)
      if (step.event?.type === 'LedgerRecovered') {
        const { from, to, reason, lost } = step.event
        log.recover()
        anchors.giveUp(lost)
        tally.lost.push(...lost)
        tally.recovered.push({ from, to, reason })
      }
      return step
    },
    addVouched({ message, commit, unknownEvents, leafHash }) {
      // Fast reading may owe the signature of the commit before, which only a special commit or the end would ask for.
      if (state.unchecked !== undefined) settle()
      const next = stepVouched(state, message, commit)
      if (next === undefined) return false
      state = next
      anchors.see(commit)
      tree?.add(leafHash, next.root)
      countCommit(tally, commit.head.count, unknownEvents)
      return true
    },
    readOptions: () => ({ signatures, keys: state.epochKey === undefined ? [] : [state.epochKey.raw] }),
    addMalformed(reason) {
      log.add([{ seq: reachedBy(state) + 1, reason, kind: 'lasting' }])
    },
    addFinding: (finding) => log.add([finding]),
    finish(known) {
      settle()
      const reached = reachedBy(state)
      const lastSeq = Math.max(known ?? 0, reached)
      if (lastSeq > reached) log.add([toMissing(reached + 1, lastSeq)])
      if (lastSeq === 0) log.add([{ seq: 1, reason: 'the ledger is empty', kind: 'lasting' }])
      const outcome = anchors.settle(lastSeq)
      log.add(outcome.findings)
      const { commits, unknownEvents, recovered } = tally
      const { findings, omitted } = log.standing()
      return toReport({
        ...{ lastSeq, hash: Buffer.from(state.hash).toString('hex'), ...toAnchored(outcome, resumed) },
        ...{ commits, events: state.events, unknownEvents, epoch: state.epoch, recovered },
        ...{ findings, findingsOmitted: omitted, consequences: log.consequences() },
      })
    },
    toResumePoint({ anchoredTo, anchoredBy }) {
      if (state.gap !== undefined || state.seq === 0 || tree === undefined) return undefined
      return { chain: state, range: tree.range(), ...tally, anchoredTo, anchoredBy }
    },
  }
}

/** What is counted and remembered beside the chain. */
type Tally = Pick<ResumePoint, 'commits' | 'unknownEvents' | 'lastCount'> & {
  readonly lost: Anchor[]
  readonly recovered: Report['recovered'][number][]
}
type MutableTally = { -readonly [K in keyof Tally]: Tally[K] }

const startTally = (resumed: ResumePoint | undefined): MutableTally => ({
  commits: resumed?.commits ?? 0,
  unknownEvents: resumed?.unknownEvents ?? 0,
  lastCount: resumed?.lastCount ?? 0,
  lost: [...(resumed?.lost ?? [])],
  recovered: [...(resumed?.recovered ?? [])],
})

const countCommit = (tally: MutableTally, count: number, unknown: number): void => {
  tally.commits++
  tally.unknownEvents += unknown
  tally.lastCount = count
}

const isUnknown = ({ type }: { readonly type: string }): boolean => kindOf(type) === undefined

const wantsTree = ({ keepsTree, anchors }: VerifierOptions): boolean =>
  keepsTree === true || anchors.some(({ checkpoint }) => checkpoint !== undefined)

/** An anchor of exactly the size where an earlier run ended is compared with what that run saw. */
const seeAgain = (anchors: AnchorCheck, { chain, range, lastCount, lost }: ResumePoint): void => {
  anchors.giveUp(lost)
  anchors.see({ head: { seq: chain.seq, count: lastCount }, hash: chain.hash })
  anchors.seeTree(chain.seq, () => rootOf(range), chain.root)
}

const toAnchored = (now: AnchorOutcome, resumed: ResumePoint | undefined) => {
  const { anchoredTo, anchoredBy } = resumed !== undefined && resumed.anchoredTo > now.anchoredTo ? resumed : now
  return { anchoredTo, anchoredBy }
}

const toMissing = (from: number, to: number): Finding => ({
  seq: from,
  reason: `the messages ${from} to ${to} are missing at the end`,
  kind: 'lasting',
})
