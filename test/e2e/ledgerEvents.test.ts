import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ReplyBody, Request } from '../../schemas/registry.ts'
import type { Client } from '../../src/client/client.ts'
import { isWanted } from '../../src/core/eventFilter.ts'
import { decodeForPeople } from '../../src/verify/exportLine.ts'
import { type Stack, startStack } from '../fixtures/stack.ts'
import { type Clients, codeOf, openClients } from '../fixtures/stackClients.ts'
import { listEvents, type ReadLedger, readLedger } from '../fixtures/stackLedger.ts'

type Item = ReplyBody<'ListLedgerEvents'>['items'][number]

const PLANTED = 'planted-identity-tag'

let stack: Stack
let clients: Clients
let keyId: string

beforeAll(async () => {
  stack = await startStack()
  clients = await openClients(stack)
  const { key } = await clients.nats.createKey({ key_spec: 'AES_256', attributes: { tenant: PLANTED } })
  keyId = key.key_id
  await clients.nats.createAlias({ alias_name: 'alias/listed', target_key_id: keyId })
  // Many at once, so that commits of more than one event are among them.
  const uses = Array.from({ length: 120 }, (_, n) =>
    (n % 2 === 0 ? clients.nats : clients.rest).encrypt({
      key_id: keyId,
      plaintext: Buffer.from('x'),
      ...(n % 3 === 0 ? { encryption_context: { order: `${n}` } } : {}),
    }),
  )
  await Promise.all(uses)
  await clients.rest.disableKey({ key_id: keyId })
  expect(await codeOf(clients.nats.encrypt({ key_id: keyId, plaintext: Buffer.from('x') }))).toBe('KEY_NOT_USABLE')
})
afterAll(async () => {
  await clients?.[Symbol.asyncDispose]()
  await stack?.[Symbol.asyncDispose]()
})

/** Page after page until there is none. */
const readPages = async (client: Client, query: Request<'ListLedgerEvents'>): Promise<readonly Item[]> => {
  const items: Item[] = []
  let cursor: string | undefined
  do {
    const page = await client.listLedgerEvents({ ...query, ...(cursor === undefined ? {} : { cursor }) })
    items.push(...page.items)
    cursor = page.next_cursor
  } while (cursor !== undefined)
  return items
}

const toPlaces = (items: readonly { readonly seq: number; readonly index: number }[]) =>
  items.map(({ seq, index }) => `${seq}/${index}`)

/** What an auditor reads from the stream itself, up to a sequence. */
const readStored = (ledger: ReadLedger, to: number) => listEvents(ledger).filter(({ seq }) => seq <= to)

describe.each(['nats', 'rest'] as const)('the events of the ledger, listed over %s', (transport) => {
  test('are, page after page, all that the stream holds, decoded as an export decodes them', async () => {
    const { size } = await clients[transport].getLedgerHead({})
    const items = await readPages(clients[transport], { to_seq: size, max_results: 7 })
    const ledger = await readLedger(stack)
    expect(toPlaces(items)).toEqual(toPlaces(readStored(ledger, size)))
    expect(JSON.stringify(items)).not.toContain(PLANTED)
    expect(JSON.stringify(items)).not.toContain('identity_tags')
    for (const { seq, index, hash, event } of items) {
      const decoded = Object(decodeForPeople(ledger.payloads[seq - 1] ?? Buffer.alloc(0)))
      expect(hash).toBe(decoded.hash)
      expect(toHex(event)).toEqual(JSON.parse(JSON.stringify(decoded.events[index])))
    }
  })

  test('are those that a filter wants', async () => {
    const to_seq = (await clients[transport].getLedgerHead({})).size
    const list = (query: Request<'ListLedgerEvents'>) => readPages(clients[transport], { ...query, to_seq })
    const ledger = await readLedger(stack)
    const about = await list({ key_id: 'alias/listed', types: ['KeyCreated', 'DataEncrypted'], max_results: 50 })
    const wanted = readStored(ledger, to_seq).filter(({ event }) =>
      isWanted(event, { keyId, types: ['KeyCreated', 'DataEncrypted'] }),
    )
    expect(toPlaces(about)).toEqual(toPlaces(wanted))
    expect(about).toHaveLength(121)
    const failed = await list({ outcome: 'failed', key_id: keyId })
    expect(failed.map(({ event }) => event['code'])).toEqual(['KEY_NOT_USABLE'])
    const [first] = failed
    const id = String(Object(first).event.request_id)
    expect(toPlaces(await list({ request_id: id }))).toEqual(toPlaces(failed))
    expect(await list({ principal: 'nobody' })).toEqual([])
    expect(toPlaces(await list({ from_time: String(first?.time), outcome: 'failed', key_id: keyId }))).toEqual(
      toPlaces(failed),
    )
  })
})

test('whoever may not list the ledger learns nothing of it', async () => {
  const strangers = await openClients({ ...stack, token: `${stack.token}x` })
  for (const client of strangers.both) expect(await codeOf(client.listLedgerEvents({}))).toBe('UNAUTHENTICATED')
  await strangers[Symbol.asyncDispose]()
})

/** The listing has bytes as base64, an export as hex. */
const HEX = /^(?:[0-9a-f]{2})+$/
const toHex = (value: unknown, name = ''): unknown => {
  if (typeof value === 'string' && BYTE_MEMBERS.has(name)) {
    const hex = Buffer.from(value, 'base64').toString('hex')
    expect(hex).toMatch(HEX)
    return hex
  }
  if (Array.isArray(value)) return value.map((item) => toHex(item))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, toHex(member, key)]))
}

/** The byte strings that the events of this test have. */
const BYTE_MEMBERS = new Set([
  'context_hash',
  'sealed_handle',
  'root_public_key',
  'context_key',
  'public_key',
  'attestation',
  'sha256',
])
