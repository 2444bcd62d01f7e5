import type { Pin } from '../core/chainState.ts'
import { ok, type Result } from '../core/result.ts'
import { parseCheckpointAnchor } from '../verify/anchors.ts'
import { createReaders, toThreadCount } from '../verify/readers.ts'
import type { Report } from '../verify/report.ts'
import { createVerifier } from '../verify/verifier.ts'
import { addExport } from '../verify/verifyExport.ts'
import { describeError } from './exit.ts'
import { openLedgerFiles } from './ledgerFiles.ts'
import { fault, type OperatorFault } from './operatorFault.ts'
import { showProgress } from './progress.ts'
import type { Terminal } from './terminal.ts'

export interface ArchiveTrust {
  readonly pin: Pin
  /** A checkpoint of this ledger that the archive must reach and meet. */
  readonly checkpoint: Uint8Array
}

/**
 * Verifies a whole archive, every signature, and that it is the ledger of which this checkpoint was signed: to its size at
 * least, without a finding. Gives the report.
 */
export const verifyArchive = async (
  dir: string,
  { pin, checkpoint }: ArchiveTrust,
  terminal: Pick<Terminal, 'stdin' | 'stderr' | 'showsProgress'>,
): Promise<Result<Report, OperatorFault>> => {
  const from = { name: 'checkpoint', origin: pin.origin, witnessKeys: [], isOfArchive: false }
  const anchor = parseCheckpointAnchor(checkpoint, from)
  if (!anchor.ok) return fault(anchor.error)
  const files = await openLedgerFiles(dir, { pin, anchors: [], witnessKeys: [] }, terminal)
  if (!files.ok) return files
  const verifier = createVerifier({ pin, anchors: [anchor.value, ...files.value.anchors] })
  const readers = createReaders(toThreadCount())
  try {
    for (const { open } of files.value.files) {
      const shown = showProgress(terminal, open(), ({ length }) => ({ what: 'verifying bytes', done: length }))
      if (!(await addExport(verifier, shown, readers))) break
    }
  } catch (error) {
    return fault(`the archive ${dir} cannot be read: ${describeError(error)}`)
  } finally {
    await readers.close()
  }
  const report = verifier.finish()
  if (report.verdict === 2) return fault(`the archive ${dir} does not verify: ${report.lines.at(-1)}`)
  return report.anchoredTo >= anchor.value.size
    ? ok(report)
    : fault(`the archive ${dir} is not vouched for up to ${anchor.value.size}`)
}
