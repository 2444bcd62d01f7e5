import type { IncomingMessage } from 'node:http'
import type { FastifyRequest } from 'fastify'
import { LIMITS } from '../../schemas/limits.ts'

/** A body as it was read. One that is larger than the limit is not kept: only that it was, is. */
export interface CollectedBody {
  readonly bytes: Buffer
  readonly isTooLarge: boolean
}

const EMPTY: CollectedBody = { bytes: Buffer.alloc(0), isTooLarge: false }

/** Whether Fastify's `request.body` is what {@link collectBody} made. */
export const toCollectedBody = (body: unknown): CollectedBody =>
  typeof body === 'object' && body !== null && 'bytes' in body && 'isTooLarge' in body && Buffer.isBuffer(body.bytes)
    ? { bytes: body.bytes, isTooLarge: body.isTooLarge === true }
    : EMPTY

/** Fastify's content type parser for everything: reads the bytes and judges nothing, so that the pipeline can. */
export const collectBody = (
  request: FastifyRequest,
  payload: IncomingMessage,
  done: (error: Error | null, body?: CollectedBody) => void,
): void => {
  let chunks: Buffer[] = []
  let length = 0
  let isDone = false
  const finish = (error: Error | null, body?: CollectedBody) => {
    if (isDone) return
    isDone = true
    done(error, body)
  }
  const tooLarge = () => {
    chunks = []
    finish(null, { bytes: EMPTY.bytes, isTooLarge: true })
  }
  payload.on('data', (chunk: Buffer) => {
    // What comes after the limit is read and dropped, so that the caller sees the answer rather than a reset.
    if (isDone) return
    length += chunk.length
    if (length > LIMITS.requestBytesMax) tooLarge()
    else chunks.push(chunk)
  })
  payload.on('end', () => finish(null, { bytes: joinAndZero(chunks, length), isTooLarge: false }))
  payload.on('error', (error) => finish(error))
  payload.on('close', () => finish(new Error('the connection closed before the body ended')))
  if (Number(request.raw.headers['content-length']) > LIMITS.requestBytesMax) tooLarge()
}

/** One buffer of its own; the pieces, which may hold a plaintext, are zeroed. */
const joinAndZero = (chunks: readonly Buffer[], length: number): Buffer => {
  const joined = Buffer.alloc(length)
  let at = 0
  for (const chunk of chunks) {
    joined.set(chunk, at)
    at += chunk.length
    chunk.fill(0)
  }
  return joined
}
