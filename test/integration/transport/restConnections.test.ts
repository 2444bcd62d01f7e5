import { connect, type Socket } from 'node:net'
import { describe, expect, test } from 'vitest'
import { LIMITS } from '../../../schemas/limits.ts'
import { provideRestGateways } from '../../fixtures/restGateway.ts'

const { start } = provideRestGateways()

/** Everything that a socket receives until it has been quiet or closed, at most `ms`. */
const readAll = (socket: Socket, isDone: (text: string) => boolean, ms = 10_000): Promise<string> =>
  new Promise((resolve) => {
    let text = ''
    const timer = setTimeout(() => resolve(text), ms)
    const finish = () => {
      clearTimeout(timer)
      resolve(text)
    }
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString()
      if (isDone(text)) finish()
    })
    socket.on('close', finish)
    socket.on('error', finish)
  })

describe('connections', () => {
  test('100 pipelined requests on one socket get 100 answers in order', async () => {
    const { port } = await start(async (incoming) => {
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 20))
      return { ok: true, requestId: incoming.requestId ?? '', body: { receipt: 1 }, dispose: () => {} }
    })
    const socket = connect(port, '127.0.0.1')
    const ids = Array.from({ length: 100 }, (_, index) => `r-${index}`)
    socket.write(ids.map((id) => `GET /v1/ledger/head HTTP/1.1\r\nHost: x\r\nRequest-Id: ${id}\r\n\r\n`).join(''))
    const text = await readAll(socket, (read) => (read.match(/HTTP\/1\.1 200/g) ?? []).length === 100)
    socket.destroy()
    expect([...text.matchAll(/request-id: (\S+)/g)].map((match) => match[1])).toEqual(ids)
  })

  test.each([
    ['garbage', 'HELLO\r\n\r\n', 400, 'INVALID_REQUEST'],
    ['a bad header', 'GET /v1/keys HTTP/1.1\r\nHost: x\r\na b: c\r\n\r\n', 400, 'INVALID_REQUEST'],
    [
      'both lengths',
      'POST /v1/keys HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      400,
      'INVALID_REQUEST',
    ],
    [
      'too many headers',
      `GET /v1/keys HTTP/1.1\r\nHost: x\r\nX: ${'x'.repeat(LIMITS.headerBytesMax)}\r\n\r\n`,
      413,
      'TOO_LARGE',
    ],
  ])('%s gets a clear answer and a closed connection', async (_title, sent, status, code) => {
    const { port } = await start()
    const socket = connect(port, '127.0.0.1')
    socket.write(sent)
    const text = await readAll(socket, () => false)
    expect(text).toMatch(new RegExp(`^HTTP/1.1 ${status} `))
    expect(text).toContain(`"code":"${code}"`)
  })

  test('close lets what is under way end, and cuts what does not', async () => {
    const { server, ask } = await start(async () => {
      await new Promise((resolve) => setTimeout(resolve, 200))
      return undefined
    })
    const answer = ask('/v1/ledger/head')
    await new Promise((resolve) => setTimeout(resolve, 50))
    await server.close(5_000)
    expect((await answer).status).toBe(200)

    const stuck = await start(() => new Promise(() => {}))
    const cut = stuck.ask('/v1/ledger/head').then(
      () => 'answered',
      () => 'cut',
    )
    await new Promise((resolve) => setTimeout(resolve, 50))
    await stuck.server.close(100)
    expect(await cut).toBe('cut')
  })
})
