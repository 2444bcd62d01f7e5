import { open, rename, rm } from 'node:fs/promises'
import { SUBJECT_STATE } from '../../schemas/streams.ts'
import { ok, type Result } from '../core/result.ts'
import { formatExportLine } from '../verify/exportLine.ts'
import { type CliFault, describeError, unreachable } from './exit.ts'
import { type LedgerStreams, openLedgerStreams } from './ledgerStream.ts'
import { showProgress } from './progress.ts'
import type { Settings } from './settings.ts'
import { type Terminal, write } from './terminal.ts'

export interface ExportFlags {
  /** A file; standard output without it or for `-`. */
  readonly out: string | undefined
  /** Only commits that change state: enough to make every view of keys anew, and no ledger that can be verified. */
  readonly stateOnly: boolean
  /** The one stream to read; all of the ledger's without it. */
  readonly stream: string | undefined
}

/**
 * Writes the ledger's exact stored bytes as JSON lines. They hold identity tags, so the
 * file has mode 0600; it is there only once it is whole.
 */
export const exportLedger = async (
  terminal: Terminal,
  settings: Settings,
  flags: ExportFlags,
): Promise<Result<void, CliFault>> => {
  const { out } = flags
  const streams = await openLedgerStreams(settings, flags.stream)
  if (!streams.ok) return streams
  const { begin, lastSeq, close } = streams.value
  if (begin.seq > 1)
    terminal.stderr.write(`the export begins at ${begin.seq}, in ${begin.stream}: the archive has what is before\n`)
  try {
    const copied =
      out === undefined || out === '-'
        ? await copy({ terminal, streams: streams.value, flags }, (line) => write(terminal.stdout, line))
        : await copyToFile({ terminal, streams: streams.value, flags }, out)
    return copied === lastSeq
      ? ok(undefined)
      : unreachable(`the export ends at ${copied}, but the stream says that its last message is ${lastSeq}`)
  } catch (error) {
    return unreachable(`cannot export the ledger: ${describeError(error)}`)
  } finally {
    await close()
  }
}

interface Copying {
  readonly terminal: Terminal
  readonly streams: LedgerStreams
  readonly flags: ExportFlags
}

const copyToFile = async (copying: Copying, out: string): Promise<number> => {
  const unfinished = `${out}.partial`
  const file = await open(unfinished, 'w', 0o600)
  try {
    await file.chmod(0o600)
    const copied = await copy(copying, async (line) => {
      await file.appendFile(line)
    })
    await file.sync()
    await rename(unfinished, out)
    return copied
  } catch (error) {
    await rm(unfinished, { force: true })
    throw error
  } finally {
    await file.close()
  }
}

/** Gives the sequence of the last message that was read. */
const copy = async ({ terminal, streams, flags }: Copying, put: (line: string) => Promise<void>): Promise<number> => {
  const { begin, messages, lastSeq } = streams
  // An empty stream ends before it begins.
  let reached = Math.min(begin.seq - 1, lastSeq)
  const shown = showProgress(terminal, messages(1), ({ seq }) => ({ what: 'exporting', done: seq, total: lastSeq }))
  for await (const message of shown) {
    reached = message.seq
    if (flags.stateOnly && message.subject !== SUBJECT_STATE) continue
    await put(`${formatExportLine(message)}\n`)
  }
  return reached
}
