import { headers as createHeaders, type NatsConnection } from '@nats-io/nats-core'
import { connect } from '@nats-io/transport-node'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { toSubject } from '../../../schemas/contract.ts'
import { ERRORS } from '../../../schemas/errors.ts'
import { OPERATION_NAMES } from '../../../schemas/registry.ts'
import { encodeMsgpack } from '../../../src/core/encodeMsgpack.ts'
import type { Outgoing } from '../../../src/core/request.ts'
import { decodeStrictMsgpack } from '../../../src/core/strictMsgpack.ts'
import { createValidate } from '../../../src/pipeline/validate.ts'
import { createAdmission } from '../../../src/transport/admission.ts'
import { createNatsTransport, type NatsTransport } from '../../../src/transport/nats.ts'
import { createMalformedRequests } from '../../fixtures/malformed.ts'
import { type NatsServer, startNatsServer } from '../../fixtures/natsServer.ts'
import { createScriptedDispatch, LID } from '../../fixtures/scriptedDispatch.ts'
import { createTelemetryLog } from '../../fixtures/telemetryLog.ts'

const validate = createValidate()
const REPLY_WAIT_MS = 5_000

let server: NatsServer
let front: NatsConnection
let app: NatsConnection
let provision: NatsConnection

beforeAll(async () => {
  server = await startNatsServer()
  front = await connect({ ...server.login('kms-front'), noAsyncTraces: true })
  app = await connect({ ...server.login('app'), noAsyncTraces: true })
  provision = await connect({ ...server.login('provision'), noAsyncTraces: true })
})
afterAll(async () => {
  await Promise.all([front, app, provision].map((connection) => connection?.close()))
  await server?.stop()
})

const start = async (script?: Parameters<typeof createScriptedDispatch>[0], inFlightMax?: number) => {
  const scripted = createScriptedDispatch(script)
  const telemetry = createTelemetryLog()
  let refused = 0
  const transport = createNatsTransport({
    connection: front,
    dispatch: scripted.dispatch,
    telemetry,
    admission: createAdmission(inFlightMax),
    version: '0.1.0',
    onReplySubjectRefused: () => {
      refused++
    },
  })
  await transport.join()
  await front.flush()
  return { transport, telemetry, ...scripted, refused: () => refused }
}

const serving = async (
  run: (started: Awaited<ReturnType<typeof start>>) => Promise<void>,
  script?: Parameters<typeof createScriptedDispatch>[0],
) => {
  const started = await start(script)
  try {
    await run(started)
  } finally {
    await started.transport.drain()
  }
}

const ask = async (subject: string, body: Uint8Array, header: Readonly<Record<string, string>> = {}) => {
  const headers = createHeaders()
  for (const [name, value] of Object.entries(header)) headers.set(name, value)
  return app.request(subject, body, { timeout: REPLY_WAIT_MS, headers })
}
const utf8 = (text: string) => new TextEncoder().encode(text)
const decodeReply = (data: Uint8Array) =>
  decodeStrictMsgpack(data, { depthMax: 8, allowFloats: false, allowNil: false })

describe('requests', () => {
  test('in MessagePack carry bytes raw, both ways', () =>
    serving(async ({ seen, disposed }) => {
      const plaintext = Uint8Array.of(0, 1, 2, 255)
      const reply = await ask('kms.v1.encrypt', encodeMsgpack({ key_id: LID, plaintext }), {
        Authorization: 'Bearer t',
        'Content-Type': 'application/msgpack',
        'Request-Id': 'r-1',
        'Idempotency-Key': 'i-1',
      })
      expect(seen[0]?.incoming).toMatchObject({
        operation: 'Encrypt',
        transport: 'nats',
        credentials: { authorization: 'Bearer t' },
        requestId: 'r-1',
        idempotencyKey: 'i-1',
      })
      const decoded = decodeReply(reply.data)
      expect(decoded).toMatchObject({ ok: true, value: { ciphertext_blob: Buffer.from(plaintext), key_version: 1 } })
      expect(reply.headers?.get('Content-Type')).toBe('application/msgpack')
      expect(disposed).toEqual(['r-1'])
    }))

  test('without a content type are JSON, with bytes as base64', () =>
    serving(async () => {
      const reply = await ask('kms.v1.encrypt', utf8(JSON.stringify({ key_id: LID, plaintext: 'AAECAw==' })))
      expect(reply.json()).toMatchObject({ ciphertext_blob: 'AAECAw==' })
    }))

  test('of every operation have an endpoint', () =>
    serving(async ({ seen }) => {
      for (const name of OPERATION_NAMES) await ask(toSubject(name), new Uint8Array(0))
      expect(seen.map(({ incoming }) => incoming.operation)).toEqual(OPERATION_NAMES)
    }))

  test('that fail get code and status in headers, and the error body in the format of the request', () =>
    serving(
      async () => {
        for (const type of ['application/json', 'application/msgpack']) {
          const reply = await ask('kms.v1.describe-key', new Uint8Array(0), { 'Content-Type': type, 'Request-Id': 'r' })
          expect(reply.headers?.get('Nats-Service-Error')).toBe('KEY_NOT_FOUND')
          expect(reply.headers?.get('Nats-Service-Error-Code')).toBe('404')
          const body = type === 'application/json' ? { ok: true, value: reply.json() } : decodeReply(reply.data)
          expect(body).toEqual({
            ok: true,
            value: { error: { code: 'KEY_NOT_FOUND', message: 'no such key', request_id: 'r', retryable: false } },
          })
        }
      },
      async (incoming): Promise<Outgoing> => ({
        ok: false,
        requestId: incoming.requestId ?? '',
        error: { code: 'KEY_NOT_FOUND', message: 'no such key' },
      }),
    ))

  test('whose reply is larger than the server takes get INTERNAL rather than silence', () =>
    serving(
      async ({ telemetry, disposed }) => {
        const reply = await ask('kms.v1.encrypt', new Uint8Array(0))
        expect(reply.headers?.get('Nats-Service-Error')).toBe('INTERNAL')
        expect(telemetry.lines).toHaveLength(1)
        expect(disposed).toEqual([])
      },
      async (): Promise<Outgoing> => ({
        ok: true,
        requestId: 'r',
        body: { ciphertext_blob: new Uint8Array(2 * 1024 * 1024) },
        dispose: () => {},
      }),
    ))
})

describe('reply subjects', () => {
  test.each([
    'kms.ledger.state',
    'kms.ledger.usage',
    '$JS.API.STREAM.INFO.KMS_LEDGER',
    'kms.v1.encrypt',
    '_INBOX',
    '_INBOX.>',
  ])('a request that wants its reply at %s is dropped before anything is executed, and counted', (reply) =>
    serving(async ({ seen, refused }) => {
      app.publish('kms.v1.generate-random', utf8('{"number_of_bytes":8}'), { reply })
      app.publish('kms.v1.generate-random', utf8('{"number_of_bytes":8}'))
      await app.flush()
      await ask('kms.v1.get-ledger-head', new Uint8Array(0))
      expect(seen.map(({ incoming }) => incoming.operation)).toEqual(['GetLedgerHead'])
      expect(refused()).toBe(2)
    }),
  )
})

describe('the bound', () => {
  test('beyond it requests get OVERLOADED, and those within it are answered', async () => {
    let release = () => {}
    const held = new Promise<void>((resolve) => {
      release = resolve
    })
    const { transport } = await start(async () => {
      await held
      return undefined
    }, 2)
    const pending = Array.from({ length: 5 }, () => ask('kms.v1.get-ledger-head', new Uint8Array(0)))
    const first = await Promise.race(pending)
    expect(first.headers?.get('Nats-Service-Error')).toBe('OVERLOADED')
    expect(first.json()).toMatchObject({ error: { retryable: true } })
    release()
    const codes = (await Promise.all(pending)).map((reply) => reply.headers?.get('Nats-Service-Error') || 'OK')
    expect(codes.sort()).toEqual(['OK', 'OK', 'OVERLOADED', 'OVERLOADED', 'OVERLOADED'])
    await transport.drain()
  })
})

describe('roles', () => {
  const isAnswered = () =>
    app.request('kms.v1.get-ledger-head', new Uint8Array(0), { timeout: REPLY_WAIT_MS }).then(
      () => true,
      () => false,
    )

  test('after leave nothing is taken and the service is still discoverable; join takes requests again', async () => {
    const { transport } = await start()
    expect(await isAnswered()).toBe(true)
    await transport.leave()
    await front.flush()
    expect(transport.isServing()).toBe(false)
    expect(await isAnswered()).toBe(false)
    expect(await readService('INFO')).toMatchObject({ name: 'kms', endpoints: [] })
    await transport.join()
    await front.flush()
    expect(await isAnswered()).toBe(true)
    await transport.drain()
    expect(await isAnswered()).toBe(false)
  })

  test('changes asked for in a hurry end in the last one', async () => {
    const { transport } = await start()
    await Promise.all([transport.leave(), transport.join(), transport.leave(), transport.join()])
    await front.flush()
    expect(await isAnswered()).toBe(true)
    await transport.drain()
  })

  test('drain answers what is in flight', async () => {
    let release = () => {}
    const held = new Promise<void>((resolve) => {
      release = resolve
    })
    let arrived = () => {}
    const arrival = new Promise<void>((resolve) => {
      arrived = resolve
    })
    const { transport } = await start(async () => {
      arrived()
      await held
      return undefined
    })
    const reply = ask('kms.v1.get-ledger-head', new Uint8Array(0))
    await arrival
    const drained = transport.drain()
    release()
    expect(await drained).toBe(true)
    expect((await reply).json()).toHaveProperty('receipt')
  })
})

const readService = async (verb: 'INFO' | 'STATS' | 'PING'): Promise<unknown> =>
  (await provision.request(`$SRV.${verb}.kms`, new Uint8Array(0), { timeout: REPLY_WAIT_MS })).json()

test('what $SRV shows has the operations and counts, and nothing of keys, callers or contents', () =>
  serving(async () => {
    const marker = 'MARKER'
    await ask('kms.v1.describe-key', utf8(`{"key_id":"${marker}"}`), { Authorization: `Bearer ${marker}` })
    await ask('kms.v1.describe-key', utf8(`{"${marker}`), { Authorization: `Bearer ${marker}` })
    const shown = JSON.stringify([await readService('INFO'), await readService('STATS'), await readService('PING')])
    expect(shown).toContain('kms.v1.describe-key')
    expect(shown).not.toContain(marker)
    expect(shown).not.toContain('lid_')
  }))

test('1,000 malformed requests all get a clear 4xx, and none of them its content back', () =>
  serving(
    async ({ telemetry }) => {
      for (const { title, contentType, body, code } of createMalformedRequests(1_000, { keyId: LID })) {
        const reply = await ask(
          'kms.v1.encrypt',
          body,
          contentType === undefined ? {} : { 'Content-Type': contentType },
        )
        expect(reply.headers?.get('Nats-Service-Error'), title).toBe(code)
        expect(ERRORS[code].status).toBeLessThan(500)
      }
      expect(telemetry.lines).toEqual([])
    },
    async (incoming, body): Promise<Outgoing | undefined> => {
      const validated = validate(incoming.operation, body)
      return validated.ok ? undefined : { ok: false, requestId: 'r', error: validated.error }
    },
  ))

test('encoded replies and request bodies are zeroed once they are sent', () => {
  const published: Uint8Array[] = []
  const taken: Uint8Array[] = []
  const publish = front.publish.bind(front)
  front.publish = (subject, payload, options) => {
    if (payload instanceof Uint8Array) published.push(payload)
    publish(subject, payload, options)
  }
  return serving(
    async () => {
      const reply = await ask('kms.v1.encrypt', encodeMsgpack({ key_id: LID, plaintext: Buffer.alloc(64, 7) }), {
        'Content-Type': 'application/msgpack',
      })
      expect(decodeReply(reply.data)).toMatchObject({ value: { ciphertext_blob: Buffer.alloc(64, 7) } })
      front.publish = publish
      expect(published).toHaveLength(1)
      expect(published[0]?.every((byte) => byte === 0)).toBe(true)
      expect(taken[0]).toHaveLength(64)
      expect(taken[0]?.every((byte) => byte === 0)).toBe(true)
    },
    async (_incoming, body) => {
      if (body['plaintext'] instanceof Uint8Array) taken.push(body['plaintext'])
      return undefined
    },
  )
})

test('a reply published while the connection is down is sent whole after it is back', async () => {
  let arrived = () => {}
  const arrival = new Promise<void>((resolve) => {
    arrived = resolve
  })
  let release = () => {}
  const held = new Promise<void>((resolve) => {
    release = resolve
  })
  const connection = await connect({ ...server.login('kms-front'), noAsyncTraces: true, reconnectTimeWait: 50 })
  const scripted = createScriptedDispatch(async () => {
    arrived()
    await held
    return undefined
  })
  const transport: NatsTransport = createNatsTransport({
    connection,
    dispatch: scripted.dispatch,
    telemetry: createTelemetryLog(),
    admission: createAdmission(),
    version: '0.1.0',
  })
  await transport.join()
  await connection.flush()
  const reply = ask('kms.v1.encrypt', encodeMsgpack({ key_id: LID, plaintext: Buffer.alloc(64, 7) }), {
    'Content-Type': 'application/msgpack',
  })
  await arrival
  await connection.reconnect()
  const statuses = connection.status()
  for await (const { type } of statuses) {
    if (type === 'reconnecting') release()
    if (type === 'reconnect') break
  }
  // Either it goes out whole, or nats.js dropped it with the old connection: never zeros.
  const outcome = await reply.then(
    ({ data }) => decodeReply(data),
    () => 'dropped',
  )
  if (outcome !== 'dropped') expect(outcome).toMatchObject({ value: { ciphertext_blob: Buffer.alloc(64, 7) } })
  await transport.drain()
  await connection.close()
})
