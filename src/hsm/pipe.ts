import type { Socket } from 'node:net'
import { LIMITS } from '../../schemas/limits.ts'
import { must } from '../core/result.ts'
import { decodeWire, encodeWire, sizeOf } from './wireCodec.ts'

const LENGTH_BYTES = 4

/** One message on its way: encoded only when its batch is, and then only if it is still wanted. */
export interface Outbound {
  readonly message: unknown
  isWanted?(): boolean
  /** Called once, after the message was encoded or dropped; the place to dispose secrets that were only for it. */
  done?(): void
}

export interface Pipe {
  send(outbound: Outbound): void
  end(): void
}

/**
 * Messages over a stream, in frames of u32le length ‖ MessagePack array. What is sent in one turn of the event loop goes
 * in one frame; frames are zeroed on both sides once they were written or read, since they carry plaintext.
 */
export const createPipe = (socket: Socket, receive: (message: unknown) => void): Pipe => {
  let batch: Outbound[] = []
  const readFrames = createFrameReader((frame) => {
    const messages = decodeWire(frame)
    must(Array.isArray(messages), 'a frame is not a list of messages')
    for (const message of messages) receive(message)
  })
  socket.on('data', (chunk: Buffer) => {
    try {
      readFrames(chunk)
    } catch (error) {
      // What came is not ours to understand: the other side is broken, and its end is what the owner acts on.
      socket.destroy(error instanceof Error ? error : undefined)
    }
  })
  const writeFrame = (messages: readonly unknown[]): void => {
    if (messages.length === 0) return
    const frame = encodeWire(messages, LENGTH_BYTES)
    frame.writeUInt32LE(frame.length - LENGTH_BYTES)
    socket.write(frame, () => frame.fill(0))
  }
  const flush = (): void => {
    const sending = batch
    batch = []
    let messages: unknown[] = []
    let bytes = 0
    for (const outbound of sending) {
      if (outbound.isWanted?.() === false) continue
      bytes += sizeOf(outbound.message)
      messages.push(outbound.message)
      if (bytes < LIMITS.hsmBatchBytesMax) continue
      writeFrame(messages)
      messages = []
      bytes = 0
    }
    writeFrame(messages)
    for (const outbound of sending) outbound.done?.()
  }
  return {
    send(outbound) {
      if (batch.length === 0) setImmediate(flush)
      batch.push(outbound)
    },
    end: () => socket.end(),
  }
}

/** Collects chunks to whole frames; every chunk and every frame is zeroed when it has been read. */
const createFrameReader = (onFrame: (frame: Buffer) => void): ((chunk: Buffer) => void) => {
  const head = Buffer.alloc(LENGTH_BYTES)
  let headFill = 0
  let frame: Buffer | undefined
  let frameFill = 0
  return (chunk) => {
    let at = 0
    while (at < chunk.length) {
      if (frame === undefined) {
        const copied = chunk.copy(head, headFill, at, Math.min(chunk.length, at + LENGTH_BYTES - headFill))
        headFill += copied
        at += copied
        if (headFill < LENGTH_BYTES) break
        const length = head.readUInt32LE()
        must(length > 0 && length <= LIMITS.hsmFrameBytesMax, 'a frame is empty or too long')
        frame = Buffer.alloc(length)
        frameFill = 0
        headFill = 0
      }
      const copied = chunk.copy(frame, frameFill, at, Math.min(chunk.length, at + frame.length - frameFill))
      frameFill += copied
      at += copied
      if (frameFill === frame.length) {
        const whole = frame
        frame = undefined
        try {
          onFrame(whole)
        } finally {
          whole.fill(0)
        }
      }
    }
    chunk.fill(0)
  }
}
