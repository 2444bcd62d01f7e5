import { connect } from 'node:net'
import { describe, expect, test } from 'vitest'
import { ERRORS } from '../../../schemas/errors.ts'
import { LIMITS } from '../../../schemas/limits.ts'
import { CONTRACTS, OPERATION_NAMES } from '../../../schemas/registry.ts'
import { encodeMsgpack } from '../../../src/core/encodeMsgpack.ts'
import type { Incoming, Outgoing } from '../../../src/core/request.ts'
import { fillPath, findPathFields } from '../../../src/core/route.ts'
import { decodeStrictMsgpack } from '../../../src/core/strictMsgpack.ts'
import { createValidate } from '../../../src/pipeline/validate.ts'
import { createMalformedRequests } from '../../fixtures/malformed.ts'
import { provideRestGateways } from '../../fixtures/restGateway.ts'
import { LID } from '../../fixtures/scriptedDispatch.ts'

const validate = createValidate()
const { start } = provideRestGateways()

const byPipelineRules = async (incoming: Incoming, body: Record<string, unknown>): Promise<Outgoing | undefined> => {
  const validated = validate(incoming.operation, body)
  return validated.ok ? undefined : { ok: false, requestId: 'r', error: validated.error }
}

/** What stands in a path where an alias may not. */
const FIELDS: Readonly<Record<string, unknown>> = { version: 1, seq: 1 }

describe('routes', () => {
  test.each(OPERATION_NAMES.flatMap((name) => CONTRACTS[name].routes.map((route) => ({ name, ...route }))))(
    '$method $path reaches $name and answers $status',
    async ({ name, method, path, status }) => {
      const { ask, seen } = await start()
      const fields = Object.fromEntries(findPathFields(path).map((field) => [field, FIELDS[field] ?? 'alias/a/b']))
      const url = fillPath({ method, path, status }, fields)
      const answer = await ask(url ?? '', { method })
      expect(answer.status).toBe(status)
      expect(seen[0]?.incoming).toMatchObject({ operation: name, transport: 'rest' })
      expect(seen[0]?.body).toEqual(fields)
    },
  )

  test('a path segment is decoded once', async () => {
    const { ask, seen } = await start()
    await ask('/v1/keys/alias%252Fx')
    expect(seen[0]?.body).toEqual({ key_id: 'alias%2Fx' })
  })

  test('an unknown path is NOT_FOUND, a known one with another method METHOD_NOT_ALLOWED with Allow', async () => {
    const { ask, seen } = await start()
    const unknown = await ask('/v1/nothing', { method: 'POST', body: '{}' })
    expect([unknown.status, await unknown.json()]).toMatchObject([404, { error: { code: 'NOT_FOUND' } }])
    for (const method of ['POST', 'PUT', 'DELETE', 'HEAD', 'OPTIONS', 'PATCH']) {
      const answer = await ask('/v1/ledger/head', { method })
      expect([method, answer.status, answer.headers.get('allow')]).toEqual([method, 405, 'GET'])
    }
    expect(seen).toEqual([])
  })
})

describe('requests', () => {
  test('carry token, ids and bytes; the reply has the request id and may not be stored', async () => {
    const { post, seen, disposed } = await start()
    const answer = await post(
      `/v1/keys/${LID}/actions-encrypt`,
      { plaintext: 'AAEC' },
      {
        authorization: 'Bearer t',
        'request-id': 'r-1',
        'idempotency-key': 'i-1',
        traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
      },
    )
    expect(seen[0]?.incoming).toMatchObject({
      credentials: { authorization: 'Bearer t' },
      requestId: 'r-1',
      idempotencyKey: 'i-1',
    })
    expect(seen[0]?.body?.['plaintext']).toBeInstanceOf(Uint8Array)
    expect(await answer.json()).toMatchObject({ ciphertext_blob: 'AAEC' })
    expect(answer.headers.get('request-id')).toBe('r-1')
    expect(answer.headers.get('cache-control')).toBe('no-store')
    expect(answer.headers.get('x-content-type-options')).toBe('nosniff')
    expect(disposed).toEqual(['r-1'])
  })

  test('may be MessagePack, and are then answered in it', async () => {
    const { ask } = await start()
    const answer = await ask(`/v1/keys/${LID}/actions-encrypt`, {
      method: 'POST',
      body: encodeMsgpack({ plaintext: Uint8Array.of(1, 2) }),
      headers: { 'content-type': 'application/msgpack' },
    })
    const bytes = new Uint8Array(await answer.arrayBuffer())
    expect(decodeStrictMsgpack(bytes, { depthMax: 8, allowFloats: false, allowNil: false })).toMatchObject({
      value: { ciphertext_blob: Buffer.of(1, 2) },
    })
  })

  test('with a query have their integers and booleans read by the schema', async () => {
    const { ask, seen } = await start()
    await ask(`/v1/keys/${LID}/dependents?recursive=true&max_results=7`)
    expect(seen[0]?.body).toEqual({ key_id: LID, recursive: true, max_results: 7 })
  })

  test.each([
    ['GET', `/v1/keys/${LID}?key_id=other`, undefined],
    ['GET', '/v1/keys?max_results=1&max_results=1', undefined],
    ['GET', '/v1/keys?max_results=x', undefined],
    ['GET', '/v1/keys?unknown=1', undefined],
    ['POST', `/v1/keys/${LID}/actions-encrypt?x=1`, '{"plaintext":""}'],
    ['POST', `/v1/keys/${LID}/actions-encrypt`, '{"plaintext":"","key_id":"alias/other"}'],
    ['POST', `/v1/keys/${LID}/actions-encrypt`, '{"plaintext":"","plaintext":""}'],
    ['GET', '/v1/keys/%ff', undefined],
    ['GET', '/v1/keys/%', undefined],
    ['GET', `/v1/keys/${'a'.repeat(LIMITS.pathSegmentCharsMax + 1)}`, undefined],
  ])('%s %s %s is INVALID_REQUEST', async (method, path, body) => {
    const { ask, post } = await start(byPipelineRules)
    const answer = await (body === undefined ? ask(path, { method }) : post(path, body))
    expect([answer.status, await answer.json()]).toMatchObject([400, { error: { code: 'INVALID_REQUEST' } }])
    expect(answer.headers.get('cache-control')).toBe('no-store')
  })

  test('with a bad content type or too large a body reach the pipeline, which records the refusal', async () => {
    const { post, seen } = await start()
    const path = `/v1/keys/${LID}/actions-encrypt`
    expect((await post(path, '{}', { 'content-type': 'text/;;x' })).status).toBe(415)
    expect((await post(path, 'x'.repeat(LIMITS.requestBytesMax + 1))).status).toBe(413)
    expect(seen.map(({ code }) => code)).toEqual(['UNSUPPORTED_MEDIA_TYPE', 'TOO_LARGE'])
  })

  test('that fail say so in status, body and headers', async () => {
    const { ask } = await start(async (incoming) => ({
      ok: false,
      requestId: 'r',
      error: { code: incoming.operation === 'ListKeys' ? 'UNAUTHENTICATED' : 'LEDGER_UNAVAILABLE', message: 'm' },
    }))
    const refused = await ask('/v1/keys')
    expect([refused.status, refused.headers.get('www-authenticate')]).toEqual([401, 'Bearer'])
    const unavailable = await ask('/v1/ledger/head')
    expect([unavailable.status, unavailable.headers.get('retry-after')]).toEqual([503, '1'])
    expect(await unavailable.json()).toEqual({
      error: { code: 'LEDGER_UNAVAILABLE', message: 'm', request_id: 'r', retryable: true },
    })
  })

  test('whose reply cannot be encoded are INTERNAL, without a word of why', async () => {
    const { ask, telemetry } = await start(async () => ({
      ok: true,
      requestId: 'r',
      body: {
        get secret(): string {
          throw new Error('MARKER')
        },
      },
      dispose: () => {},
    }))
    const answer = await ask('/v1/ledger/head')
    const text = await answer.text()
    expect(answer.status).toBe(500)
    expect(text + telemetry.text()).not.toContain('MARKER')
    expect(telemetry.lines).toHaveLength(1)
  })

  test('of a caller that goes away are cancelled', async () => {
    let reason: unknown
    const { port } = await start(async (_incoming, _body, signal) => {
      await new Promise((resolve) => signal.addEventListener('abort', resolve))
      reason = signal.reason
      return undefined
    })
    const socket = connect(port, '127.0.0.1')
    socket.write('GET /v1/ledger/head HTTP/1.1\r\nHost: x\r\n\r\n')
    setTimeout(() => socket.destroy(), 100)
    await expect.poll(() => reason, { timeout: 5_000 }).toMatchObject({ name: 'AbortError' })
  })
})

test('1,000 malformed requests all get a clear 4xx', async () => {
  const { ask, telemetry } = await start(byPipelineRules)
  for (const { title, contentType, body, code } of createMalformedRequests(1_000, { keyId: LID })) {
    const answer = await ask(`/v1/keys/${LID}/actions-encrypt`, {
      method: 'POST',
      body: Uint8Array.from(body),
      headers: contentType === undefined ? {} : { 'content-type': contentType },
    })
    const text = await answer.text()
    expect(answer.status, `${title}: ${text}`).toBe(ERRORS[code].status)
    expect(text, title).toContain(`"${code}"`.slice(1, -1))
  }
  expect(telemetry.lines).toEqual([])
})
