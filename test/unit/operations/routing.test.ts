import { describe, expect, test } from 'vitest'
import type { RoutingEntry } from '../../../schemas/routing.ts'
import { createPipelineStack, type PipelineStack, toCode } from '../../fixtures/pipelineStack.ts'

type Attributes = Readonly<Record<string, string | number | boolean>>

const register = (stack: PipelineStack, name: string, ...rules: readonly RoutingEntry[]) =>
  stack.succeed('RegisterNamespace', { name, rules })

const SENT = { key_spec: 'AES_256', namespace: 'shop' } as const

const toMessage = async (sent: ReturnType<PipelineStack['send']>): Promise<string> => {
  const outgoing = await sent
  return outgoing.ok ? 'OK' : `${outgoing.error.code} ${outgoing.error.message}`
}

/** Two parents with names, and a namespace that chooses between them. */
const createShop = async (): Promise<{ stack: PipelineStack; prod: string; test: string }> => {
  const stack = await createPipelineStack({ backends: ['main', 'vault'] })
  const [prod, other] = [await stack.createKey(), await stack.createKey()]
  await stack.succeed('CreateAlias', { alias_name: 'alias/shop-prod', target_key_id: prod })
  await stack.succeed('CreateAlias', { alias_name: 'alias/shop-test', target_key_id: other })
  await register(stack, 'company', { match: { tenant: '*' }, parent: prod })
  await register(
    stack,
    'shop',
    { match: { env: '${env}' }, parent: 'alias/shop-${env}' },
    { match: { env: 'sandbox' }, deny: 'no keys for sandboxes' },
    { match: { env: 'prod', zone: 'vault' }, parent: 'alias/shop-prod', backend_id: 'vault' },
    { _attachment_: 'company' },
  )
  return { stack, prod, test: other }
}

describe('a key that is made in a namespace', () => {
  test('gets the parent that the rules choose, and says which namespace chose it', async () => {
    const { stack, prod, test: other } = await createShop()
    await using _stack = stack
    const make = async (attributes: Attributes) => (await stack.succeed('CreateKey', { ...SENT, attributes })).key
    expect(await make({ env: 'prod' })).toMatchObject({ parent_key_id: prod, namespace: 'shop', backend_id: 'main' })
    expect(await make({ env: 'test' })).toMatchObject({ parent_key_id: other, namespace: 'shop' })
    const key = await make({ tenant: 'acme' })
    expect(key).toMatchObject({ parent_key_id: prod, namespace: 'shop' })
    expect((await stack.succeed('DescribeKey', { key_id: key.key_id })).key).toEqual(key)
    expect((await stack.succeed('GetKeyAncestors', { key_id: key.key_id })).items.map(({ id }) => id)).toEqual([prod])
  })

  test('is recorded with the rule that decided', async () => {
    const { stack } = await createShop()
    await using _stack = stack
    await stack.succeed('CreateKey', { ...SENT, attributes: { tenant: 'acme' } })
    expect(stack.ports.events.at(-1)).toMatchObject({
      type: 'KeyCreated',
      data: { routing: { namespace: 'shop', by: { namespace: 'company', version: 1, rule: 0 } } },
    })
  })

  test('is asked about with the namespace, and its parent as the key that it is', async () => {
    const { stack, prod } = await createShop()
    await using _stack = stack
    const from = stack.pdp.asked.length
    const { key } = await stack.succeed('CreateKey', { ...SENT, attributes: { env: 'prod' } })
    expect(stack.pdp.asked.slice(from)).toMatchObject([
      { action: 'kms:CreateKey', context: { requested: { namespace: 'shop', has_parent: true } } },
      { action: 'kms:CreateChildKey', resource: { type: 'Key', id: prod } },
    ])
    await stack.succeed('DescribeKey', { key_id: key.key_id })
    expect(stack.pdp.asked.at(-1)?.resource.attributes['namespace']).toBe('shop')
  })

  test('stays under its parent whatever the rules become', async () => {
    const { stack, prod, test: other } = await createShop()
    await using _stack = stack
    const { key } = await stack.succeed('CreateKey', { ...SENT, attributes: { env: 'prod' } })
    await register(stack, 'shop', { match: { env: 'prod' }, parent: other })
    await stack.succeed('UpdateAlias', { alias_name: 'alias/shop-prod', target_key_id: other })
    expect((await stack.succeed('DescribeKey', { key_id: key.key_id })).key).toEqual(key)
    await stack.succeed('DisableKey', { key_id: other })
    expect((await stack.succeed('DescribeKey', { key_id: key.key_id })).key.effective_state).toBe('enabled')
    await stack.succeed('DisableKey', { key_id: prod })
    expect((await stack.succeed('DescribeKey', { key_id: key.key_id })).key.locked_by).toBe(prod)
    await stack.succeed('EnableKey', { key_id: other })
    expect((await stack.succeed('CreateKey', { ...SENT, attributes: { env: 'prod' } })).key.parent_key_id).toBe(other)
  })

  test.each<[string, object, string]>([
    ['an unknown namespace', { namespace: 'none' }, 'NOT_FOUND namespace: there is no such namespace'],
    [
      'attributes that no rule is for',
      { attributes: { region: 'eu' } },
      'INVALID_REQUEST namespace: no rule is for a key with these attributes',
    ],
    ['no attributes', {}, 'INVALID_REQUEST namespace: no rule is for a key with these attributes'],
    [
      'a rule that denies',
      { attributes: { env: 'sandbox' } },
      'INVALID_REQUEST namespace: a rule refuses the key: no keys for sandboxes',
    ],
    [
      'an attribute that would lead elsewhere',
      { attributes: { env: 'prod/other' } },
      'INVALID_REQUEST namespace: a rule refuses the key: what the rule captures of the attributes can be no part of a name',
    ],
    [
      'a parent that is not there',
      { attributes: { env: 'staging' } },
      'KEY_NOT_FOUND the parent that the routing rule names does not exist',
    ],
    [
      'another backend than the rule has',
      { attributes: { env: 'prod', zone: 'vault' }, backend_id: 'main' },
      'INVALID_REQUEST namespace: a rule refuses the key: the rule places such keys on another backend',
    ],
  ])('with %s is refused and not made', async (_name, more, message) => {
    const { stack } = await createShop()
    await using _stack = stack
    const { length } = stack.hsm.calls
    expect(await toMessage(stack.send('CreateKey', { ...SENT, ...more }))).toBe(message)
    expect(stack.hsm.calls.length).toBe(length)
    const explained = await stack.send('ExplainRouting', { namespace: 'shop', attributes: {}, ...more })
    expect(explained.ok && explained.body['outcome'] === 'ALLOW').toBe(false)
  })

  test('with a parent of its own is refused before anything is asked', async () => {
    const { stack, prod } = await createShop()
    await using _stack = stack
    const from = stack.pdp.asked.length
    expect(
      await toMessage(stack.send('CreateKey', { ...SENT, parent_key_id: prod, attributes: { env: 'prod' } })),
    ).toBe('INVALID_REQUEST parent_key_id: the namespace chooses the parent; give one of the two')
    expect(stack.pdp.asked.length).toBe(from)
  })

  test('on a backend that is not there is refused, though a rule names it', async () => {
    await using stack = await createPipelineStack()
    await register(stack, 'shop', { match: { zone: '${zone}' }, backend_id: '${zone}' })
    const deny_reason = 'namespace: the backend that the routing rule names does not exist'
    const attributes = { zone: 'away' }
    expect(await toMessage(stack.send('CreateKey', { ...SENT, attributes }))).toBe(`INVALID_REQUEST ${deny_reason}`)
    expect(await stack.succeed('ExplainRouting', { namespace: 'shop', attributes })).toMatchObject({
      outcome: 'DENY',
      deny_reason,
    })
  })

  test('by who may not make keys reads the same whatever the rules say', async () => {
    const { stack } = await createShop()
    await using _stack = stack
    stack.pdp.script('deny')
    const answers = [
      { namespace: 'none' },
      { attributes: { env: 'sandbox' } },
      { attributes: { env: 'prod' } },
      { attributes: { env: 'staging' } },
    ].map((more) => toMessage(stack.send('CreateKey', { ...SENT, ...more })))
    expect(new Set(await Promise.all(answers))).toEqual(new Set(['ACCESS_DENIED kms:CreateKey is not permitted']))
  })

  test('under a parent that the caller may not put keys under is denied', async () => {
    const { stack, prod } = await createShop()
    await using _stack = stack
    stack.pdp.script(({ action, resource }) =>
      action === 'kms:CreateChildKey' && resource.id === prod ? 'deny' : 'permit',
    )
    expect(toCode(await stack.send('CreateKey', { ...SENT, attributes: { env: 'prod' } }))).toBe('ACCESS_DENIED')
    expect(toCode(await stack.send('CreateKey', { ...SENT, attributes: { env: 'test' } }))).toBe('OK')
  })

  test.each([
    ['the rules', (stack: PipelineStack) => register(stack, 'shop', { match: {}, deny: 'closed' })],
    ['the rules of the namespace it is attached to', (stack: PipelineStack) => register(stack, 'company')],
  ])('while %s change is not made, and leaves no object in the HSM', async (_name, change) => {
    const { stack } = await createShop()
    await using _stack = stack
    const before = await stack.hsm.inventory('main', new AbortController().signal)
    stack.ports.faults.afterHsm = async () => {
      stack.ports.faults.afterHsm = undefined
      await change(stack)
    }
    expect(await toMessage(stack.send('CreateKey', { ...SENT, attributes: { tenant: 'acme' } }))).toBe(
      'REVISION_CONFLICT the routing rules changed while the request was under way',
    )
    expect(await stack.hsm.inventory('main', new AbortController().signal)).toEqual(before)
  })

  test('that is asked for twice with one idempotency key is made once, though the rules changed in between', async () => {
    const { stack, prod } = await createShop()
    await using _stack = stack
    const make = () => stack.succeed('CreateKey', { ...SENT, attributes: { env: 'prod' } }, { idempotencyKey: 'once' })
    const first = await make()
    expect(first.key.parent_key_id).toBe(prod)
    await register(stack, 'shop', { match: {}, deny: 'closed' })
    expect((await make()).key).toEqual(first.key)
  })
})

describe('an explanation', () => {
  test('says the place and the rule, and makes nothing', async () => {
    const { stack, prod } = await createShop()
    await using _stack = stack
    const explain = async (attributes: Attributes, more: object = {}) => {
      const { receipt: _own, ...body } = await stack.succeed('ExplainRouting', {
        namespace: 'shop',
        attributes,
        ...more,
      })
      return body
    }
    const { length } = stack.hsm.calls
    const by = (matched_namespace: string, matched_rule_index: number) => ({
      matched_namespace,
      matched_rule_index,
      matched_revision: 1,
    })
    expect(await explain({ env: 'prod', zone: 'vault' })).toEqual({
      outcome: 'ALLOW',
      ...by('shop', 2),
      parent_key_id: prod,
      selected_backend_id: 'vault',
    })
    expect(await explain({ tenant: 'a' }, { backend_id: 'vault' })).toEqual({
      outcome: 'ALLOW',
      ...by('company', 0),
      parent_key_id: prod,
      selected_backend_id: 'vault',
    })
    expect(await explain({ env: 'sandbox' })).toEqual({
      outcome: 'DENY',
      ...by('shop', 1),
      deny_reason: 'no keys for sandboxes',
    })
    expect(await explain({})).toEqual({ outcome: 'NO_MATCH' })
    await stack.succeed('DisableKey', { key_id: prod })
    expect(await explain({ env: 'prod' })).toMatchObject({
      outcome: 'DENY',
      parent_key_id: prod,
      deny_reason: 'the parent key is disabled',
    })
    expect(stack.hsm.calls.length).toBe(length)
  })

  test('without a namespace says where a key goes that asks for none', async () => {
    await using stack = await createPipelineStack({ backends: ['main', 'vault'] })
    const explain = (more: object) => stack.succeed('ExplainRouting', { attributes: {}, ...more })
    expect(await explain({})).toMatchObject({ outcome: 'ALLOW', selected_backend_id: 'main' })
    expect(await explain({ backend_id: 'vault' })).toMatchObject({ outcome: 'ALLOW', selected_backend_id: 'vault' })
    expect(await explain({ backend_id: 'none' })).toMatchObject({ outcome: 'DENY' })
  })

  test('and CreateKey agree about every key', async () => {
    const { stack, test: other } = await createShop()
    await using _stack = stack
    await stack.succeed('DisableKey', { key_id: other })
    const values = {
      env: [undefined, 'prod', 'test', 'sandbox', 'a b'],
      tenant: [undefined, 'acme', ''],
      zone: [undefined, 'vault'],
    }
    for (const env of values.env)
      for (const tenant of values.tenant)
        for (const zone of values.zone) {
          const attributes = Object.fromEntries(
            Object.entries({ env, tenant, zone }).filter(([, value]) => value !== undefined),
          )
          const said = await stack.succeed('ExplainRouting', { namespace: 'shop', attributes })
          const made = await stack.send('CreateKey', {
            ...SENT,
            attributes,
            backend_id: said.selected_backend_id ?? 'main',
          })
          // The doubles have one backend only: a key that is placed on the other gets as far as the HSM.
          const isMade = made.ok || made.error.code === 'UNSUPPORTED_BY_HSM'
          expect([attributes, said.outcome]).toEqual([attributes, isMade ? 'ALLOW' : said.outcome])
          if (!isMade) expect(said.outcome).not.toBe('ALLOW')
          if (made.ok) expect(made.body['key']).toMatchObject({ parent_key_id: said.parent_key_id })
          if (!made.ok && said.outcome === 'DENY') expect(made.error.message).toContain(said.deny_reason)
        }
  })

  test('is for who may describe the parent', async () => {
    const { stack } = await createShop()
    await using _stack = stack
    stack.pdp.script(({ action }) => (action === 'kms:DescribeKey' ? 'deny' : 'permit'))
    const explain = (attributes: Attributes) =>
      toMessage(stack.send('ExplainRouting', { namespace: 'shop', attributes }))
    expect(await explain({ env: 'prod' })).toBe('ACCESS_DENIED kms:DescribeKey is not permitted')
    expect(await explain({ env: 'staging' })).toBe(await explain({ env: 'prod' }))
  })

  test('and every refusal hold no attribute of the key: not its value, nor what a rule makes of it', async () => {
    const { stack } = await createShop()
    await using _stack = stack
    const values = ['planted-value', 'planted/value', 'planted value']
    const answers: unknown[] = []
    for (const env of values)
      for (const operation of ['ExplainRouting', 'CreateKey'] as const)
        answers.push(
          await stack.send(operation, {
            namespace: 'shop',
            attributes: { env, hidden: env },
            ...(operation === 'CreateKey' ? { key_spec: 'AES_256' } : {}),
          }),
        )
    expect(answers.length).toBe(6)
    expect(JSON.stringify([answers, stack.log.lines])).not.toMatch(/planted/)
    const explained = stack.ports.events.filter(({ type }) => type !== 'KeyCreated' && type !== 'NamespaceRegistered')
    expect(JSON.stringify(explained)).not.toMatch(/planted/)
  })
})
