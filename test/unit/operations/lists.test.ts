import { describe, expect, test } from 'vitest'
import { LIMITS } from '../../../schemas/limits.ts'
import { toCursor, toKeyPlace } from '../../../src/operations/cursor.ts'
import { fold, keyCreated, lidOf } from '../../fixtures/history.ts'
import { createPipelineStack, type PipelineStack, toCode } from '../../fixtures/pipelineStack.ts'

type Listing = 'ListKeys' | 'GetKeyDependents' | 'GetKeyAncestors'

const idsOf = (items: readonly object[]): readonly string[] =>
  items.map((item) => ('id' in item ? String(item.id) : 'key_id' in item ? String(item.key_id) : '?'))

/** All pages of a list, one after the other; `between` runs after each. */
const readAll = async (stack: PipelineStack, operation: Listing, body: object, between?: () => Promise<unknown>) => {
  const pages: (readonly string[])[] = []
  let cursor: string | undefined
  do {
    const page = await stack.succeed(operation, { ...body, ...(cursor === undefined ? {} : { cursor }) })
    pages.push(idsOf(page.items))
    cursor = page.next_cursor
    await between?.()
  } while (cursor !== undefined && pages.length < 100)
  return pages
}

const createKeys = async (stack: PipelineStack, count: number, body: object = {}) => {
  const ids: string[] = []
  for (let n = 0; n < count; n += 1) ids.push(await stack.createKey({ ...body }))
  return ids
}

describe('ListKeys', () => {
  test('pages through the keys in order of creation', async () => {
    await using stack = await createPipelineStack()
    const ids = await createKeys(stack, 5)
    expect(await readAll(stack, 'ListKeys', { max_results: 2 })).toEqual([
      ids.slice(0, 2),
      ids.slice(2, 4),
      ids.slice(4),
    ])
    expect(await readAll(stack, 'ListKeys', { max_results: 5 })).toEqual([ids])
    expect(await readAll(stack, 'ListKeys', {})).toEqual([ids])
  })

  test('keeps its place while keys are added and change: none is left out, none comes twice', async () => {
    await using stack = await createPipelineStack()
    const ids = await createKeys(stack, 4)
    let added = 0
    const pages = await readAll(stack, 'ListKeys', { max_results: 1 }, async () => {
      if (added === 3) return
      ids.push(await stack.createKey())
      await stack.succeed('DisableKey', { key_id: ids[added] })
      added += 1
    })
    expect(pages.flat()).toEqual(ids)
  })

  test('leaves out what the caller may not describe, and fills the page with what follows', async () => {
    await using stack = await createPipelineStack()
    const ids = await createKeys(stack, 6)
    const hidden = new Set([ids[0], ids[2], ids[3]])
    stack.pdp.script(({ action, resource }) =>
      action === 'kms:DescribeKey' && hidden.has(resource.id) ? 'deny' : 'permit',
    )
    expect(await readAll(stack, 'ListKeys', { max_results: 2 })).toEqual([[ids[1], ids[4]], [ids[5]]])
  })

  test('filters by spec, parent and effective state', async () => {
    await using stack = await createPipelineStack()
    const root = await stack.createKey()
    const child = await stack.createKey({ parent_key_id: root })
    const signing = await stack.createKey({ key_spec: 'ED25519' })
    await stack.succeed('DisableKey', { key_id: root })
    expect(await readAll(stack, 'ListKeys', { spec: 'ED25519' })).toEqual([[signing]])
    expect(await readAll(stack, 'ListKeys', { parent: root })).toEqual([[child]])
    expect(await readAll(stack, 'ListKeys', { state: 'disabled' })).toEqual([[root, child]])
    expect(await readAll(stack, 'ListKeys', { state: 'enabled' })).toEqual([[signing]])
  })

  test('by a parent asks about that parent, and says when there is none', async () => {
    await using stack = await createPipelineStack()
    const root = await stack.createKey()
    const { calls } = await stack.trace('ListKeys', { parent: root })
    expect(calls.slice(1, 3)).toEqual(['pdp kms:ListKeys', 'pdp kms:GetKeyDependents'])
    expect(toCode(await stack.send('ListKeys', { parent: lidOf(1) }))).toBe('KEY_NOT_FOUND')
  })

  test('looks at a bounded number of keys a page: a page without items still leads on', async () => {
    await using stack = await createPipelineStack()
    const count = LIMITS.pageScannedMax + 5
    const lids = Array.from({ length: count }, (_, n) => `lid_${n.toString(16).padStart(64, '0')}`)
    const events = lids.map((lid, n) =>
      keyCreated(0, n < count - 1 ? { lid } : { lid, spec: 'ED25519', usage: 'SIGN_VERIFY' }),
    )
    const { keys, hierarchy } = fold(events)
    stack.ports.faults.view = (view) => ({ ...view, keys, hierarchy })
    const pages = await readAll(stack, 'ListKeys', { spec: 'ED25519' })
    expect(pages).toEqual([[], [lids.at(-1)]])
  })

  test('asks about a bounded number of keys a page', async () => {
    await using stack = await createPipelineStack()
    const count = LIMITS.pageCandidatesMax + 1
    const events = Array.from({ length: count }, (_, n) =>
      keyCreated(0, { lid: `lid_${n.toString(16).padStart(64, '0')}` }),
    )
    const { keys, hierarchy } = fold(events)
    stack.ports.faults.view = (view) => ({ ...view, keys, hierarchy })
    stack.pdp.script(({ action }) => (action === 'kms:DescribeKey' ? 'deny' : 'permit'))
    expect(await readAll(stack, 'ListKeys', {})).toEqual([[], []])
    expect(stack.pdp.asked.filter(({ action }) => action === 'kms:DescribeKey').length).toBe(count)
  })

  test('fits a page into a NATS message whatever characters the tags hold', async () => {
    await using stack = await createPipelineStack()
    const user_tags = Array.from({ length: LIMITS.tagsMax }, (_, n) => ({
      key: `${n}`.padStart(LIMITS.tagKeyBytesMax, '\u0001'),
      value: '\u0001'.repeat(LIMITS.tagValueBytesMax),
    }))
    const { keys, hierarchy } = fold(Array.from({ length: 30 }, (_, n) => keyCreated(n, { user_tags })))
    stack.ports.faults.view = (view) => ({ ...view, keys, hierarchy })
    const { items, next_cursor } = await stack.succeed('ListKeys', {})
    expect(next_cursor).toBe(toCursor(toKeyPlace(items.length)))
    expect(Buffer.byteLength(JSON.stringify(items))).toBeLessThan(1024 * 1024)
  })

  test.each([
    'x',
    toCursor(toKeyPlace(1)).slice(1),
    Buffer.from('k-1').toString('base64url'),
    Buffer.from('k1e3').toString('base64url'),
  ])('refuses a cursor that is not its own: %s', async (cursor) => {
    await using stack = await createPipelineStack()
    expect(toCode(await stack.send('ListKeys', { cursor }))).toBe('INVALID_REQUEST')
  })

  test('gives an empty page for a cursor past the end', async () => {
    await using stack = await createPipelineStack()
    expect((await stack.succeed('ListKeys', { cursor: toCursor(toKeyPlace(999)) })).items).toEqual([])
  })
})

describe('relatives', () => {
  const family = async (stack: PipelineStack) => {
    const root = await stack.createKey()
    const left = await stack.createKey({ parent_key_id: root })
    const right = await stack.createKey({ parent_key_id: root })
    const leaf = await stack.createKey({ parent_key_id: left })
    return { root, left, right, leaf }
  }

  test('are children only, or all descendants as a tree is read, with their depth and parent', async () => {
    await using stack = await createPipelineStack()
    const { root, left, right, leaf } = await family(stack)
    expect(await readAll(stack, 'GetKeyDependents', { key_id: root })).toEqual([[left, right]])
    const { items } = await stack.succeed('GetKeyDependents', { key_id: root, recursive: true })
    expect(items).toEqual([
      { id: left, depth: 1, parent_id: root, state: 'enabled' },
      { id: leaf, depth: 2, parent_id: left, state: 'enabled' },
      { id: right, depth: 1, parent_id: root, state: 'enabled' },
    ])
  })

  test('keep their place while descendants are added', async () => {
    await using stack = await createPipelineStack()
    const { root, left, right, leaf } = await family(stack)
    const expected = [left, leaf, right]
    const pages = await readAll(
      stack,
      'GetKeyDependents',
      { key_id: root, recursive: true, max_results: 1 },
      async () => {
        if (expected.length < 6) expected.push(await stack.createKey({ parent_key_id: right }))
      },
    )
    expect(pages.flat()).toEqual(expected)
  })

  test('are the same whatever the size of a page, and a cursor of another list is refused', async () => {
    await using stack = await createPipelineStack()
    const { root, left, right, leaf } = await family(stack)
    for (const parent_key_id of [leaf, left, root, right]) await stack.createKey({ parent_key_id })
    const listed = { key_id: root, recursive: true }
    const [whole] = await readAll(stack, 'GetKeyDependents', listed)
    expect(whole?.length).toBe(7)
    for (const max_results of [1, 2, 3])
      expect((await readAll(stack, 'GetKeyDependents', { ...listed, max_results })).flat()).toEqual(whole)
    const codes = []
    for (const [key_id, recursive, ordinal] of [
      [left, true, 2],
      [root, false, 3],
      [root, true, 0],
      [root, true, 99],
    ] as const)
      codes.push(
        toCode(await stack.send('GetKeyDependents', { key_id, recursive, cursor: toCursor(toKeyPlace(ordinal)) })),
      )
    expect(codes).toEqual(Array.from({ length: 4 }, () => 'INVALID_REQUEST'))
  })

  test('above a key are listed from the root, with effective states', async () => {
    await using stack = await createPipelineStack()
    const { root, left, leaf } = await family(stack)
    await stack.succeed('DisableKey', { key_id: root })
    const { items } = await stack.succeed('GetKeyAncestors', { key_id: leaf })
    expect(items).toEqual([
      { id: root, depth: 2, state: 'disabled' },
      { id: left, depth: 1, parent_id: root, state: 'disabled' },
    ])
    expect(await readAll(stack, 'GetKeyAncestors', { key_id: leaf, max_results: 1 })).toEqual([[root], [left]])
  })

  test('that the caller may not describe are absent', async () => {
    await using stack = await createPipelineStack()
    const { root, left, right, leaf } = await family(stack)
    stack.pdp.script(({ action, resource }) =>
      action === 'kms:DescribeKey' && resource.id === left ? 'deny' : 'permit',
    )
    expect(await readAll(stack, 'GetKeyDependents', { key_id: root, recursive: true })).toEqual([[leaf, right]])
    expect(await readAll(stack, 'GetKeyAncestors', { key_id: leaf })).toEqual([[root]])
  })
})
