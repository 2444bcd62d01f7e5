import { open, rename, rm } from 'node:fs/promises'
import { STREAM_LEDGER } from '../../schemas/events.ts'
import { ok, type Result } from '../core/result.ts'
import { formatExportLine } from '../verify/exportLine.ts'
import { type CliFault, describeError, unreachable } from './exit.ts'
import { type LedgerStream, openLedgerStream } from './ledgerStream.ts'
import { showProgress } from './progress.ts'
import type { Settings } from './settings.ts'
import { type Terminal, write } from './terminal.ts'

/**
 * Writes the ledger's exact stored bytes as JSON lines to `out`, or to standard output. They hold identity tags, so the
 * file has mode 0600; it is there only once it is whole.
 */
export const exportLedger = async (
  terminal: Terminal,
  settings: Settings,
  out: string | undefined,
): Promise<Result<void, CliFault>> => {
  const stream = await openLedgerStream(settings)
  if (!stream.ok) return stream
  try {
    const copied =
      out === undefined || out === '-'
        ? await copy(terminal, stream.value, (line) => write(terminal.stdout, line))
        : await copyToFile(terminal, stream.value, out)
    const { lastSeq } = stream.value
    return copied === lastSeq
      ? ok(undefined)
      : unreachable(`the export ends at ${copied}, but the stream says that its last message is ${lastSeq}`)
  } catch (error) {
    return unreachable(`cannot export the ledger: ${describeError(error)}`)
  } finally {
    await stream.value.close()
  }
}

const copyToFile = async (terminal: Terminal, stream: LedgerStream, out: string): Promise<number> => {
  const unfinished = `${out}.partial`
  const file = await open(unfinished, 'w', 0o600)
  try {
    await file.chmod(0o600)
    const copied = await copy(terminal, stream, async (line) => {
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

/** Gives the sequence of the last message that was copied. */
const copy = async (
  terminal: Terminal,
  { messages, lastSeq }: LedgerStream,
  put: (line: string) => Promise<void>,
): Promise<number> => {
  let copied = 0
  for await (const message of showProgress(
    terminal,
    messages(),
    (_count, { seq }) => `exporting ${seq} of ${lastSeq}`,
  )) {
    await put(`${formatExportLine({ ...message, stream: STREAM_LEDGER })}\n`)
    copied = message.seq
  }
  return copied
}
