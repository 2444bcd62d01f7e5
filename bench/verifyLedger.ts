import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createReadStream, createWriteStream } from 'node:fs'
import { encodeCommit, encodeEvent, toSubject } from '../src/core/commit.ts'
import { formatVkey } from '../src/verify/vkey.ts'
import { createHistory, createSigner, ORIGIN, STREAM, TIME_MS, toEncrypted } from '../test/fixtures/ledgerHistory.ts'

/** A ledger in a file, for measuring. */
export interface LedgerFile {
  readonly path: string
  readonly vkey: string
  readonly commits: number
  readonly events: number
  /** Of the messages, before base64. */
  readonly bytes: number
}

/** Writes an export of genesis, one epoch and `events` uses, `perCommit` a commit, without the decoded view. */
export const writeLedgerFile = async (path: string, events: number, perCommit: number): Promise<LedgerFile> => {
  const history = createHistory()
  history.created()
  history.opened('epoch-1')
  const out = createWriteStream(path)
  let bytes = 0
  const put = async (seq: number, subject: string, payload: Uint8Array): Promise<void> => {
    bytes += payload.length
    const message = Buffer.from(payload).toString('base64')
    if (!out.write(`${JSON.stringify({ stream: STREAM, seq, subject, message })}\n`)) await once(out, 'drain')
  }
  for (const { seq, subject, payload } of history.messages) await put(seq, subject, payload)
  const { kid, sign } = createSigner('epoch-1')
  let { seq, hash: prev, events: first } = history.state()
  for (let left = events; left > 0; left -= perCommit) {
    const encoded = Array.from({ length: Math.min(left, perCommit) }, (_, at) => encodeEvent(toEncrypted(first + at)))
    const subject = toSubject(['DataEncrypted'])
    const place = { origin: ORIGIN, epoch: 1, seq: seq + 1, first, timeMs: TIME_MS + seq, prev, subject }
    const commit = encodeCommit({ ...place, events: encoded, kid, sign })
    await put(commit.seq, subject, commit.message)
    seq = commit.seq
    prev = commit.hash
    first += encoded.length
  }
  out.end()
  await once(out, 'finish')
  return { path, vkey: formatVkey(history.pin), commits: seq, events: first, bytes }
}

/** Seconds to read the file and hash it by SHA-256 in one thread: less no verifier can do. */
export const measureHashing = async (path: string): Promise<number> => {
  const begin = performance.now()
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path, { highWaterMark: 256 * 1024 })) hash.update(chunk)
  hash.digest()
  return (performance.now() - begin) / 1000
}
