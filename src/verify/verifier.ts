import { EVENTS } from '../../schemas/events.ts'
import { reachedBy, settleChain, startChain, stepChain, stepVouched } from '../core/chain.ts'
import type { Finding, LedgerMessage, Pin, Step } from '../core/chainState.ts'
import { createAnchorCheck } from './anchorCheck.ts'
import type { NamedAnchor } from './anchors.ts'
import { createFindingLog } from './findings.ts'
import type { Vouched } from './readBatch.ts'

/** 0 every commit good and the last one anchored; 1 good, but a tail that no anchor vouches for; 2 FAIL. 3, for the CLI, is that it could not run. */
export type VerdictCode = 0 | 1 | 2

/** What a run found. `lines` is the whole report for people, the verdict last. */
export interface Report {
  readonly verdict: VerdictCode
  readonly lines: readonly string[]
  /** N: the last sequence there is. */
  readonly lastSeq: number
  /** Hex hash of the last valid commit. */
  readonly hash: string
  /** A: the highest sequence a matching anchor vouches for. */
  readonly anchoredTo: number
  readonly commits: number
  readonly events: number
  readonly unknownEvents: number
  readonly epoch: number
  readonly findings: readonly Finding[]
  readonly findingsOmitted: number
  /** Commits that are invalid only because they follow a finding. */
  readonly consequences: number
  readonly recovered: readonly { readonly from: number; readonly to: number; readonly reason: string }[]
}

/** Reads a ledger message by message in constant memory (beside anchors, recoveries and 1000 findings). */
export interface Verifier {
  add(message: LedgerMessage): Step
  /** Takes a commit that another thread has checked, if the chain has a place for it; if not, {@link add} must judge it. */
  addVouched(vouched: Vouched): boolean
  /** Raw public keys that the next commits may be signed by. */
  epochKeys(): readonly Uint8Array[]
  /** Something that is not even a message, such as a malformed line of an export. */
  addMalformed(reason: string): void
  /** `lastSeq` is the stream's own last sequence, where the source knows it: a cut that the stream admits is a finding. */
  finish(lastSeq?: number): Report
}

/** Trusts nothing but `pin` and `anchors`. `fast` leaves out most signatures of ordinary commits, and nothing else. */
export const createVerifier = (options: {
  readonly pin: Pin
  readonly anchors: readonly NamedAnchor[]
  readonly fast?: boolean
}): Verifier => {
  const signatures = options.fast ? 'fast' : 'all'
  const anchors = createAnchorCheck(options.anchors)
  const log = createFindingLog()
  const recovered: Report['recovered'][number][] = []
  let state = startChain(options.pin)
  let unknownEvents = 0
  let commits = 0

  const note = (findings: readonly Finding[]): void => {
    for (const { seq, kind } of findings) if (kind === 'own') anchors.forget(seq)
    log.add(findings)
  }
  return {
    add(message) {
      const step = stepChain(state, message, { signatures })
      state = step.state
      note(step.findings)
      if (!step.ok) return step
      commits++
      anchors.see(step.commit)
      for (const { type } of step.commit.events) if (!Object.hasOwn(EVENTS, type)) unknownEvents++
      if (step.event?.type === 'LedgerRecovered') {
        const { from, to, reason, lost } = step.event
        log.recover()
        anchors.giveUp(lost)
        recovered.push({ from, to, reason })
      }
      return step
    },
    addVouched({ message, commit, unknownEvents: unknown }) {
      const next = options.fast ? undefined : stepVouched(state, message, commit)
      if (next === undefined) return false
      state = next
      commits++
      anchors.see(commit)
      unknownEvents += unknown
      return true
    },
    epochKeys: () => (state.epochKey === undefined ? [] : [state.epochKey.raw]),
    addMalformed(reason) {
      log.add([{ seq: reachedBy(state) + 1, reason, kind: 'lasting' }])
    },
    finish(known) {
      const settled = settleChain(state)
      state = settled.state
      note(settled.findings)
      const reached = reachedBy(state)
      const lastSeq = Math.max(known ?? 0, reached)
      if (lastSeq > reached) log.add([toMissing(reached + 1, lastSeq)])
      if (lastSeq === 0) log.add([{ seq: 1, reason: 'the ledger is empty', kind: 'lasting' }])
      const { anchoredTo, anchoredBy, findings: misfits } = anchors.settle(lastSeq)
      log.add(misfits)
      const { findings, omitted } = log.standing()
      const result = {
        verdict: toVerdict(findings.length, anchoredTo === lastSeq),
        lastSeq,
        hash: Buffer.from(state.hash).toString('hex'),
        anchoredTo,
        commits,
        events: state.events,
        unknownEvents,
        epoch: state.epoch,
        findings,
        findingsOmitted: omitted,
        consequences: log.consequences(),
        recovered,
      }
      return { ...result, lines: toLines(result, anchoredBy) }
    },
  }
}

const toMissing = (from: number, to: number): Finding => ({
  seq: from,
  reason: `the messages ${from} to ${to} are missing at the end`,
  kind: 'lasting',
})

const toVerdict = (findings: number, isAnchored: boolean): VerdictCode => (findings > 0 ? 2 : isAnchored ? 0 : 1)

const toLines = (report: Omit<Report, 'lines'>, anchoredBy: string | undefined): readonly string[] => [
  ...report.recovered.map(({ from, to, reason }) => `recovered ${from}..${to}: ${JSON.stringify(reason)}`),
  ...report.findings.map(({ seq, reason }) => `FAIL at ${seq}: ${reason}`),
  ...(report.findingsOmitted > 0 ? [`and ${report.findingsOmitted} findings more`] : []),
  ...(report.consequences > 0 ? [`and ${report.consequences} commits that follow a bad one`] : []),
  ...(report.unknownEvents > 0 ? [`${report.unknownEvents} events of types unknown to this verifier`] : []),
  `${report.commits} valid commits, ${report.events} events, epoch ${report.epoch}, head ${report.hash}`,
  toVerdictLine(report, anchoredBy),
]

const toVerdictLine = (report: Omit<Report, 'lines'>, anchoredBy: string | undefined): string => {
  switch (report.verdict) {
    case 0:
      return `ok to ${report.lastSeq}, anchored by ${anchoredBy}`
    case 1:
      return `unanchored tail ${report.anchoredTo + 1}..${report.lastSeq}`
    case 2:
      return `FAIL at ${report.findings[0]?.seq}: ${report.findings[0]?.reason}`
    default:
      return report.verdict satisfies never
  }
}
