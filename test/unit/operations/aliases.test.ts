import { describe, expect, test } from 'vitest'
import type { View } from '../../../projections/view.ts'
import type { KeyStateName } from '../../../schemas/keys.ts'
import { LIMITS } from '../../../schemas/limits.ts'
import { lidOf } from '../../fixtures/history.ts'
import { createPipelineStack, type PipelineStack, toCode } from '../../fixtures/pipelineStack.ts'

const A = 'alias/orders'
const create = (stack: PipelineStack, target_key_id: string, alias_name = A) =>
  stack.succeed('CreateAlias', { alias_name, target_key_id })
const keyOf = async (stack: PipelineStack, key_id: string) =>
  (await stack.succeed('DescribeKey', { key_id })).key.key_id

/** Shows a key in a state that no operation of this test makes. */
const show = (stack: PipelineStack, lid: string, state: KeyStateName) => {
  stack.ports.faults.view = (view: View) => ({
    ...view,
    keys: {
      ...view.keys,
      byLid: view.keys.byLid.map((record) => (record.lid === lid ? { ...record, state } : record)),
    },
  })
}

describe('an alias', () => {
  test('is made, pointed elsewhere and deleted, and each is in force at once', async () => {
    await using stack = await createPipelineStack()
    const [one, two] = [await stack.createKey(), await stack.createKey()]
    expect(await create(stack, one)).toMatchObject({ alias_name: A, target_key_id: one })
    expect(await keyOf(stack, A)).toBe(one)
    expect(await stack.succeed('UpdateAlias', { alias_name: A, target_key_id: two })).toMatchObject({
      alias_name: A,
      target_key_id: two,
    })
    expect(await keyOf(stack, A)).toBe(two)
    expect(await stack.succeed('DeleteAlias', { alias_name: A })).toMatchObject({ alias_name: A, target_key_id: two })
    expect(toCode(await stack.send('DescribeKey', { key_id: A }))).toBe('KEY_NOT_FOUND')
    expect(await create(stack, one)).toMatchObject({ target_key_id: one })
  })

  test('may be given its target by another alias, and then stands for that key, not for that name', async () => {
    await using stack = await createPipelineStack()
    const [one, two] = [await stack.createKey(), await stack.createKey()]
    await create(stack, one)
    expect((await create(stack, A, 'alias/second')).target_key_id).toBe(one)
    await stack.succeed('UpdateAlias', { alias_name: A, target_key_id: two })
    expect(await keyOf(stack, 'alias/second')).toBe(one)
    expect((await stack.succeed('UpdateAlias', { alias_name: A, target_key_id: A })).target_key_id).toBe(two)
  })

  test('leaves the revision of its keys alone', async () => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey()
    await create(stack, key_id)
    expect((await stack.succeed('DescribeKey', { key_id })).key.revision).toBe(1)
  })

  test.each([
    ['CreateAlias of a name that is taken', 'CreateAlias', { alias_name: A }, 'ALREADY_EXISTS'],
    ['CreateAlias for a key that is not there', 'CreateAlias', { target_key_id: lidOf(1) }, 'KEY_NOT_FOUND'],
    ['CreateAlias for an alias that is not there', 'CreateAlias', { target_key_id: 'alias/none' }, 'KEY_NOT_FOUND'],
    ['UpdateAlias of a name that is not there', 'UpdateAlias', {}, 'ALIAS_NOT_FOUND'],
    [
      'UpdateAlias to a key that is not there',
      'UpdateAlias',
      { alias_name: A, target_key_id: lidOf(1) },
      'KEY_NOT_FOUND',
    ],
    ['DeleteAlias of a name that is not there', 'DeleteAlias', { target_key_id: undefined }, 'ALIAS_NOT_FOUND'],
    ['names in another case, which are others', 'UpdateAlias', { alias_name: 'alias/ORDERS' }, 'ALIAS_NOT_FOUND'],
    ...[
      'orders',
      'alias/',
      'Alias/x',
      'alias/é',
      'alias/a b',
      'alias/a.b',
      `alias/${'x'.repeat(129)}`,
      'alias/a\n',
    ].map(
      (alias_name) =>
        [`the name ${JSON.stringify(alias_name)}`, 'CreateAlias', { alias_name }, 'INVALID_REQUEST'] as const,
    ),
  ] as const)('refuses %s', async (_what, operation, body, code) => {
    await using stack = await createPipelineStack()
    const key = await stack.createKey()
    await create(stack, key)
    const { target_key_id, ...rest } = { alias_name: 'alias/new', target_key_id: key, ...body }
    expect(
      toCode(await stack.send(operation, { ...rest, ...(target_key_id === undefined ? {} : { target_key_id }) })),
    ).toBe(code)
    expect(stack.ledger.view().aliases.byName.get(A)?.lid).toBe(key)
  })

  test.each(['destroying', 'destroyed'] as const)(
    'stays readable while its key is %s, and may be deleted or pointed away, but not pointed there',
    async (state) => {
      await using stack = await createPipelineStack()
      const [gone, alive] = [await stack.createKey(), await stack.createKey()]
      for (const name of [A, 'alias/second']) await create(stack, gone, name)
      show(stack, gone, state)
      expect(await keyOf(stack, A)).toBe(gone)
      const codes = []
      for (const target_key_id of [gone, A]) {
        codes.push(toCode(await stack.send('CreateAlias', { alias_name: 'alias/new', target_key_id })))
        codes.push(toCode(await stack.send('UpdateAlias', { alias_name: A, target_key_id })))
      }
      expect(new Set(codes)).toEqual(new Set(['KEY_NOT_USABLE']))
      await stack.succeed('UpdateAlias', { alias_name: A, target_key_id: alive })
      await stack.succeed('DeleteAlias', { alias_name: 'alias/second' })
    },
  )

  test.each(['disabled', 'compromised', 'pending_deletion'] as const)(
    'may be given to a key that is %s: it says which key is meant, not what may be done with it',
    async (state) => {
      await using stack = await createPipelineStack()
      const key = await stack.createKey()
      show(stack, key, state)
      await create(stack, key)
    },
  )

  test(`is one of ${LIMITS.aliasesPerKeyMax} a key may have, also when many are made at once`, async () => {
    await using stack = await createPipelineStack()
    const [full, other] = [await stack.createKey(), await stack.createKey()]
    const makings = Array.from({ length: LIMITS.aliasesPerKeyMax + 5 }, (_, n) =>
      stack.send('CreateAlias', { alias_name: `alias/${n}`, target_key_id: full }),
    )
    const codes = (await Promise.all(makings)).map(toCode)
    expect(codes.filter((code) => code === 'OK').length).toBe(LIMITS.aliasesPerKeyMax)
    expect(codes.filter((code) => code === 'INVALID_REQUEST').length).toBe(5)
    await create(stack, other, 'alias/other')
    const point = (alias_name: string, target_key_id: string) =>
      stack.send('UpdateAlias', { alias_name, target_key_id }).then(toCode)
    expect(await point('alias/other', full)).toBe('INVALID_REQUEST')
    const own = `alias/${codes.indexOf('OK')}`
    expect(await point(own, full)).toBe('OK')
    expect(await point(own, other)).toBe('OK')
    expect(await point('alias/other', full)).toBe('OK')
  })
})

describe('what the PDP is asked about an alias', () => {
  const asked = async (stack: PipelineStack, ...call: Parameters<PipelineStack['send']>) => {
    const from = stack.pdp.asked.length
    await stack.send(...call)
    return stack.pdp.asked.slice(from).map(({ action, resource }) => [action, resource.type, resource.id])
  }

  test('is the name, the key that loses it and the key that gets it', async () => {
    await using stack = await createPipelineStack()
    const [one, two] = [await stack.createKey(), await stack.createKey()]
    expect(await asked(stack, 'CreateAlias', { alias_name: A, target_key_id: one })).toEqual([
      ['kms:CreateAlias', 'Alias', A],
      ['kms:AttachAlias', 'Key', one],
    ])
    expect(await asked(stack, 'UpdateAlias', { alias_name: A, target_key_id: two })).toEqual([
      ['kms:UpdateAlias', 'Alias', A],
      ['kms:DetachAlias', 'Key', one],
      ['kms:AttachAlias', 'Key', two],
    ])
    expect(await asked(stack, 'DeleteAlias', { alias_name: A })).toEqual([
      ['kms:DeleteAlias', 'Alias', A],
      ['kms:DetachAlias', 'Key', two],
    ])
    expect(stack.pdp.asked.at(-2)?.resource.attributes).toEqual({ exists: true, name: A })
  })

  test('decides each on its own: a denial of any changes nothing', async () => {
    await using stack = await createPipelineStack()
    const [one, two] = [await stack.createKey(), await stack.createKey()]
    await create(stack, one)
    for (const denied of ['kms:UpdateAlias', 'kms:DetachAlias', 'kms:AttachAlias']) {
      stack.pdp.script(({ action }) => (action === denied ? 'deny' : 'permit'))
      expect(toCode(await stack.send('UpdateAlias', { alias_name: A, target_key_id: two }))).toBe('ACCESS_DENIED')
    }
    expect(stack.ledger.view().aliases.byName.get(A)?.lid).toBe(one)
  })

  test.each([
    ['CreateAlias', { target_key_id: lidOf(9) }],
    ['UpdateAlias', { target_key_id: lidOf(9) }],
    ['DeleteAlias', {}],
  ] as const)('tells a stranger to %s nothing: a name that is there reads like one that is not', async (name, body) => {
    await using stack = await createPipelineStack()
    await create(stack, await stack.createKey())
    stack.pdp.script('deny')
    const answers = []
    for (const alias_name of [A, 'alias/none']) {
      const outgoing = await stack.send(name, { alias_name, ...body })
      answers.push(outgoing.ok ? 'OK' : outgoing.error)
    }
    expect(answers[0]).toEqual(answers[1])
    expect(answers[0]).toMatchObject({ code: 'ACCESS_DENIED' })
  })
})

describe('the record of a change of a name', () => {
  test('names the alias and its keys, a denial and a failure too', async () => {
    await using stack = await createPipelineStack()
    const [one, two] = [await stack.createKey(), await stack.createKey()]
    await create(stack, one)
    await stack.succeed('UpdateAlias', { alias_name: A, target_key_id: two })
    await stack.succeed('DeleteAlias', { alias_name: A })
    await stack.send('DeleteAlias', { alias_name: A })
    stack.pdp.script('deny')
    await stack.send('CreateAlias', { alias_name: A, target_key_id: one })
    const alias = { type: 'Alias', id: A }
    const [first, second] = [one, two].map((id) => ({ type: 'Key', id }))
    expect(stack.ports.events.slice(2).map(({ type, resources }) => [type, resources])).toEqual([
      ['AliasCreated', [alias, first]],
      ['AliasUpdated', [alias, second, first]],
      ['AliasDeleted', [alias, second]],
      ['OperationFailed', [alias]],
      ['AccessDenied', [alias, first]],
    ])
  })
})

describe('ListAliases', () => {
  const readAll = async (stack: PipelineStack, body: object = {}, between?: () => Promise<unknown>) => {
    const pages: (readonly string[])[] = []
    let cursor: string | undefined
    do {
      const page = await stack.succeed('ListAliases', { ...body, ...(cursor === undefined ? {} : { cursor }) })
      pages.push(page.items.map(({ alias_name }) => alias_name))
      cursor = page.next_cursor
      await between?.()
    } while (cursor !== undefined && pages.length < 50)
    return pages
  }

  test('pages in order of names, of all keys or of one', async () => {
    await using stack = await createPipelineStack()
    const [one, two] = [await stack.createKey(), await stack.createKey()]
    for (const [name, key] of [
      ['c', one],
      ['a', two],
      ['a/b', one],
      ['B', one],
    ] as const)
      await create(stack, key, `alias/${name}`)
    expect(await readAll(stack, { max_results: 3 })).toEqual([['alias/B', 'alias/a', 'alias/a/b'], ['alias/c']])
    expect(await readAll(stack, { key_id: one, max_results: 2 })).toEqual([['alias/B', 'alias/a/b'], ['alias/c']])
    expect(await readAll(stack, { key_id: 'alias/a' })).toEqual([['alias/a']])
    const { items } = await stack.succeed('ListAliases', { key_id: two })
    expect(items).toEqual([
      { alias_name: 'alias/a', target_key_id: two, created_at: expect.any(String), updated_at: expect.any(String) },
    ])
  })

  test('keeps its place while names come and go', async () => {
    await using stack = await createPipelineStack()
    const key = await stack.createKey()
    for (const name of ['b', 'd', 'f']) await create(stack, key, `alias/${name}`)
    const changes = [
      () => create(stack, key, 'alias/a'),
      async () => {
        await stack.succeed('DeleteAlias', { alias_name: 'alias/f' })
        await create(stack, key, 'alias/z')
      },
    ]
    const pages = await readAll(stack, { max_results: 1 }, async () => changes.shift()?.())
    expect(pages.flat()).toEqual(['alias/b', 'alias/d', 'alias/z'])
  })

  test('leaves out the names of keys that the caller may not describe', async () => {
    await using stack = await createPipelineStack()
    const [seen, hidden] = [await stack.createKey(), await stack.createKey()]
    for (const [name, key] of [
      ['a', hidden],
      ['b', seen],
      ['c', hidden],
    ] as const)
      await create(stack, key, `alias/${name}`)
    stack.pdp.script(({ action, resource }) =>
      action === 'kms:DescribeKey' && resource.id === hidden ? 'deny' : 'permit',
    )
    expect(await readAll(stack)).toEqual([['alias/b']])
    expect(toCode(await stack.send('ListAliases', { key_id: hidden }))).toBe('ACCESS_DENIED')
    expect(toCode(await stack.send('ListAliases', { key_id: 'alias/none' }))).toBe('KEY_NOT_FOUND')
  })

  test.each(['x', 'k1', ''].map((place) => Buffer.from(place).toString('base64url')))(
    'refuses a cursor that is not of this list: %j',
    async (cursor) => {
      await using stack = await createPipelineStack()
      expect(toCode(await stack.send('ListAliases', { cursor }))).toBe('INVALID_REQUEST')
    },
  )
})
