import { LIMITS } from '../../schemas/limits.ts'
import type { LedgerMessage } from '../core/chainState.ts'
import { toLineBatches, toMessageBatches } from './batches.ts'
import { parseExportLine } from './exportLine.ts'
import type { Batch, ReadItem } from './readBatch.ts'
import { createReaders, type FinishedBatch, type Readers } from './readers.ts'
import type { Report } from './report.ts'
import type { Verifier } from './verifier.ts'

/**
 * Verifies an export (JSON lines) as its bytes come; a malformed or endless line is a finding, a read error is thrown. The
 * readers are the caller's to close.
 */
export const verifyExport = async (
  verifier: Verifier,
  chunks: AsyncIterable<Uint8Array>,
  readers: Readers = createReaders(0),
): Promise<Report> => {
  await addExport(verifier, chunks, readers)
  return verifier.finish()
}

/** As {@link verifyExport}, for one of several exports that follow on each other. False where reading must end. */
export const addExport = async (
  verifier: Verifier,
  chunks: AsyncIterable<Uint8Array>,
  readers: Readers,
): Promise<boolean> => {
  let number = 0
  for await (const { bytes, items } of readInOrder(toLineBatches(chunks), readers, verifier))
    for (const item of items) {
      number++
      if (isVouched(verifier, item)) continue
      const { start, end } = item
      if (end - start > LIMITS.exportLineBytesMax) {
        verifier.addMalformed(`line ${number} is longer than ${LIMITS.exportLineBytesMax} bytes`)
        return false
      }
      const message = parseExportLine(bytes.subarray(start, end))
      if (message.ok) verifier.add(message.value)
      else verifier.addMalformed(`line ${number}: ${message.error}`)
    }
  return true
}

/** Verifies messages from a stream; `lastSeq` is the stream's last sequence when the run started. */
export const verifyMessages = async (
  verifier: Verifier,
  messages: AsyncIterable<LedgerMessage>,
  lastSeq: number,
  readers: Readers = createReaders(0),
): Promise<Report> => {
  for await (const { bytes, items, messages: metas } of readInOrder(
    toMessageBatches(upTo(messages, lastSeq)),
    readers,
    verifier,
  ))
    for (const [index, item] of items.entries()) {
      const meta = metas?.[index]
      if (meta === undefined || isVouched(verifier, item)) continue
      const { length: _length, ...message } = meta
      verifier.add({ ...message, payload: bytes.subarray(item.start, item.end) })
    }
  return verifier.finish(lastSeq)
}

const isVouched = (verifier: Verifier, { vouched }: ReadItem): boolean =>
  vouched !== undefined && verifier.addVouched(vouched)

/** Keeps all readers busy and no more than a few batches in memory. */
async function* readInOrder(
  batches: AsyncIterable<Batch>,
  readers: Readers,
  verifier: Verifier,
): AsyncGenerator<FinishedBatch & Pick<Batch, 'messages'>, void, undefined> {
  const ahead: Promise<FinishedBatch & Pick<Batch, 'messages'>>[] = []
  for await (const batch of batches) {
    const reading = readers.read(batch, verifier.readOptions()).then((finished) => ({ ...finished, ...toMetas(batch) }))
    // It is awaited below, maybe after another one has failed.
    reading.catch(() => undefined)
    ahead.push(reading)
    const first = ahead.length >= readers.width * LIMITS.verifyBatchesAhead ? ahead.shift() : undefined
    if (first !== undefined) yield await first
  }
  for (const reading of ahead) yield await reading
}

const toMetas = ({ messages }: Batch): Pick<Batch, 'messages'> => (messages === undefined ? {} : { messages })

async function* upTo(messages: AsyncIterable<LedgerMessage>, lastSeq: number): AsyncGenerator<LedgerMessage> {
  for await (const message of messages) {
    if (message.seq > lastSeq) return
    yield message
    if (message.seq === lastSeq) return
  }
}
