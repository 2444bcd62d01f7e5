import { once } from 'node:events'
import { createServer, Socket } from 'node:net'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { Sensitive } from '../../../src/core/sensitive.ts'
import { createPipe } from '../../../src/hsm/pipe.ts'

const open: Disposable[] = []
afterEach(() => {
  for (const one of open.splice(0)) one[Symbol.dispose]()
})

/** Two ends of a real connection. */
const connect = async (): Promise<readonly [Socket, Socket]> => {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const near = new Socket().connect(typeof address === 'object' && address !== null ? address.port : 0, '127.0.0.1')
  const [far]: Socket[] = await once(server, 'connection')
  if (far === undefined) throw new Error('no connection')
  server.close()
  open.push({ [Symbol.dispose]: () => void near.destroy() }, { [Symbol.dispose]: () => void far.destroy() })
  return [near, far]
}

describe('the pipe between service and HSM host', () => {
  it('puts what was sent in one turn into one frame, in order', async () => {
    const [near, far] = await connect()
    const received: unknown[] = []
    createPipe(far, (message) => received.push(message))
    const pipe = createPipe(near, () => undefined)
    const write = vi.spyOn(near, 'write')
    for (let i = 0; i < 100; i += 1) pipe.send({ message: i })
    await vi.waitFor(() => expect(received).toHaveLength(100))
    expect(received).toEqual(Array.from({ length: 100 }, (_, i) => i))
    expect(write).toHaveBeenCalledTimes(1)
  })

  it('zeroes every frame once it was written, and every chunk once it was read', async () => {
    const [near, far] = await connect()
    const chunks: Buffer[] = []
    let secret: unknown
    createPipe(far, (message) => {
      secret = message
    })
    far.on('data', (chunk: Buffer) => void chunks.push(chunk))
    const frames: Buffer[] = []
    const write = near.write.bind(near)
    vi.spyOn(near, 'write').mockImplementation((frame: unknown, done: unknown) => {
      if (Buffer.isBuffer(frame)) frames.push(frame)
      return write(frame as Buffer, done as () => void)
    })
    using given = new Sensitive(Buffer.alloc(5_000, 0x5a))
    createPipe(near, () => undefined).send({ message: given })
    await vi.waitFor(() => expect(secret).toBeInstanceOf(Sensitive))
    expect(secret instanceof Sensitive && Buffer.from(secret.expose())).toEqual(Buffer.alloc(5_000, 0x5a))
    expect(frames).toHaveLength(1)
    await vi.waitFor(() => expect(Buffer.concat(frames).includes(0x5a)).toBe(false))
    expect(Buffer.concat(chunks).length).toBeGreaterThan(5_000)
    expect(Buffer.concat(chunks).includes(0x5a)).toBe(false)
  })

  it('reads frames however they are cut', async () => {
    const [near, far] = await connect()
    const received: unknown[] = []
    createPipe(far, (message) => received.push(message))
    const sent: Buffer[] = []
    vi.spyOn(near, 'write').mockImplementation((frame: unknown) => sent.push(Buffer.from(frame as Buffer)) > 0)
    const pipe = createPipe(near, () => undefined)
    for (let i = 0; i < 3; i += 1) {
      pipe.send({ message: { number: i, text: 'x'.repeat(i * 50) } })
      await new Promise((resolve) => setImmediate(resolve))
    }
    for (const byte of Buffer.concat(sent)) far.emit('data', Buffer.from([byte]))
    expect(received).toHaveLength(3)
    expect(received[2]).toEqual({ number: 2, text: 'x'.repeat(100) })
  })

  it('drops a message that nobody wants any more, and calls done for every one', async () => {
    const [near, far] = await connect()
    const received: unknown[] = []
    createPipe(far, (message) => received.push(message))
    const pipe = createPipe(near, () => undefined)
    const done = vi.fn()
    pipe.send({ message: 'unwanted', isWanted: () => false, done })
    pipe.send({ message: 'wanted', isWanted: () => true, done })
    await vi.waitFor(() => expect(received).toEqual(['wanted']))
    expect(done).toHaveBeenCalledTimes(2)
  })

  it('ends the connection on a frame that is too long or makes no sense', async () => {
    for (const bytes of [Buffer.from([0xff, 0xff, 0xff, 0xff]), Buffer.from([1, 0, 0, 0, 0xc1])]) {
      const [near, far] = await connect()
      far.on('error', () => undefined)
      createPipe(far, () => undefined)
      near.on('error', () => undefined)
      near.write(bytes)
      await new Promise((resolve) => far.once('close', resolve))
      expect(far.destroyed).toBe(true)
    }
  })
})
