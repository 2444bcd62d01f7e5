import type { NatsConnection } from '@nats-io/nats-core'
import { connect } from '@nats-io/transport-node'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Client, createClient } from '../../../src/client/client.ts'
import type { ClientTransport } from '../../../src/client/clientTransport.ts'
import { createHttpClientTransport } from '../../../src/client/httpTransport.ts'
import { createNatsClientTransport } from '../../../src/client/natsTransport.ts'
import { createAdmission } from '../../../src/transport/admission.ts'
import type { HttpServer } from '../../../src/transport/httpServer.ts'
import { createNatsTransport, type NatsTransport } from '../../../src/transport/nats.ts'
import { createRestGateway } from '../../../src/transport/rest.ts'
import { type NatsServer, startNatsServer } from '../../fixtures/natsServer.ts'
import { createScriptedDispatch, LID } from '../../fixtures/scriptedDispatch.ts'
import { createTelemetryLog } from '../../fixtures/telemetryLog.ts'

const scripted = createScriptedDispatch(async (incoming, body) => {
  if (body['key_id'] === 'alias/gone') {
    return { ok: false, requestId: incoming.requestId ?? 'r', error: { code: 'KEY_NOT_FOUND', message: 'no such key' } }
  }
  if (body['key_id'] === 'alias/slow') await new Promise((resolve) => setTimeout(resolve, 2_000))
  return undefined
})

let server: NatsServer
let front: NatsConnection
let app: NatsConnection
let nats: NatsTransport
let rest: HttpServer
const transports: Partial<Record<'nats' | 'http', ClientTransport>> = {}

beforeAll(async () => {
  server = await startNatsServer()
  front = await connect({ ...server.login('kms-front'), noAsyncTraces: true })
  app = await connect({ ...server.login('app'), noAsyncTraces: true })
  const ports = { dispatch: scripted.dispatch, telemetry: createTelemetryLog(), admission: createAdmission() }
  nats = createNatsTransport({ ...ports, connection: front, version: '0.1.0' })
  await nats.join()
  await front.flush()
  rest = createRestGateway(ports)
  const port = await rest.listen({ host: '127.0.0.1', port: 0 })
  transports.nats = createNatsClientTransport({ connection: app, inboxPrefix: '_INBOX.app' })
  transports.http = createHttpClientTransport({ url: `http://127.0.0.1:${port}/` })
})
afterAll(async () => {
  await transports.nats?.close()
  await nats?.drain()
  await rest?.close(1_000)
  await Promise.all([front, app].map((connection) => connection?.close()))
  await server?.stop()
})

const clientOf = (kind: 'nats' | 'http'): Client => {
  const transport = transports[kind]
  if (transport === undefined) throw new Error('not started')
  return createClient({ transport, token: 'token', attemptsMax: 1 })
}

describe.each(['nats', 'http'] as const)('over %s', (kind) => {
  test('bytes come back as they were sent, with the receipt', async () => {
    const plaintext = Uint8Array.from({ length: 256 }, (_, index) => index)
    const reply = await clientOf(kind).encrypt({ key_id: LID, plaintext, encryption_context: { a: 'ü' } })
    expect([...reply.ciphertext_blob]).toEqual([...plaintext])
    expect(reply.receipt.seq).toBe(1)
    expect(reply.ciphertext_blob.buffer.byteLength).toBe(256)
    expect(scripted.seen.at(-1)?.body).toMatchObject({ key_id: LID, encryption_context: { a: 'ü' } })
  })

  test('token, request id and idempotency key arrive', async () => {
    await clientOf(kind).createKey({ key_spec: 'AES_256' }, { idempotencyKey: 'i-1', requestId: 'r-1' })
    expect(scripted.seen.at(-1)?.incoming).toMatchObject({
      operation: 'CreateKey',
      credentials: { authorization: 'Bearer token' },
      idempotencyKey: 'i-1',
      requestId: 'r-1',
    })
  })

  test('fields of path, query and body all arrive', async () => {
    await clientOf(kind).getKeyDependents({ key_id: 'alias/a/b', recursive: false, max_results: 3 })
    expect(scripted.seen.at(-1)?.body).toEqual({ key_id: 'alias/a/b', recursive: false, max_results: 3 })
    await clientOf(kind).untagResource({ key_id: LID, tag_keys: ['a&b', 'c=d'], if_revision: 2 })
    expect(scripted.seen.at(-1)?.body).toEqual({ key_id: LID, tag_keys: ['a&b', 'c=d'], if_revision: 2 })
    const tags = [{ key: 'team & co', value: 'ü' }]
    await clientOf(kind).listKeys({ tags, max_results: 1 })
    expect(scripted.seen.at(-1)?.body).toEqual({ tags, max_results: 1 })
    await clientOf(kind).decrypt({ ciphertext_blob: new Uint8Array(2) })
    expect(scripted.seen.at(-1)?.body).toEqual({ ciphertext_blob: Buffer.alloc(2) })
  })

  test('an error has code, message and request id', async () => {
    await expect(clientOf(kind).describeKey({ key_id: 'alias/gone' }, { requestId: 'r-2' })).rejects.toMatchObject({
      name: 'KmsError',
      code: 'KEY_NOT_FOUND',
      message: 'no such key',
      requestId: 'r-2',
      retryable: false,
    })
  })

  test('a call past its deadline is TIMEOUT', async () => {
    await expect(clientOf(kind).describeKey({ key_id: 'alias/slow' }, { timeoutMs: 50 })).rejects.toMatchObject({
      code: 'TIMEOUT',
    })
  })

  test('1,000 calls at 64 in flight each get their own answer', async () => {
    const client = clientOf(kind)
    let next = 0
    const work = async () => {
      while (next < 1_000) {
        const plaintext = Uint8Array.of(next >> 8, next & 0xff)
        next++
        const reply = await client.encrypt({ key_id: LID, plaintext })
        expect([...reply.ciphertext_blob]).toEqual([...plaintext])
      }
    }
    await Promise.all(Array.from({ length: 64 }, work))
  })
})

test('over NATS, no service is UNREACHABLE at once', async () => {
  await nats.leave()
  await front.flush()
  await expect(clientOf('nats').getLedgerHead()).rejects.toMatchObject({ code: 'UNREACHABLE', retryable: true })
  await nats.join()
  await front.flush()
})

test('over HTTP, a closed port is UNREACHABLE and a foreign server MALFORMED_REPLY', async () => {
  const to = (url: string) =>
    createClient({ transport: createHttpClientTransport({ url }), token: 't', attemptsMax: 1 })
  await expect(to('http://127.0.0.1:1').getLedgerHead()).rejects.toMatchObject({ code: 'UNREACHABLE' })
  await expect(to(server.monitorUrl).getLedgerHead()).rejects.toMatchObject({ code: 'MALFORMED_REPLY' })
})
