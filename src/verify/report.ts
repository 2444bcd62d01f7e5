import type { Finding } from '../core/chainState.ts'

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
  /** Which anchor that is. */
  readonly anchoredBy: string | undefined
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

/** The report without its lines, and with them. */
export const toReport = (found: Omit<Report, 'lines' | 'verdict'>): Report => {
  const verdict = toVerdict(found.findings.length, found.anchoredTo === found.lastSeq)
  return { ...found, verdict, lines: toLines({ ...found, verdict }) }
}

const toVerdict = (findings: number, isAnchored: boolean): VerdictCode => (findings > 0 ? 2 : isAnchored ? 0 : 1)

const toLines = (report: Omit<Report, 'lines'>): readonly string[] => [
  ...report.recovered.map(({ from, to, reason }) => `recovered ${from}..${to}: ${JSON.stringify(reason)}`),
  ...report.findings.map(({ seq, reason }) => `FAIL at ${seq}: ${reason}`),
  ...(report.findingsOmitted > 0 ? [`and ${report.findingsOmitted} findings more`] : []),
  ...(report.consequences > 0 ? [`and ${report.consequences} commits that follow a bad one`] : []),
  ...(report.unknownEvents > 0 ? [`${report.unknownEvents} events of types unknown to this verifier`] : []),
  `${report.commits} valid commits, ${report.events} events, epoch ${report.epoch}, head ${report.hash}`,
  toVerdictLine(report),
]

const toVerdictLine = (report: Omit<Report, 'lines'>): string => {
  switch (report.verdict) {
    case 0:
      return `ok to ${report.lastSeq}, anchored by ${report.anchoredBy}`
    case 1:
      return `unanchored tail ${report.anchoredTo + 1}..${report.lastSeq}`
    case 2:
      return `FAIL at ${report.findings[0]?.seq}: ${report.findings[0]?.reason}`
    default:
      return report.verdict satisfies never
  }
}
