import { LIMITS } from '../../schemas/limits.ts'
import type { Finding } from '../core/chainState.ts'

/** Findings of a run in bounded memory: what a `LedgerRecovered` can still name, and what nothing cures. */
export interface FindingLog {
  add(findings: readonly Finding[]): void
  /** A valid `LedgerRecovered` named all that could be cured. */
  recover(): void
  /** Commits that are wrong only because they follow another finding. */
  consequences(): number
  /** All that stands, by sequence, and how many more were found than are kept. */
  standing(): { readonly findings: readonly Finding[]; readonly omitted: number }
}

/** An empty log. */
export const createFindingLog = (): FindingLog => {
  const lasting = createList()
  let curable = createList()
  let consequences = 0
  return {
    add(findings) {
      for (const finding of findings)
        if (finding.kind === 'consequence') consequences++
        else if (finding.kind === 'lasting') lasting.push(finding)
        else curable.push(finding)
    },
    recover() {
      curable = createList()
      consequences = 0
    },
    consequences: () => consequences,
    standing() {
      const findings = [...lasting.kept, ...curable.kept].sort((a, b) => a.seq - b.seq)
      return { findings, omitted: lasting.omitted() + curable.omitted() }
    },
  }
}

const createList = () => {
  const kept: Finding[] = []
  let count = 0
  return {
    kept,
    push(finding: Finding) {
      count++
      if (kept.length < LIMITS.findingsReportedMax) kept.push(finding)
    },
    omitted: () => count - kept.length,
  }
}
