import { readFile } from 'node:fs/promises'
import { STREAM_CHECKPOINTS } from '../../schemas/streams.ts'
import { parseCheckpointText } from '../core/checkpoint.ts'
import { ok, type Result } from '../core/result.ts'
import { parseNote } from '../core/signedNote.ts'
import { appendToArchive, findEnd } from './archiveWriter.ts'
import { type CliFault, describeError, misused, unreachable } from './exit.ts'
import { type LedgerStreams, openLedgerStreams } from './ledgerStream.ts'
import { readNewestCheckpoint } from './newestCheckpoint.ts'
import { showProgress } from './progress.ts'
import type { Settings } from './settings.ts'
import { type Terminal, write } from './terminal.ts'

export interface ArchiveFlags {
  readonly dir: string
  /** A checkpoint; the archive then ends at its size and keeps it. */
  readonly checkpoint: string | undefined
  /** The same with the newest one in `KMS_CHECKPOINTS`. */
  readonly usesNewest: boolean
  /** The one stream to read; all of the ledger's without it. */
  readonly stream: string | undefined
}

/**
 * Writes what the archive lacks of the ledger, as segments: each opened exclusively, in place only when it is whole and
 * synced, of mode 0444 and never written again. Nothing is judged here: `ledger verify --file DIR` does that.
 */
export const archiveLedger = async (
  terminal: Terminal,
  settings: Settings,
  flags: ArchiveFlags,
): Promise<Result<void, CliFault>> => {
  // Before the ledger's end is asked for: the ledger must have reached it by then.
  const note = await findCheckpoint(settings, flags)
  if (!note.ok) return note
  const streams = await openLedgerStreams(settings, flags.stream)
  if (!streams.ok) return streams
  try {
    const begin = await findEnd(flags.dir)
    if (!begin.ok) return begin
    const { seq, number } = begin.value
    const last = note.value?.size ?? streams.value.lastSeq
    const why = explainRefusal(streams.value, seq, last)
    if (why !== undefined) return misused(why)
    const messages = streams.value.messages(seq + 1)
    const shown = showProgress(terminal, messages, (one) => ({ what: 'archiving', done: one.seq, total: last }))
    const appending = { dir: flags.dir, begin: begin.value, last }
    const done = await appendToArchive(shown, { ...appending, ...(note.value && { note: note.value.bytes }) })
    if (done.seq !== last) return unreachable(`the archive ends at ${done.seq}, but the ledger at ${last}`)
    await write(terminal.stdout, `archived ${seq + 1}..${last} as segments ${number + 1}..${done.number}\n`)
    return ok(undefined)
  } catch (error) {
    return unreachable(`cannot archive the ledger: ${describeError(error)}`)
  } finally {
    await streams.value.close()
  }
}

/** Why what the streams have does not go on from an archive that ends at `archived`, up to `last`. */
const explainRefusal = ({ begin, lastSeq }: LedgerStreams, archived: number, last: number): string | undefined => {
  if (begin.seq > archived + 1)
    return `the archive ends at ${archived}, and the ledger's streams begin at ${begin.seq}, in ${begin.stream}: go on with the archive that has what is between`
  if (last > lastSeq) return `the checkpoint is of size ${last}, the ledger ends before it`
  return last < archived ? `the archive ends at ${archived}, beyond the checkpoint of size ${last}` : undefined
}

interface SizedNote {
  readonly size: number
  readonly bytes: Uint8Array
}

const findCheckpoint = async (
  settings: Settings,
  { checkpoint, usesNewest }: ArchiveFlags,
): Promise<Result<SizedNote | undefined, CliFault>> => {
  if (checkpoint !== undefined && usesNewest) return misused('--checkpoint and --newest-checkpoint exclude each other')
  if (checkpoint !== undefined) return readCheckpoint(checkpoint)
  if (!usesNewest) return ok(undefined)
  const bytes = await readNewestCheckpoint(settings)
  return bytes.ok ? toSized(bytes.value, `the newest message of ${STREAM_CHECKPOINTS}`) : bytes
}

const readCheckpoint = async (file: string): Promise<Result<SizedNote, CliFault>> => {
  try {
    return toSized(await readFile(file), file)
  } catch (error) {
    return unreachable(`--checkpoint: ${describeError(error)}`)
  }
}

const toSized = (bytes: Uint8Array, from: string): Result<SizedNote, CliFault> => {
  const note = parseNote(bytes)
  const checkpoint = note.ok ? parseCheckpointText(note.value.text) : note
  return checkpoint.ok ? ok({ size: checkpoint.value.size, bytes }) : unreachable(`${from}: ${checkpoint.error}`)
}
