import { describe, expect, test } from 'vitest'
import { toSubject } from '../../../schemas/contract.ts'
import { ERRORS } from '../../../schemas/errors.ts'
import { OPERATION_NAMES } from '../../../schemas/registry.ts'
import { encodeMsgpack } from '../../../src/core/encodeMsgpack.ts'
import type { Outgoing } from '../../../src/core/request.ts'
import { createValidate } from '../../../src/pipeline/validate.ts'
import { createMalformedRequests } from '../../fixtures/malformed.ts'
import { decodeReply, provideNatsTransport, utf8 } from '../../fixtures/natsTransport.ts'
import { LID } from '../../fixtures/scriptedDispatch.ts'

const validate = createValidate()
const { serving, ask, front, app } = provideNatsTransport()

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
      app().publish('kms.v1.generate-random', utf8('{"number_of_bytes":8}'), { reply })
      app().publish('kms.v1.generate-random', utf8('{"number_of_bytes":8}'))
      await app().flush()
      await ask('kms.v1.get-ledger-head', new Uint8Array(0))
      expect(seen.map(({ incoming }) => incoming.operation)).toEqual(['GetLedgerHead'])
      expect(refused()).toBe(2)
    }),
  )
})

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
  const connection = front()
  const publish = connection.publish.bind(connection)
  connection.publish = (subject, payload, options) => {
    if (payload instanceof Uint8Array) published.push(payload)
    publish(subject, payload, options)
  }
  return serving(
    async () => {
      const reply = await ask('kms.v1.encrypt', encodeMsgpack({ key_id: LID, plaintext: Buffer.alloc(64, 7) }), {
        'Content-Type': 'application/msgpack',
      })
      expect(decodeReply(reply.data)).toMatchObject({ value: { ciphertext_blob: Buffer.alloc(64, 7) } })
      connection.publish = publish
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
