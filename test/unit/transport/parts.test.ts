import fc from 'fast-check'
import Type from 'typebox'
import { describe, expect, test } from 'vitest'
import { Tag } from '../../../schemas/primitives.ts'
import { CONTRACTS } from '../../../schemas/registry.ts'
import { writeQuery } from '../../../src/core/query.ts'
import { ok } from '../../../src/core/result.ts'
import { toFieldSchemas } from '../../../src/core/route.ts'
import { createAdmission, startDeadline } from '../../../src/transport/admission.ts'
import { createAllowedMethods } from '../../../src/transport/allowedMethods.ts'
import { mergePathFields } from '../../../src/transport/codec.ts'
import { isInbox } from '../../../src/transport/nats.ts'
import { collectHeader, readIdempotencyKey, readRequestId } from '../../../src/transport/requestHeaders.ts'
import { type Arrival, createServe } from '../../../src/transport/serve.ts'
import { readQuery } from '../../../src/transport/textFields.ts'
import { createTelemetryLog } from '../../fixtures/telemetryLog.ts'

describe('a reply subject', () => {
  test.each(['_INBOX.kms-ledger.x', '_INBOX.kms-front.x.y', '_INBOX.kms-ledger'])(
    '%s is the service’s own',
    (subject) => expect(isInbox(subject)).toBe(false),
  )
  test.each(['_INBOX.a', '_INBOX.app.XYZ.1', '_INBOX.kms-ledger2.x'])('%s is an inbox', (subject) =>
    expect(isInbox(subject)).toBe(true),
  )
  test.each([
    '',
    '_INBOX',
    '_INBOX.',
    '_INBOX.>',
    '_INBOX.*',
    '_INBOX..a',
    '_INBOX.a b',
    '_INBOX_.a',
    'x_INBOX.a',
    'kms.ledger.state',
    '$JS.API.STREAM.INFO.KMS_LEDGER',
    '_INBOX.a\r\nPUB x 0',
  ])('%j is none', (subject) => expect(isInbox(subject)).toBe(false))
})

describe('headers', () => {
  test('are known in any case, and one that came twice fails its rule', () => {
    const headers = {}
    collectHeader(headers, 'AUTHORIZATION', 'Bearer a')
    collectHeader(headers, 'authorization', 'Bearer b')
    collectHeader(headers, 'X-Other', 'x')
    expect(headers).toEqual({ authorization: 'Bearer a, Bearer b' })
  })

  test.each(['', 'a b', 'a\tb', 'ü', 'x'.repeat(129)])('a Request-Id of %j is ignored', (id) => {
    expect(readRequestId(id)).toBeUndefined()
  })

  test('an Idempotency-Key out of bounds is refused, not ignored', () => {
    expect(readIdempotencyKey('order-17')).toEqual({ ok: true, value: 'order-17' })
    for (const key of ['', 'a b', 'x'.repeat(129)]) {
      expect(readIdempotencyKey(key)).toMatchObject({ ok: false, error: { code: 'INVALID_REQUEST' } })
    }
  })
})

describe('a query', () => {
  const schemas = toFieldSchemas(CONTRACTS.GetKeyDependents)

  test('gives integers and booleans where the schema has them', () => {
    expect(readQuery('recursive=true&max_results=5&cursor=a%2Fb+c', schemas)).toMatchObject({
      value: { recursive: true, max_results: 5, cursor: 'a/b c' },
    })
  })

  test.each([
    'max_results=05',
    'max_results=5.0',
    'max_results=',
    'max_results=99999999999999999999',
    'recursive=1',
    'recursive=TRUE',
    'cursor=a&cursor=a',
    'cursor=%zz',
    'cursor',
    '=x',
    '&',
    'cursor=%ff',
  ])('%s is refused', (query) => {
    expect(readQuery(query, schemas)).toMatchObject({ ok: false, error: { code: 'INVALID_REQUEST' } })
  })

  const lists = { names: Type.Array(Type.String()), tags: Type.Array(Tag), max: Type.Integer() }

  test('gathers the items of a list, and tags by their prefix', () => {
    expect(readQuery('names=a&tag.team=red&names=a%20b&tag.a.b==&max=1&tag.=x', lists)).toEqual({
      ok: true,
      value: {
        names: ['a', 'a b'],
        tags: [
          { key: 'team', value: 'red' },
          { key: 'a.b', value: '=' },
          { key: '', value: 'x' },
        ],
        max: 1,
      },
    })
  })

  test.each(['tag.a=1&tag.a=1', 'tag.a=1&tag.%61=2', 'tags=a', 'max=1&max=1'])('%s is refused', (query) => {
    expect(readQuery(query, lists)).toMatchObject({ ok: false, error: { code: 'INVALID_REQUEST' } })
  })

  test('is read as it was written, whatever is in it', () => {
    const text = fc.string({ unit: 'grapheme', maxLength: 8 })
    const tags = fc.uniqueArray(fc.record({ key: text, value: text }), { selector: ({ key }) => key, minLength: 1 })
    const fields = fc.record({ names: fc.array(text, { minLength: 1 }), tags, max: fc.integer() }, { requiredKeys: [] })
    fc.assert(
      fc.property(fields, (written) => {
        const read = readQuery(writeQuery(written, lists), lists)
        expect(read.ok && { ...read.value }).toEqual(written)
      }),
    )
  })

  test('an unknown parameter is kept for validation to refuse, __proto__ too', () => {
    const read = readQuery('__proto__=1', schemas)
    expect(read.ok && Object.keys(read.value)).toEqual(['__proto__'])
  })
})

test('a body may repeat a path field but not contradict it', () => {
  expect(mergePathFields({ key_id: 'a' }, { key_id: 'a' })).toMatchObject({ ok: true })
  expect(mergePathFields({ key_id: 'b' }, { key_id: 'a' })).toMatchObject({
    ok: false,
    error: { code: 'INVALID_REQUEST' },
  })
})

test('the methods of a path are found by its pattern', () => {
  const find = createAllowedMethods([
    { method: 'GET', path: '/v1/keys/:id' },
    { method: 'POST', path: '/v1/keys' },
    { method: 'GET', path: '/v1/keys' },
  ])
  expect(find('/v1/keys')).toEqual(['GET', 'POST'])
  expect(find('/v1/keys/alias%2Fx')).toEqual(['GET'])
  expect(find('/v1/keys/a/b')).toEqual([])
})

describe('serving', () => {
  const arrival: Arrival = {
    operation: 'GetLedgerHead',
    transport: 'nats',
    headers: {},
    decode: () => ok({}),
  }

  test('beyond the bound the answer is OVERLOADED and nothing is dispatched', async () => {
    let dispatched = 0
    let release = () => {}
    const held = new Promise<void>((resolve) => {
      release = resolve
    })
    const serve = createServe({
      admission: createAdmission(1),
      telemetry: createTelemetryLog(),
      dispatch: async () => {
        dispatched++
        await held
        return { ok: true, requestId: 'r', body: {}, dispose: () => {} }
      },
    })
    const first = serve(arrival)
    expect(await serve(arrival)).toMatchObject({ ok: false, error: { code: 'OVERLOADED' } })
    release()
    expect(await first).toMatchObject({ ok: true })
    expect(dispatched).toBe(1)
    expect(await serve(arrival)).toMatchObject({ ok: true })
  })

  test('a dispatch that throws is INTERNAL, and its message goes nowhere', async () => {
    const telemetry = createTelemetryLog()
    const admission = createAdmission(1)
    const serve = createServe({
      admission,
      telemetry,
      dispatch: () => Promise.reject(new Error('MARKER')),
    })
    const outgoing = await serve(arrival)
    expect(outgoing).toMatchObject({ ok: false, error: { code: 'INTERNAL' } })
    expect(JSON.stringify(outgoing) + telemetry.text()).not.toContain('MARKER')
    expect(admission.inFlight()).toBe(0)
  })

  test('a dispatch that does not heed its signal is answered for, and its late output disposed of', async () => {
    let disposed = 0
    let finish = () => {}
    const admission = createAdmission(1)
    const serve = createServe({
      admission,
      telemetry: createTelemetryLog(),
      dispatch: () =>
        new Promise((resolve) => {
          finish = () => resolve({ ok: true, requestId: 'r', body: {}, dispose: () => void disposed++ })
        }),
    })
    const outgoing = await serve(arrival, (deadline) => deadline.cancel())
    expect(outgoing).toMatchObject({ ok: false, error: { code: 'TIMEOUT' } })
    expect(admission.inFlight()).toBe(1)
    finish()
    expect(await admission.whenIdle(1_000)).toBe(true)
    await expect.poll(() => disposed).toBe(1)
  })

  test('a deadline aborts with a TimeoutError, a caller that went away with an AbortError', async () => {
    const late = startDeadline(1)
    await new Promise((resolve) => late.signal.addEventListener('abort', resolve))
    expect(late.signal.reason).toMatchObject({ name: 'TimeoutError' })
    const gone = startDeadline(10_000)
    gone.cancel()
    gone.end()
    expect(gone.signal.reason).toMatchObject({ name: 'AbortError' })
  })
})
