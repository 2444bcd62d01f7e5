import { LIMITS } from '../../schemas/limits.ts'
import type { LedgerMessage } from '../core/chainState.ts'
import { parseExportLine } from './exportLine.ts'
import type { Report, Verifier } from './verifier.ts'

/** Verifies an export (JSON lines) as its bytes come; a malformed or endless line is a finding, a read error is thrown. */
export const verifyExport = async (verifier: Verifier, chunks: AsyncIterable<Uint8Array>): Promise<Report> => {
  let number = 0
  for await (const line of splitLines(chunks, LIMITS.exportLineBytesMax)) {
    number++
    if (line === undefined) {
      verifier.addMalformed(`line ${number} is longer than ${LIMITS.exportLineBytesMax} bytes`)
      break
    }
    const message = parseExportLine(line)
    if (message.ok) verifier.add(message.value)
    else verifier.addMalformed(`line ${number}: ${message.error}`)
  }
  return verifier.finish()
}

/** Verifies messages from a stream; `lastSeq` is the stream's last sequence when the run started. */
export const verifyMessages = async (
  verifier: Verifier,
  messages: AsyncIterable<LedgerMessage>,
  lastSeq: number,
): Promise<Report> => {
  for await (const message of messages) {
    if (message.seq > lastSeq) break
    verifier.add(message)
    if (message.seq === lastSeq) break
  }
  return verifier.finish(lastSeq)
}

/** Lines without their ends; `undefined`, and nothing after it, for one longer than `bytesMax`. Empty lines are left out. */
async function* splitLines(
  chunks: AsyncIterable<Uint8Array>,
  bytesMax: number,
): AsyncGenerator<Uint8Array | undefined, void, undefined> {
  let parts: Uint8Array[] = []
  let length = 0
  for await (const chunk of chunks) {
    let at = 0
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, at)) {
      parts.push(chunk.subarray(at, end))
      length += end - at
      if (length > bytesMax) return yield undefined
      if (length > 0) yield Buffer.concat(parts)
      parts = []
      length = 0
      at = end + 1
    }
    parts.push(chunk.subarray(at))
    length += chunk.length - at
    if (length > bytesMax) return yield undefined
  }
  if (length > 0) yield Buffer.concat(parts)
}

const NEWLINE = 0x0a
