import { LIMITS } from '../../schemas/limits.ts'
import type { LedgerMessage } from '../core/chainState.ts'
import type { Batch } from './readBatch.ts'

/**
 * Cuts an export into batches of whole lines; the last may lack its line end. A line longer than `exportLineBytesMax` is the
 * last, and may be cut off at some place beyond that. Each batch has a buffer of its own.
 */
export async function* toLineBatches(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Batch, void, undefined> {
  let parts: Uint8Array[] = []
  let length = 0
  for await (const chunk of chunks) {
    const end = length + chunk.length >= LIMITS.verifyBatchBytes ? chunk.lastIndexOf(NEWLINE) + 1 : 0
    if (end > 0) {
      yield { bytes: join([...parts, chunk.subarray(0, end)], length + end) }
      parts = []
      length = 0
    }
    // Copied, since who gives chunks may use their memory again.
    parts.push(chunk.slice(end))
    length += chunk.length - end
    if (length > LIMITS.exportLineBytesMax + LIMITS.verifyBatchBytes) break
  }
  if (length > 0) yield { bytes: join(parts, length) }
}

/** Messages of a stream in batches; each batch has a buffer of its own. */
export async function* toMessageBatches(
  messages: AsyncIterable<LedgerMessage>,
): AsyncGenerator<Batch, void, undefined> {
  let held: LedgerMessage[] = []
  let length = 0
  const flush = (): Batch => {
    const batch = {
      bytes: join(
        held.map(({ payload }) => payload),
        length,
      ),
      messages: held.map(({ payload, ...message }) => ({ ...message, length: payload.length })),
    }
    held = []
    length = 0
    return batch
  }
  for await (const message of messages) {
    held.push(message)
    length += message.payload.length
    if (length >= LIMITS.verifyBatchBytes || held.length >= LIMITS.verifyBatchMessagesMax) yield flush()
  }
  if (held.length > 0) yield flush()
}

const NEWLINE = 0x0a

/** Never from the shared pool of small buffers: a batch's buffer is given away. */
const join = (parts: readonly Uint8Array[], length: number): Uint8Array => {
  const bytes = new Uint8Array(length)
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}
