import { headers as createHeaders, type NatsConnection } from '@nats-io/transport-node'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { toSubject } from '../../schemas/contract.ts'
import { ERRORS } from '../../schemas/errors.ts'
import { isRecord } from '../../src/core/byteFields.ts'
import { encodeMsgpack } from '../../src/core/encodeMsgpack.ts'
import { decodeBody, parseMediaType } from '../../src/core/wire.ts'
import { countOf, isLongRun } from '../fixtures/counts.ts'
import { createMalformedRequests, type MalformedRequest } from '../fixtures/malformed.ts'
import { writeResults } from '../fixtures/results.ts'
import { type Stack, startStack } from '../fixtures/stack.ts'
import { type Clients, connectAs, openClients } from '../fixtures/stackClients.ts'
import { listEvents, readLedger } from '../fixtures/stackLedger.ts'

type Sent = Pick<MalformedRequest, 'operation' | 'contentType' | 'body'>
/** HTTP status, over NATS that of `Nats-Service-Error-Code`; and the error of the body. */
interface Answer {
  readonly status: number
  readonly error: unknown
}
type Send = (request: Sent) => Promise<Answer>

const COUNT = countOf('malformedRequests')
const IN_FLIGHT = 16

let stack: Stack
let clients: Clients
let connection: NatsConnection
let keyId: string

beforeAll(async () => {
  stack = await startStack()
  clients = await openClients(stack)
  connection = await connectAs(stack, 'app')
  keyId = (await clients.nats.createKey({ key_spec: 'AES_256', description: 'the one attacked' })).key.key_id
  await clients.nats.createKey({ key_spec: 'ED25519', parent_key_id: keyId })
})
afterAll(async () => {
  await connection?.close()
  await clients?.[Symbol.asyncDispose]()
  await stack?.[Symbol.asyncDispose]()
})

const toError = (bytes: Uint8Array, contentType: string | undefined): unknown => {
  const format = parseMediaType(contentType)
  const body = format.ok && decodeBody(bytes, { format: format.value, byteFields: undefined, names: new Set() })
  if (body === false || !body.ok) throw new Error(`an answer that is no body: ${contentType}`)
  return body.value['error']
}

const overNats: Send = async ({ operation, contentType, body }) => {
  const headers = createHeaders()
  headers.set('Authorization', `Bearer ${stack.token}`)
  if (contentType !== undefined) headers.set('Content-Type', contentType)
  const reply = await connection.request(toSubject(operation), body, { headers, timeout: 20_000 })
  const status = Number(reply.headers?.get('Nats-Service-Error-Code') || '200')
  return { status, error: toError(reply.data, reply.headers?.get('Content-Type')) }
}

const overRest: Send = async ({ contentType, body }) => {
  const response = await fetch(`${stack.httpUrl}/v1/keys/${keyId}/actions-encrypt`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${stack.token}`,
      ...(contentType === undefined ? {} : { 'content-type': contentType }),
    },
    body,
    signal: AbortSignal.timeout(20_000),
  })
  const bytes = new Uint8Array(await response.arrayBuffer())
  return { status: response.status, error: toError(bytes, response.headers.get('content-type') ?? undefined) }
}

const sendAll = async (requests: readonly MalformedRequest[], send: Send): Promise<ReadonlyMap<string, Answer>> => {
  const waiting = [...requests]
  const answers = new Map<string, Answer>()
  const work = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const { title } = next
      answers.set(
        title,
        await send(next).catch((error: unknown) => {
          throw new Error(`no answer to ${title}`, { cause: error })
        }),
      )
    }
  }
  await Promise.all(Array.from({ length: IN_FLIGHT }, work))
  return answers
}

/** What a caller can see of all keys, without the receipts. */
const look = async () => {
  const { items } = await clients.nats.listKeys({ max_results: 1000 })
  const described = await Promise.all(items.map(async ({ key_id }) => (await clients.rest.describeKey({ key_id })).key))
  return { items, described }
}

const TRANSPORTS: readonly (readonly ['nats' | 'rest', Send])[] = [
  ['nats', overNats],
  ['rest', overRest],
]
const rows: string[] = []

describe.each(TRANSPORTS)('over %s', (transport, send) => {
  test.each([
    ['application/json', true],
    ['application/msgpack', false],
  ])(
    'a well-formed request as %s is answered: only the malformation can be why others are not',
    async (type, isJson) => {
      const named = { key_id: keyId }
      const body = isJson
        ? Buffer.from(JSON.stringify({ ...named, plaintext: 'aGVsbG8=' }))
        : encodeMsgpack({ ...named, plaintext: Buffer.from('hello') })
      expect(await send({ operation: 'Encrypt', contentType: type, body })).toEqual({ status: 200, error: undefined })
    },
  )

  test(`each of ${COUNT} malformed requests gets the 4xx of its rule, and changes nothing`, async () => {
    const requests = createMalformedRequests(COUNT, { keyId, seed: transport === 'nats' ? 11 : 12 })
    const before = await look()
    const answers = await sendAll(requests, send)
    expect(answers.size).toBe(COUNT)
    const wrong = requests.flatMap(({ title, code }) => {
      const answer = answers.get(title)
      const { error } = answer ?? {}
      const isClear =
        isRecord(error) &&
        error['code'] === code &&
        typeof error['message'] === 'string' &&
        error['message'].length > 10
      const isStatus = answer?.status === ERRORS[code].status && answer.status >= 400 && answer.status < 500
      return isClear && isStatus ? [] : [{ title, wanted: code, answer }]
    })
    expect(wrong).toEqual([])
    expect(await look()).toEqual(before)
    for (const code of new Set(requests.map((request) => request.code)))
      rows.push(`| ${transport} | ${code} | ${requests.filter((request) => request.code === code).length} |`)
  })
})

test('the ledger holds the refusals, counted, and no other trace of them', async () => {
  // Refusals above ten a second are aggregated and recorded with the next second.
  await new Promise((resolve) => setTimeout(resolve, 1_500))
  const { report, ...ledger } = await readLedger(stack)
  expect(report.findings).toEqual([])
  const events = listEvents(ledger).map(({ event }) => event)
  const refused = events.filter(({ type }) => type === 'RequestRefused')
  const counted = refused.reduce((sum, { data }) => sum + Number(data['count']), 0)
  expect(counted).toBe(2 * COUNT)
  expect(events.filter(({ type }) => type === 'DataEncrypted')).toHaveLength(4)
  expect(events.filter(({ type }) => type === 'OperationFailed')).toEqual([])
})

test('the service has written no fault about them', () => {
  expect(stack.output().match(/"level":"(error|fatal)".*/g)).toBeNull()
})

afterAll(async () => {
  if (!isLongRun) return
  await writeResults('malformed', 'Malformed requests', [
    'Every one was answered by a 4xx with this code; no key changed.',
    '',
    '| transport | code | requests |',
    '|---|---|---:|',
    ...rows,
  ])
})
