import { ok } from '../../core/result.ts'
import { faulty, type LedgerResult } from '../fault.ts'
import type { Head } from '../headFile.ts'

export interface FoundLedger {
  readonly origin: string
  readonly lastSeq: number
  /** Where the head file is, for the message. */
  readonly path: string
  readonly trustOnFirstUse: boolean
}

/**
 * Compares the head file with the stream before anything is read. The anchor that comes back has still to be met at its
 * size. Faults: `stream_empty`, `head_file_missing`, `wrong_origin`, `shorter_than_anchor`.
 */
export const checkHead = (anchor: Head | undefined, found: FoundLedger): LedgerResult<Head | undefined> => {
  if (anchor !== undefined && anchor.origin !== found.origin)
    return faulty(
      'wrong_origin',
      `the head file ${found.path} is of ledger ${anchor.origin}, not ${found.origin}; the data directory mixes two ledgers`,
    )
  if (anchor !== undefined && anchor.size > found.lastSeq)
    return faulty(
      'shorter_than_anchor',
      `the stream ends at ${found.lastSeq}, but the head file ${found.path} remembers commit ${anchor.size}: commits ${found.lastSeq + 1} to ${anchor.size} are missing. Restore the JetStream store they are in`,
    )
  if (found.lastSeq === 0) return faulty('stream_empty', 'the stream holds no ledger; run init')
  if (anchor === undefined && !found.trustOnFirstUse)
    return faulty(
      'head_file_missing',
      `there is no head file ${found.path}, so nothing tells whether the end of the ledger was cut off. Restore it, or start once with --trust-on-first-use if the ledger of ${found.lastSeq} commits is known to be whole`,
    )
  return ok(anchor)
}
