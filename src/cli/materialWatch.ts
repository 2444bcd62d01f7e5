import { LIMITS } from '../../schemas/limits.ts'
import type { Lid } from '../core/instruction.ts'
import type { Hsm, Telemetry } from '../core/ports.ts'
import type { LedgerService } from '../ledger/ledger.ts'
import { type MaterialReport, reportMaterial, toVersionName } from './materialReport.ts'

export interface MaterialWatch {
  /** Whether the last comparison found that the HSM lacks this version's material. */
  isMissing(lid: Lid, version: number): boolean
  /** Compares the token of every open backend with the ledger; those that are away are tried again until they answer. */
  compare(): Promise<void>
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
  let timer: NodeJS.Timeout | undefined

  const listOpen = () => hsm.status().map(({ backend }) => backend)
  const compareOne = async (backend: string): Promise<boolean> => {
    const signal = AbortSignal.timeout(LIMITS.hsmStartDeadlineMs)
    const report = await reportMaterial({ hsm, ledger, telemetry }, backend, signal)
    if (report !== undefined) reports.set(backend, report)
    return report !== undefined
  }
  const compareAll = async (wanted: readonly string[]): Promise<void> => {
    // Side by side: one that hangs delays no other.
    const compared = await Promise.all(wanted.map((backend) => compareOne(backend)))
    const left = listOpen().filter((backend) => wanted.indexOf(backend) >= 0 && !compared[wanted.indexOf(backend)])
    clearTimeout(timer)
    if (left.length === 0) return
    timer = setTimeout(() => void compareAll(left), LIMITS.hsmProbeIntervalMaxMs)
    timer.unref()
  }
  return {
    isMissing: (lid, version) => {
      const name = toVersionName(lid, version)
      return [...reports.values()].some(({ missing }) => missing.has(name))
    },
    compare: () => compareAll(listOpen()),
    reports: () => [...reports.values()],
    stop: () => clearTimeout(timer),
  }
}
