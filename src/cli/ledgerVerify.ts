import { createReadStream } from 'node:fs'
import { LIMITS } from '../../schemas/limits.ts'
import { ok, type Result } from '../core/result.ts'
import { createReaders, type Readers, toThreadCount } from '../verify/readers.ts'
import { createVerifier, type Report, type VerdictCode, type Verifier } from '../verify/verifier.ts'
import { verifyExport, verifyMessages } from '../verify/verifyExport.ts'
import { type CliFault, describeError, unreachable } from './exit.ts'
import { openLedgerStream } from './ledgerStream.ts'
import { readTrust, type TrustFlags } from './ledgerTrust.ts'
import { showProgress } from './progress.ts'
import type { Settings } from './settings.ts'
import { type Terminal, write } from './terminal.ts'

export interface VerifyFlags extends TrustFlags {
  /** An export; without it the stream is read. `-` is standard input. */
  readonly file?: string
  readonly fast: boolean
  readonly json: boolean
}

/**
 * Verifies the ledger with nothing but the pinned root key and the anchors: neither HSM nor service are asked. Prints the
 * report and gives the verdict, which is the exit code: 0 ok, 1 unanchored tail, 2 FAIL. A fault means it could not run.
 */
export const verifyLedger = async (
  terminal: Terminal,
  settings: Settings,
  flags: VerifyFlags,
): Promise<Result<VerdictCode, CliFault>> => {
  // The head file is read before the stream's end is asked for: the ledger must have reached it by then. An export is a
  // copy of some earlier moment, so a head file of now says nothing about it unless it is named.
  const trust = await readTrust(flags, { dataDir: settings.dataDir, usesHeadFile: flags.file === undefined })
  if (!trust.ok) return trust
  const verifier = createVerifier({ ...trust.value, fast: flags.fast })
  // With --fast there is little to spread: the signatures that are left out are most of the work.
  const readers = createReaders(flags.fast ? 0 : toThreadCount())
  const report = await verifySource(terminal, settings, { flags, verifier, readers }).finally(() => readers.close())
  if (!report.ok) return report
  await write(terminal.stdout, flags.json ? toJson(report.value) : `${report.value.lines.join('\n')}\n`)
  return ok(report.value.verdict)
}

interface Run {
  readonly flags: VerifyFlags
  readonly verifier: Verifier
  readonly readers: Readers
}

const verifySource = (terminal: Terminal, settings: Settings, run: Run): Promise<Result<Report, CliFault>> =>
  run.flags.file === undefined ? verifyStream(terminal, settings, run) : verifyFile(terminal, run.flags.file, run)

const verifyStream = async (
  terminal: Terminal,
  settings: Settings,
  { verifier, readers }: Run,
): Promise<Result<Report, CliFault>> => {
  const stream = await openLedgerStream(settings)
  if (!stream.ok) return stream
  const { lastSeq, messages, close } = stream.value
  try {
    const shown = showProgress(terminal, messages(), (_count, { seq }) => `verifying ${seq} of ${lastSeq}`)
    return ok(await verifyMessages(verifier, shown, lastSeq, readers))
  } catch (error) {
    return unreachable(`cannot read the ledger to its end: ${describeError(error)}`)
  } finally {
    await close()
  }
}

const verifyFile = async (
  terminal: Terminal,
  file: string,
  { verifier, readers }: Run,
): Promise<Result<Report, CliFault>> => {
  let bytes = 0
  try {
    const chunks: AsyncIterable<Uint8Array> =
      file === '-' ? terminal.stdin : createReadStream(file, { highWaterMark: READ_BYTES })
    const shown = showProgress(terminal, chunks, (_count, chunk) => {
      bytes += chunk.length
      return `verifying, ${Math.floor(bytes / 2 ** 20)} MiB read`
    })
    return ok(await verifyExport(verifier, shown, readers))
  } catch (error) {
    return unreachable(`cannot read ${file === '-' ? 'standard input' : file}: ${describeError(error)}`)
  }
}

const READ_BYTES = LIMITS.verifyBatchBytes / 2

const VERDICTS = { 0: 'ok', 1: 'unanchored', 2: 'fail' } as const

const toJson = (report: Report): string =>
  `${JSON.stringify({
    verdict: VERDICTS[report.verdict],
    exit_code: report.verdict,
    last_seq: report.lastSeq,
    hash: report.hash,
    anchored_to: report.anchoredTo,
    epoch: report.epoch,
    commits: report.commits,
    events: report.events,
    unknown_events: report.unknownEvents,
    findings: report.findings.map(({ seq, reason }) => ({ seq, reason })),
    findings_omitted: report.findingsOmitted,
    consequences: report.consequences,
    recovered: report.recovered,
  })}\n`
