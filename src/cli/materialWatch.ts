import { LIMITS } from '../../schemas/limits.ts'
import type { Lid } from '../core/instruction.ts'
import type { Hsm, Telemetry } from '../core/ports.ts'
import type { LedgerService } from '../ledger/ledger.ts'
import { type MaterialReport, reportMaterial, toVersionName } from './materialReport.ts'

export interface MaterialWatch {
  /** Whether the last comparison found that the HSM lacks this version's material. */
  isMissing(lid: Lid, version: number): boolean
  /**
   * Compares the tokens of the open backends that are wanted with the ledger, side by side; one that is away is tried
   * again until it answers.
   */
  compare(isWanted: (backend: string) => boolean): Promise<void>
  reports(): readonly MaterialReport[]
  stop(): void
}

interface Options {
  readonly hsm: Hsm
  readonly ledger: LedgerService
  readonly telemetry: Telemetry
}

export const createMaterialWatch = ({ hsm, ledger, telemetry }: Options): MaterialWatch => {
  const reports = new Map<string, MaterialReport>()
  const timers = new Map<string, NodeJS.Timeout>()
  let isStopped = false

  const listOpen = () => hsm.status().map(({ backend }) => backend)
  const compareOne = async (backend: string): Promise<void> => {
    const signal = AbortSignal.timeout(LIMITS.hsmStartDeadlineMs)
    const report = await reportMaterial({ hsm, ledger, telemetry }, backend, signal)
    clearTimeout(timers.get(backend))
    if (report !== undefined) reports.set(backend, report)
    if (report !== undefined || isStopped || !listOpen().includes(backend)) return
    const again = setTimeout(() => void compareOne(backend), LIMITS.hsmProbeIntervalMaxMs)
    timers.set(backend, again.unref())
  }
  return {
    isMissing: (lid, version) => {
      const name = toVersionName(lid, version)
      return [...reports.values()].some(({ missing }) => missing.has(name))
    },
    async compare(isWanted) {
      await Promise.all(listOpen().filter(isWanted).map(compareOne))
    },
    reports: () => [...reports.values()],
    stop() {
      isStopped = true
      for (const timer of timers.values()) clearTimeout(timer)
    },
  }
}
