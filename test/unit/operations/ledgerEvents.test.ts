import { describe, expect, test } from 'vitest'
import { EVENTS } from '../../../schemas/events.ts'
import type { ReplyBody } from '../../../schemas/registry.ts'
import { isRecord } from '../../../src/core/byteFields.ts'
import { decodeBody, encodeBody } from '../../../src/core/wire.ts'
import { createPipelineStack, type PipelineStack, toCode } from '../../fixtures/pipelineStack.ts'

type Listed = ReplyBody<'ListLedgerEvents'>

/** Page after page until there is none. */
const readPages = async (
  stack: PipelineStack,
  query: Readonly<Record<string, unknown>>,
): Promise<readonly Listed[]> => {
  const pages: Listed[] = []
  let cursor: string | undefined
  do {
    const page = await stack.succeed('ListLedgerEvents', { ...query, ...(cursor === undefined ? {} : { cursor }) })
    pages.push(page)
    cursor = page.next_cursor
  } while (cursor !== undefined)
  return pages
}

const toTypes = (pages: readonly Listed[]) => pages.flatMap(({ items }) => items.map(({ event }) => event['type']))

describe('ListLedgerEvents', () => {
  test('ends with what stood in the ledger before its first page, though each page is recorded too', async () => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey()
    await stack.succeed('DisableKey', { key_id })
    const pages = await readPages(stack, { max_results: 1 })
    expect(toTypes(pages)).toEqual(['LedgerCreated', 'EpochOpened', 'KeyCreated', 'KeyDisabled'])
    const [last] = pages.slice(-1)
    expect(last?.reached).toMatchObject({ seq: last?.items[0]?.seq, hash: last?.items[0]?.hash })
  })

  test('goes on from where another list ended', async () => {
    await using stack = await createPipelineStack()
    const first = await stack.succeed('ListLedgerEvents', {})
    await stack.createKey()
    const from_seq = (first.reached?.seq ?? 0) + 1
    const second = await stack.succeed('ListLedgerEvents', { from_seq })
    expect(toTypes([second])).toEqual(['LedgerEventsListed', 'KeyCreated'])
    const beyond = await stack.succeed('ListLedgerEvents', { from_seq: 1_000_000 })
    expect(beyond.items).toEqual([])
    expect(beyond).not.toHaveProperty('reached')
    expect(beyond).not.toHaveProperty('next_cursor')
  })

  test('filters by type, key under any name, principal, action, outcome and request', async () => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey()
    await stack.succeed('CreateAlias', { alias_name: 'alias/orders', target_key_id: key_id })
    await stack.createKey()
    await stack.succeed('DescribeKey', { key_id }, { token: 'bob', requestId: 'asked-by-bob' })
    stack.pdp.script(({ action }) => (action === 'kms:DisableKey' ? 'deny' : 'permit'))
    expect(toCode(await stack.send('DisableKey', { key_id }))).toBe('ACCESS_DENIED')
    const list = async (query: Readonly<Record<string, unknown>>) => toTypes(await readPages(stack, query))
    expect(await list({ types: ['KeyCreated', 'AliasCreated'] })).toEqual(['KeyCreated', 'AliasCreated', 'KeyCreated'])
    const about = ['KeyCreated', 'AliasCreated', 'KeyDescribed', 'AccessDenied']
    expect(await list({ key_id: 'alias/orders', to_seq: 7 })).toEqual(about)
    expect(await list({ key_id, to_seq: 7 })).toEqual(about)
    expect(await list({ principal: 'bob' })).toEqual(['KeyDescribed'])
    expect(await list({ action: 'kms:DisableKey' })).toEqual(['AccessDenied'])
    expect(await list({ outcome: 'denied', key_id })).toEqual(['AccessDenied'])
    expect(await list({ request_id: 'asked-by-bob' })).toEqual(['KeyDescribed'])
    expect(await list({ from_seq: 3, to_seq: 3 })).toEqual(['KeyCreated'])
    expect(await list({ from_time: '2000-01-01T00:00:00Z', to_time: '2000-01-02T00:00:00Z' })).toEqual([])
    expect(await list({ from_time: '2000-01-01T00:00:00Z', to_seq: 2 })).toEqual(['LedgerCreated', 'EpochOpened'])
  })

  test('is recorded with the range that was looked at and the key that was asked for', async () => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey()
    await stack.succeed('ListLedgerEvents', { key_id, from_seq: 2, to_seq: 3 })
    expect(stack.ports.events.at(-1)).toMatchObject({
      type: 'LedgerEventsListed',
      outcome: 'success',
      resources: [{ type: 'Key', id: key_id }],
      data: { lid: key_id, from_seq: 2, to_seq: 3, items: 1 },
    })
  })

  test.each([
    ['a cursor of another list', { cursor: Buffer.from('k1').toString('base64url') }],
    ['a cursor that is none', { cursor: '*' }],
    ['a range that ends before it begins', { from_seq: 3, to_seq: 2 }],
    ['a type that there is not', { types: ['KeyPolished'] }],
    ['an hour that no clock shows', { from_time: '2026-02-03T25:00:00Z' }],
    ['a second that no clock of ours shows', { to_time: '2016-12-31T23:59:60Z' }],
  ])('refuses %s', async (_what, query) => {
    await using stack = await createPipelineStack()
    expect(toCode(await stack.send('ListLedgerEvents', query))).toBe('INVALID_REQUEST')
  })

  test.each(Object.entries(EVENTS))(
    'has replies that a client can decode with an event %s in them',
    (_type, { data }) => {
      const event = { type: 'any', data: nest(depthOf(data)) }
      for (const format of ['json', 'msgpack'] as const) {
        const bytes = encodeBody({ items: [{ event }] }, { format, byteFields: undefined })
        expect(decodeBody(bytes, { format, byteFields: undefined, names: new Set() })).toMatchObject({ ok: true })
      }
    },
  )

  test('shows nothing beyond the ledger for a cursor that somebody made up', async () => {
    await using stack = await createPipelineStack()
    await stack.createKey()
    const cursor = Buffer.from('e2.0.999999').toString('base64url')
    const { items, next_cursor } = await stack.succeed('ListLedgerEvents', { cursor })
    expect(items.map(({ seq }) => seq)).toEqual([2, 3])
    expect(next_cursor).toBeUndefined()
  })
})

/** How many maps and lists stand in each other at most; identity tags are never shown. */
const depthOf = (schema: unknown): number => {
  if (!isRecord(schema)) return 0
  const { properties, items, anyOf, type } = schema
  if (Array.isArray(anyOf)) return Math.max(...anyOf.map(depthOf))
  if (items !== undefined) return 1 + depthOf(items)
  const members = Object.entries(isRecord(properties) ? properties : {}).filter(([name]) => name !== 'identity_tags')
  return type === 'object' ? 1 + Math.max(0, ...members.map(([, member]) => depthOf(member))) : 0
}

const nest = (depth: number): unknown =>
  depth === 0 ? 1 : depth % 2 === 0 ? { a: nest(depth - 1) } : [nest(depth - 1)]
