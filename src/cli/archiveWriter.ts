import { type FileHandle, link, mkdir, open, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { LIMITS } from '../../schemas/limits.ts'
import { STREAM_LEDGER } from '../../schemas/streams.ts'
import type { LedgerMessage } from '../core/chainState.ts'
import { ok, type Result } from '../core/result.ts'
import { formatExactLine, parseExportLine } from '../verify/exportLine.ts'
import { SEGMENT_NAME, toCheckpointName, toSegmentName } from './archiveNames.ts'
import { type CliFault, unreachable } from './exit.ts'

/** The end of an archive. */
export interface ArchiveEnd {
  /** The last sequence in the archive, and the number of its segment; 0 for none. */
  readonly seq: number
  readonly number: number
  /** The last message in it, as it was archived. */
  readonly message?: LedgerMessage
}

/** What is appended to an archive. */
export interface Appending {
  readonly dir: string
  readonly begin: ArchiveEnd
  /** The sequence after which the archive ends for now. */
  readonly last: number
  /** A checkpoint of that size. */
  readonly note?: Uint8Array
  readonly segmentBytes?: number
}

/** Where an archive ends; makes the directory if it is not there. What an aborted run has left does not count. */
export const findEnd = async (dir: string): Promise<Result<ArchiveEnd, CliFault>> => {
  await mkdir(dir, { recursive: true, mode: 0o700 })
  const names = (await readdir(dir)).filter((name) => SEGMENT_NAME.test(name)).sort()
  const name = names.at(-1)
  if (name === undefined) return ok({ seq: 0, number: 0 })
  const line = await readLastLine(join(dir, name))
  const message = line === undefined ? undefined : parseExportLine(line)
  return message?.ok
    ? ok({ seq: message.value.seq, number: Number.parseInt(name, 10), message: message.value })
    : unreachable(`${join(dir, name)} does not end in an export line`)
}

const readLastLine = async (path: string): Promise<Uint8Array | undefined> => {
  const file = await open(path)
  try {
    const { size } = await file.stat()
    const length = Math.min(size, LIMITS.exportLineBytesMax + 2)
    const { buffer } = await file.read(Buffer.alloc(length), 0, length, size - length)
    const end = buffer.at(-1) === NEWLINE ? length - 1 : length
    const line = buffer.subarray(buffer.subarray(0, end).lastIndexOf(NEWLINE) + 1, end)
    return line.length > 0 ? line : undefined
  } finally {
    await file.close()
  }
}

const NEWLINE = 0x0a

/**
 * Writes messages, which follow on the archive's end, as segments: each opened exclusively, in place only when it is whole
 * and synced, of mode 0444 and never written again. Gives the new end; throws what the file system throws.
 */
export const appendToArchive = async (
  messages: AsyncIterable<LedgerMessage>,
  appending: Appending,
): Promise<ArchiveEnd> => {
  const { dir, last, note } = appending
  const end = await writeSegments(messages, appending)
  if (note !== undefined && end.seq === last && end.number > 0) await writeOnce(dir, toCheckpointName(end.number), note)
  return end
}

const writeSegments = async (messages: AsyncIterable<LedgerMessage>, appending: Appending): Promise<ArchiveEnd> => {
  const { dir, begin, last, segmentBytes = LIMITS.archiveSegmentBytes } = appending
  let { seq, number } = begin
  let segment: Segment | undefined
  try {
    for await (const message of messages) {
      if (message.seq > last) break
      segment ??= await openSegment(dir, ++number)
      await segment.add(`${formatExactLine({ stream: STREAM_LEDGER, ...message })}\n`)
      seq = message.seq
      if (segment.bytes() >= segmentBytes) {
        await segment.finish()
        segment = undefined
      }
      if (seq === last) break
    }
    await segment?.finish()
    return { seq, number }
  } catch (error) {
    await segment?.drop()
    throw error
  }
}

interface Segment {
  add(line: string): Promise<void>
  bytes(): number
  finish(): Promise<void>
  drop(): Promise<void>
}

const openSegment = async (dir: string, number: number): Promise<Segment> => {
  const partial = join(dir, `${toSegmentName(number)}.partial`)
  // What a killed run has left: it was never in place.
  await rm(partial, { force: true })
  const file = await open(partial, 'wx', 0o600)
  let written = 0
  return {
    bytes: () => written,
    async add(line) {
      written += Buffer.byteLength(line)
      await file.appendFile(line)
    },
    finish: () => putInPlace(file, { dir, partial, name: toSegmentName(number) }),
    async drop() {
      await file.close()
      await rm(partial, { force: true })
    },
  }
}

/** A link fails where the name is taken: what stands there is never replaced. */
const putInPlace = async (
  file: FileHandle,
  { dir, partial, name }: { readonly dir: string; readonly partial: string; readonly name: string },
): Promise<void> => {
  try {
    await file.chmod(0o444)
    await file.sync()
  } finally {
    await file.close()
  }
  await link(partial, join(dir, name))
  await rm(partial)
  const folder = await open(dir)
  await folder.sync().finally(() => folder.close())
}

/** Writes a small file once; the same bytes there already are no fault, others are. */
const writeOnce = async (dir: string, name: string, bytes: Uint8Array): Promise<void> => {
  const present = await readFile(join(dir, name)).catch(() => undefined)
  if (present?.equals(bytes)) return
  const partial = join(dir, `${name}.partial`)
  await rm(partial, { force: true })
  const file = await open(partial, 'wx', 0o600)
  await file.writeFile(bytes)
  await putInPlace(file, { dir, partial, name })
}
