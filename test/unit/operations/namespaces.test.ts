import { describe, expect, test } from 'vitest'
import type { View } from '../../../projections/view.ts'
import { LIMITS } from '../../../schemas/limits.ts'
import type { RoutingEntry } from '../../../schemas/routing.ts'
import { createPipelineStack, type PipelineStack, toCode } from '../../fixtures/pipelineStack.ts'

const register = (stack: PipelineStack, name: string, ...rules: readonly RoutingEntry[]) =>
  stack.succeed('RegisterNamespace', { name, rules })

const toMessage = async (sent: ReturnType<PipelineStack['send']>): Promise<string> => {
  const outgoing = await sent
  return outgoing.ok ? 'OK' : `${outgoing.error.code} ${outgoing.error.message}`
}

const CATCH_ALL: RoutingEntry = { match: {}, deny: 'nothing here' }

describe('a namespace', () => {
  test('is registered, described, and registered again as its next revision', async () => {
    await using stack = await createPipelineStack()
    const rules = [{ match: { env: '${env}', level: 3 }, parent: 'alias/${env}', backend_id: 'main' }]
    expect(await register(stack, 'shop', ...rules)).toMatchObject({ name: 'shop', revision: 1 })
    const first = await stack.succeed('DescribeNamespace', { name: 'shop' })
    expect(first).toMatchObject({ name: 'shop', revision: 1, rules })
    expect(first.updated_at).toBe(first.created_at)
    stack.time.advance(60_000)
    expect(await register(stack, 'shop', CATCH_ALL)).toMatchObject({ revision: 2 })
    const second = await stack.succeed('DescribeNamespace', { name: 'shop' })
    expect(second).toMatchObject({ revision: 2, rules: [CATCH_ALL], created_at: first.created_at })
    expect(Date.parse(second.updated_at)).toBeGreaterThan(Date.parse(first.updated_at))
  })

  test.each([
    [undefined, 0, 'OK'],
    [0, 0, 'OK'],
    [1, 0, 'REVISION_CONFLICT'],
    [0, 2, 'REVISION_CONFLICT'],
    [1, 2, 'REVISION_CONFLICT'],
    [2, 2, 'OK'],
    [3, 2, 'REVISION_CONFLICT'],
  ])('with if_revision %s, at revision %s: %s', async (if_revision, revision, code) => {
    await using stack = await createPipelineStack()
    for (let n = 0; n < revision; n += 1) await register(stack, 'shop')
    const more = if_revision === undefined ? {} : { if_revision }
    expect(toCode(await stack.send('RegisterNamespace', { name: 'shop', rules: [], ...more }))).toBe(code)
  })

  test.each<[string, readonly RoutingEntry[], string]>([
    [
      'an unbound variable',
      [{ match: { env: '*' }, parent: 'alias/${env}' }],
      'rules.0.parent: uses ${env}, which the match does not capture',
    ],
    [
      'a rule out of reach and an unknown namespace',
      [CATCH_ALL, { match: {}, parent: 'alias/x' }, { _attachment_: 'none' }],
      "rules.1: can't be reached: rules.0 matches the same keys; " +
        "rules.2._attachment_: can't be reached: rules.0 matches every key; " +
        'rules.2._attachment_: there is no such namespace',
    ],
    ['a cycle', [{ _attachment_: 'middle' }], 'rules.0._attachment_: is a cycle: it leads back to this namespace'],
  ])('with %s is refused, with what is wrong, and nothing changes', async (_name, rules, message) => {
    await using stack = await createPipelineStack()
    await register(stack, 'shop')
    await register(stack, 'middle', { _attachment_: 'shop' })
    expect(await toMessage(stack.send('RegisterNamespace', { name: 'shop', rules }))).toBe(`INVALID_REQUEST ${message}`)
    expect(await stack.succeed('DescribeNamespace', { name: 'shop' })).toMatchObject({ revision: 1, rules: [] })
  })

  test('whose rules name a parent or a backend that is not there is refused; names with variables are not looked up', async () => {
    await using stack = await createPipelineStack()
    const there = await stack.createKey()
    const gone = await stack.createKey()
    await stack.succeed('CreateAlias', { alias_name: 'alias/there', target_key_id: there })
    const nobody = `lid_${'0'.repeat(64)}`
    const send = (rules: readonly RoutingEntry[]) => toMessage(stack.send('RegisterNamespace', { name: 'shop', rules }))
    expect(
      await send([
        { match: { a: 'alias' }, parent: 'alias/nobody' },
        { match: { a: 'id' }, parent: nobody, backend_id: 'vault' },
      ]),
    ).toBe(
      'INVALID_REQUEST rules.0.parent: there is no such key; rules.1.parent: there is no such key; ' +
        'rules.1.backend_id: there is no such backend',
    )
    const good: readonly RoutingEntry[] = [
      { match: { a: 'alias' }, parent: 'alias/there', backend_id: 'main' },
      { match: { a: 'id' }, parent: gone },
      { match: { b: '${b}' }, parent: 'alias/${b}', backend_id: '${b}' },
    ]
    expect(await send(good)).toBe('OK')
    stack.ports.faults.view = (view) => {
      const record = view.keys.byLid.get(gone)
      if (record === undefined) return view
      const byLid = view.keys.byLid.set(gone, { ...record, state: 'destroyed' })
      return { ...view, keys: { ...view.keys, byLid } }
    }
    expect(await send(good)).toBe('INVALID_REQUEST rules.1.parent: the key is destroyed')
  })

  test.each<[string, object]>([
    ['a list as match', { match: [] }],
    ['a list as pattern', { match: { a: ['x'] } }],
    ['a number that is not whole', { match: { a: 0.5 } }],
    ['an unknown member', { match: {}, deny: 'no', color: 'red' }],
    ['no entry at all', Object('text')],
  ])('with %s breaks the schema', async (_name, entry) => {
    await using stack = await createPipelineStack()
    expect(await toMessage(stack.send('RegisterNamespace', { name: 'shop', rules: [entry] }))).toMatch(
      /^INVALID_REQUEST rules\.0/,
    )
  })

  test('has at most so many others beside it; those that are there may still change', async () => {
    await using stack = await createPipelineStack()
    await register(stack, 'shop')
    const shop = (view: View) => view.namespaces.byName.get('shop')
    stack.ports.faults.view = (view) => {
      const one = shop(view)
      if (one === undefined) return view
      const names = Array.from({ length: LIMITS.namespacesMax - 1 }, (_, n) => `n${n}`)
      const byName = view.namespaces.byName.concat(names.map((name) => [name, { ...one, name }] as const))
      return { ...view, namespaces: { ...view.namespaces, byName } }
    }
    expect(await toMessage(stack.send('RegisterNamespace', { name: 'one-more', rules: [] }))).toMatch(/1000 namespaces/)
    expect(toCode(await stack.send('RegisterNamespace', { name: 'shop', rules: [] }))).toBe('OK')
  })

  test('two that would make a cycle together, registered at once, never both are', async () => {
    await using stack = await createPipelineStack()
    await register(stack, 'a')
    await register(stack, 'b')
    const codes = await Promise.all([
      stack.send('RegisterNamespace', { name: 'a', rules: [{ _attachment_: 'b' }] }),
      stack.send('RegisterNamespace', { name: 'b', rules: [{ _attachment_: 'a' }] }),
    ])
    expect(codes.map(toCode)).toEqual(['OK', 'INVALID_REQUEST'])
  })

  test('a registration that is repeated is answered as the first was, though there is a later one', async () => {
    await using stack = await createPipelineStack()
    const again = () => stack.succeed('RegisterNamespace', { name: 'shop', rules: [] }, { idempotencyKey: 'once' })
    expect(await again()).toMatchObject({ revision: 1 })
    await register(stack, 'shop', CATCH_ALL)
    expect(await again()).toMatchObject({ name: 'shop', revision: 1 })
    expect(await stack.succeed('DescribeNamespace', { name: 'shop' })).toMatchObject({ revision: 2 })
  })

  test('attached to another asks the PDP about that one too, whether it exists or not', async () => {
    await using stack = await createPipelineStack()
    stack.pdp.script(({ action }) => (action === 'kms:AttachNamespace' ? 'deny' : 'permit'))
    const rules = [{ _attachment_: 'company' }]
    expect(await toMessage(stack.send('RegisterNamespace', { name: 'shop', rules }))).toBe(
      'ACCESS_DENIED kms:AttachNamespace is not permitted',
    )
    expect(stack.pdp.asked.at(-1)?.resource).toEqual({
      type: 'Namespace',
      id: 'company',
      attributes: { exists: false, name: 'company' },
    })
  })

  test('that does not exist reads like one that does to whoever may not describe it', async () => {
    await using stack = await createPipelineStack()
    await register(stack, 'shop')
    expect(await toMessage(stack.send('DescribeNamespace', { name: 'none' }))).toMatch(/^NOT_FOUND/)
    stack.pdp.script('deny')
    const [one, other] = [
      await toMessage(stack.send('DescribeNamespace', { name: 'shop' })),
      await toMessage(stack.send('DescribeNamespace', { name: 'none' })),
    ]
    expect(one).toBe(other)
  })
})

describe('the list of namespaces', () => {
  test('has in order of names those that the caller may describe, page by page', async () => {
    await using stack = await createPipelineStack()
    for (const name of ['d', 'a', 'secret', 'c', 'b']) await register(stack, name)
    stack.pdp.script(({ action, resource }) =>
      action === 'kms:DescribeNamespace' && resource.id === 'secret' ? 'deny' : 'permit',
    )
    const names: string[] = []
    let cursor: string | undefined
    do {
      const page = await stack.succeed('ListNamespaces', {
        max_results: 2,
        ...(cursor === undefined ? {} : { cursor }),
      })
      names.push(...page.items.map(({ name }) => name))
      cursor = page.next_cursor
    } while (cursor !== undefined)
    expect(names).toEqual(['a', 'b', 'c', 'd'])
  })

  test('is no list at all when the PDP falls silent over one of them', async () => {
    await using stack = await createPipelineStack()
    await register(stack, 'a')
    stack.pdp.script(({ action }) => (action === 'kms:DescribeNamespace' ? 'throw' : 'permit'))
    expect(toCode(await stack.send('ListNamespaces'))).toBe('PDP_UNAVAILABLE')
  })
})
