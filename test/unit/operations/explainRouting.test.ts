import { describe, expect, test } from 'vitest'
import { createPipelineStack } from '../../fixtures/pipelineStack.ts'
import { type Attributes, createShop, SENT, toMessage } from '../../fixtures/shop.ts'

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
