import type { Pin } from '../core/chainState.ts'
import { ok, type Result } from '../core/result.ts'
import { createReaders, type Readers, toThreadCount } from '../verify/readers.ts'
import type { Report, VerdictCode } from '../verify/report.ts'
import { resumeVerifier } from '../verify/resumedVerifier.ts'
import type { ResumePoint } from '../verify/resumePoint.ts'
import { createVerifier, type Verifier } from '../verify/verifier.ts'
import { addExport, verifyMessages } from '../verify/verifyExport.ts'
import { type CliFault, describeError, unreachable } from './exit.ts'
import { type LedgerFiles, openLedgerFiles } from './ledgerFiles.ts'
import { readResumeFile, writeResumeFile } from './ledgerResume.ts'
import { type LedgerStreams, openLedgerStreams } from './ledgerStream.ts'
import { readTrust, type TrustFlags } from './ledgerTrust.ts'
import { showProgress } from './progress.ts'
import type { Settings } from './settings.ts'
import { type Terminal, write } from './terminal.ts'

export interface VerifyFlags extends TrustFlags {
  /** An export or the directory of an archive; without it the stream is read. `-` is standard input. */
  readonly file?: string
  /** The one stream to read, such as a mirror; all of the ledger's without it. */
  readonly stream?: string
  /** The file that says where an earlier run ended, and will say where this one did. */
  readonly resume?: string
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
  const { pin, anchors } = trust.value
  const files = flags.file === undefined ? ok(undefined) : await openLedgerFiles(flags.file, trust.value, terminal)
  if (!files.ok) return files
  const resumed = flags.resume === undefined ? ok(undefined) : await readResumeFile(flags.resume, pin, anchors)
  if (!resumed.ok) return resumed
  const point = resumed.value
  // What an archive keeps of the part that an earlier run has read was compared then.
  const kept = (files.value?.anchors ?? []).filter(({ size }) => size >= (point?.chain.seq ?? 0))
  const verifier = createVerifier({
    ...{ pin, anchors: [...anchors, ...kept], fast: flags.fast, keepsTree: flags.resume !== undefined },
    ...(point === undefined ? {} : { resumed: point }),
  })
  const report = await verifySource(terminal, settings, { flags, verifier, point, files: files.value })
  if (!report.ok) return report
  const saved = await saveResumeFile(flags.resume, { verifier, report: report.value, pin })
  if (!saved.ok) return saved
  await write(terminal.stdout, flags.json ? toJson(report.value, point) : `${report.value.lines.join('\n')}\n`)
  return ok(report.value.verdict)
}

interface Source {
  readonly flags: VerifyFlags
  readonly verifier: Verifier
  readonly point: ResumePoint | undefined
  readonly files: LedgerFiles | undefined
}

const verifySource = async (
  terminal: Terminal,
  settings: Settings,
  { flags, verifier, point, files }: Source,
): Promise<Result<Report, CliFault>> => {
  const readers = createReaders(toThreadCount())
  const run = { verifier: point === undefined ? verifier : resumeVerifier(verifier, point), readers, point }
  try {
    return files === undefined
      ? await verifyStreams(terminal, settings, { ...run, stream: flags.stream })
      : await verifyFiles(terminal, files, run)
  } finally {
    await readers.close()
  }
}

/** A run that ended in FAIL is no place to go on from. */
const saveResumeFile = async (
  file: string | undefined,
  { verifier, report, pin }: { readonly verifier: Verifier; readonly report: Report; readonly pin: Pin },
): Promise<Result<void, CliFault>> => {
  const next = file === undefined || report.verdict === 2 ? undefined : verifier.toResumePoint(report)
  return file === undefined || next === undefined ? ok(undefined) : writeResumeFile(file, next, pin)
}

interface Run {
  readonly verifier: Verifier
  readonly readers: Readers
  readonly point: ResumePoint | undefined
}

const verifyStreams = async (
  terminal: Terminal,
  settings: Settings,
  { verifier, readers, point, stream: name }: Run & { readonly stream: string | undefined },
): Promise<Result<Report, CliFault>> => {
  const streams = await openLedgerStreams(settings, name)
  if (!streams.ok) return streams
  const { lastSeq, messages, close } = streams.value
  try {
    const why = explainGap(streams.value, point?.chain.seq ?? 0)
    if (why !== undefined) return unreachable(why)
    const toProgress = ({ seq }: { readonly seq: number }) => ({ what: 'verifying', done: seq, total: lastSeq })
    // From the last commit of the earlier run on: that it still stands there is seen again.
    const shown = showProgress(terminal, messages(point?.chain.seq ?? 1), toProgress)
    return ok(await verifyMessages(verifier, shown, lastSeq, readers))
  } catch (error) {
    return unreachable(`cannot read the ledger to its end: ${describeError(error)}`)
  } finally {
    await close()
  }
}

/** What an archive must have shown before, if the streams do not begin where reading would. */
const explainGap = ({ begin }: LedgerStreams, verified: number): string | undefined =>
  begin.seq <= verified + 1
    ? undefined
    : `the ledger's streams begin at ${begin.seq}, in ${begin.stream}, and ${verified === 0 ? 'nothing before it is verified' : `the earlier run ended at ${verified}`}: ` +
      'the archive has what is before. Verify it by `chatelaine ledger verify --file DIR --resume FILE`, then go on by ' +
      '`chatelaine ledger verify --resume FILE`'

const verifyFiles = async (
  terminal: Terminal,
  files: LedgerFiles,
  { verifier, readers }: Run,
): Promise<Result<Report, CliFault>> => {
  const total = files.bytes === undefined ? {} : { total: Math.ceil(files.bytes / KIB) }
  let bytes = 0
  try {
    for (const { open } of files.files) {
      const shown = showProgress(terminal, open(), (chunk) => {
        bytes += chunk.length
        return { what: 'verifying KiB', done: Math.floor(bytes / KIB), ...total }
      })
      if (!(await addExport(verifier, shown, readers))) break
    }
    return ok(verifier.finish())
  } catch (error) {
    return unreachable(`cannot read the ledger's files to their end: ${describeError(error)}`)
  }
}

const KIB = 1024
const VERDICTS = { 0: 'ok', 1: 'unanchored', 2: 'fail' } as const

const toJson = (report: Report, point: ResumePoint | undefined): string =>
  `${JSON.stringify({
    verdict: VERDICTS[report.verdict],
    exit_code: report.verdict,
    last_seq: report.lastSeq,
    hash: report.hash,
    anchored_to: report.anchoredTo,
    anchored_by: report.anchoredBy,
    resumed_after: point?.chain.seq,
    epoch: report.epoch,
    commits: report.commits,
    events: report.events,
    unknown_events: report.unknownEvents,
    findings: report.findings.map(({ seq, reason }) => ({ seq, reason })),
    findings_omitted: report.findingsOmitted,
    consequences: report.consequences,
    recovered: report.recovered,
  })}\n`
