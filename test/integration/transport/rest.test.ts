import { connect, type Socket } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { ERRORS } from '../../../schemas/errors.ts'
import { LIMITS } from '../../../schemas/limits.ts'
import { CONTRACTS, OPERATION_NAMES } from '../../../schemas/registry.ts'
import { encodeMsgpack } from '../../../src/core/encodeMsgpack.ts'
import type { Incoming, Outgoing } from '../../../src/core/request.ts'
import { fillPath } from '../../../src/core/route.ts'
import { decodeStrictMsgpack } from '../../../src/core/strictMsgpack.ts'
import { createValidate } from '../../../src/pipeline/validate.ts'
import { createAdmission } from '../../../src/transport/admission.ts'
import type { HttpServer } from '../../../src/transport/httpServer.ts'
import type { OpenPorts } from '../../../src/transport/openRoutes.ts'
import { createAdminListener, createRestGateway } from '../../../src/transport/rest.ts'
import { createMalformedRequests } from '../../fixtures/malformed.ts'
import { createScriptedDispatch, LID } from '../../fixtures/scriptedDispatch.ts'
import { createTelemetryLog } from '../../fixtures/telemetryLog.ts'

const validate = createValidate()
const running: HttpServer[] = []
afterEach(async () => {
  for (const server of running.splice(0)) await server.close(1_000)
})

const OPEN: OpenPorts = {
  readiness: async () => [{ name: 'nats', isReady: true }],
  metrics: async () => ({ contentType: 'text/plain; version=0.0.4', body: 'kms_up 1\n' }),
  openapi: () => '{"openapi":"3.1.0"}',
}

const start = async (script?: Parameters<typeof createScriptedDispatch>[0], open: OpenPorts | undefined = OPEN) => {
  const scripted = createScriptedDispatch(script)
  const telemetry = createTelemetryLog()
  const server = createRestGateway({
    dispatch: scripted.dispatch,
    telemetry,
    admission: createAdmission(),
    ...(open === undefined ? {} : { open }),
  })
  running.push(server)
  const port = await server.listen({ host: '127.0.0.1', port: 0 })
  const ask = (path: string, init: RequestInit = {}) =>
    fetch(`http://127.0.0.1:${port}${path}`, { signal: AbortSignal.timeout(10_000), ...init })
  const post = (path: string, body: unknown, headers: Record<string, string> = {}) =>
    ask(path, {
      method: 'POST',
      body: typeof body === 'string' ? body : JSON.stringify(body),
      headers: { 'content-type': 'application/json', ...headers },
    })
  return { ...scripted, telemetry, port, server, ask, post }
}

const byPipelineRules = async (incoming: Incoming, body: Record<string, unknown>): Promise<Outgoing | undefined> => {
  const validated = validate(incoming.operation, body)
  return validated.ok ? undefined : { ok: false, requestId: 'r', error: validated.error }
}

describe('routes', () => {
  test.each(OPERATION_NAMES.flatMap((name) => CONTRACTS[name].routes.map((route) => ({ name, ...route }))))(
    '$method $path reaches $name and answers $status',
    async ({ name, method, path, status }) => {
      const { ask, seen } = await start()
      const url = fillPath({ method, path, status }, { key_id: 'alias/a/b' })
      const answer = await ask(url ?? '', { method })
      expect(answer.status).toBe(status)
      expect(seen[0]?.incoming).toMatchObject({ operation: name, transport: 'rest' })
      expect(seen[0]?.body).toEqual(path.includes(':id') ? { key_id: 'alias/a/b' } : {})
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
      const answer = await ask(`/v1/keys/${LID}`, { method })
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

describe('routes without token', () => {
  test('answer, and dispatch nothing', async () => {
    const { ask, seen } = await start()
    expect(await (await ask('/healthz')).json()).toEqual({ status: 'ok' })
    expect(await (await ask('/metrics')).text()).toBe('kms_up 1\n')
    expect(await (await ask('/openapi.json')).json()).toEqual({ openapi: '3.1.0' })
    const ready = await ask('/readyz')
    expect([ready.status, await ready.json()]).toEqual([
      200,
      { status: 'ready', components: [{ name: 'nats', status: 'ready' }] },
    ])
    expect(seen).toEqual([])
  })

  test.each([
    ['a part that is not ready', async () => [{ name: 'hsm', isReady: false, detail: 'breaker open' }]],
    ['a probe that throws', () => Promise.reject(new Error('MARKER'))],
    ['a probe that hangs', () => new Promise<never>(() => {})],
  ])('%s is 503', async (_title, readiness) => {
    const { ask } = await start(undefined, { ...OPEN, readiness })
    const answer = await ask('/readyz')
    expect(answer.status).toBe(503)
    expect(await answer.text()).not.toContain('MARKER')
  })

  test('are absent from the main listener when they have one of their own', async () => {
    const { ask } = await start(undefined, undefined)
    const server = createRestGateway({
      dispatch: createScriptedDispatch().dispatch,
      telemetry: createTelemetryLog(),
      admission: createAdmission(),
    })
    running.push(server)
    const port = await server.listen({ host: '127.0.0.1', port: 0 })
    expect((await fetch(`http://127.0.0.1:${port}/metrics`)).status).toBe(404)
    const admin = createAdminListener({ telemetry: createTelemetryLog(), open: OPEN })
    running.push(admin)
    const adminPort = await admin.listen({ host: '127.0.0.1', port: 0 })
    expect((await fetch(`http://127.0.0.1:${adminPort}/metrics`)).status).toBe(200)
    expect((await fetch(`http://127.0.0.1:${adminPort}/v1/keys`)).status).toBe(404)
    expect((await ask('/v1/keys')).status).toBe(200)
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
