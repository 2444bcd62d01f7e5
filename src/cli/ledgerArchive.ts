import { readFile } from 'node:fs/promises'
import { STREAM_CHECKPOINTS } from '../../schemas/streams.ts'
import { parseCheckpointText } from '../core/checkpoint.ts'
import { ok, type Result } from '../core/result.ts'
import { parseNote } from '../core/signedNote.ts'
import { appendToArchive, findEnd } from './archiveWriter.ts'
import { type CliFault, describeError, misused, unreachable } from './exit.ts'
import { openLedgerStream } from './ledgerStream.ts'
import { readNewestCheckpoint } from './newestCheckpoint.ts'
import { showProgress } from './progress.ts'
import type { Settings } from './settings.ts'
import { type Terminal, write } from './terminal.ts'

export interface ArchiveFlags {
  readonly dir: string
  /** A checkpoint; the archive then ends at its size and keeps it. */
  readonly checkpoint?: string
  /** The same with the newest one in `KMS_CHECKPOINTS`. */
  readonly usesNewest?: boolean
  readonly stream: string
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
  const stream = await openLedgerStream(settings, flags.stream)
  if (!stream.ok) return stream
  try {
    const begin = await findEnd(flags.dir)
    if (!begin.ok) return begin
    const { seq, number } = begin.value
    const last = note.value?.size ?? stream.value.lastSeq
    if (last > stream.value.lastSeq) return misused(`the checkpoint is of size ${last}, the ledger ends before it`)
    if (last < seq) return misused(`the archive ends at ${seq}, beyond the checkpoint of size ${last}`)
    const messages = stream.value.messages(seq + 1)
    const shown = showProgress(terminal, messages, (one) => ({ what: 'archiving', done: one.seq, total: last }))
    const appending = { dir: flags.dir, stream: flags.stream, begin: begin.value, last }
    const done = await appendToArchive(shown, { ...appending, ...(note.value && { note: note.value.bytes }) })
    if (done.seq !== last) return unreachable(`the archive ends at ${done.seq}, but the ledger at ${last}`)
    await write(terminal.stdout, `archived ${seq + 1}..${last} as segments ${number + 1}..${done.number}\n`)
    return ok(undefined)
  } catch (error) {
    return unreachable(`cannot archive the ledger: ${describeError(error)}`)
  } finally {
    await stream.value.close()
  }
}

interface SizedNote {
  readonly size: number
  readonly bytes: Uint8Array
}

const findCheckpoint = async (
  settings: Settings,
  { checkpoint, usesNewest = false }: ArchiveFlags,
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
