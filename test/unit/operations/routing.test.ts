import { describe, expect, test } from 'vitest'
import { createPipelineStack, type PipelineStack, toCode } from '../../fixtures/pipelineStack.ts'
import { type Attributes, createShop, register, SENT, toMessage } from '../../fixtures/shop.ts'

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
