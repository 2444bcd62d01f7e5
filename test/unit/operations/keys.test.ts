import { describe, expect, test } from 'vitest'
import { LIMITS } from '../../../schemas/limits.ts'
import { lidOf } from '../../fixtures/history.ts'
import { createPipelineStack, type PipelineStack, toCode } from '../../fixtures/pipelineStack.ts'

const codeOfCreate = async (stack: PipelineStack, body: object) =>
  toCode(await stack.send('CreateKey', { key_spec: 'AES_256', ...body }))

describe('CreateKey', () => {
  test('answers with what it made', async () => {
    await using stack = await createPipelineStack()
    const tags = [{ key: 'team', value: 'red' }]
    const { key } = await stack.succeed('CreateKey', { key_spec: 'AES_256', description: 'orders', tags })
    expect(key).toMatchObject({
      key_spec: 'AES_256',
      key_usage: 'ENCRYPT_DECRYPT',
      state: 'enabled',
      effective_state: 'enabled',
      description: 'orders',
      user_tags: tags,
      backend_id: 'main',
      exportable: false,
      current_key_version: 1,
      revision: 1,
      key_versions: [{ version: 1, state: 'enabled', encrypt_count: 0 }],
    })
    expect(key.key_id).toBe(key.lid)
  })

  test('invariant 9: equal attributes make different keys', async () => {
    await using stack = await createPipelineStack()
    const attributes = { tenant: 'acme' }
    const ids = await Promise.all(Array.from({ length: 5 }, () => stack.createKey({ attributes })))
    expect(new Set(ids).size).toBe(5)
  })

  test.each([
    [
      'a tag with the name of an attribute',
      { attributes: { a: 'x' }, tags: [{ key: 'a', value: 'y' }] },
      'IMMUTABLE_TAG',
    ],
    [
      'one that is the same after normalization',
      { attributes: { '\u00e9': 'x' }, tags: [{ key: 'e\u0301', value: 'y' }] },
      'IMMUTABLE_TAG',
    ],
    [
      'two tags of one name',
      {
        tags: [
          { key: 'a', value: '1' },
          { key: 'a', value: '2' },
        ],
      },
      'INVALID_REQUEST',
    ],
    [
      'two that are the same after normalization',
      {
        tags: [
          { key: '\u00e9', value: '1' },
          { key: 'e\u0301', value: '2' },
        ],
      },
      'INVALID_REQUEST',
    ],
    ['a reserved tag', { tags: [{ key: 'kms.x', value: '1' }] }, 'INVALID_REQUEST'],
    ['the injected attribute as a tag', { tags: [{ key: '_kms_key_id', value: '1' }] }, 'INVALID_REQUEST'],
    ['a reserved attribute', { attributes: { _kms_key_id: 'mine' } }, 'INVALID_REQUEST'],
    ['an attribute that is a fraction', { attributes: { a: 0.5 } }, 'INVALID_REQUEST'],
    ['attributes of too many bytes', { attributes: { a: 'x'.repeat(LIMITS.attributeBytesMax) } }, 'INVALID_REQUEST'],
    ['a usage that is not of the spec', { key_usage: 'SIGN_VERIFY' }, 'INVALID_REQUEST'],
    ['a backend that is not there', { backend_id: 'other' }, 'INVALID_REQUEST'],
    ['a parent that is not there', { parent_key_id: lidOf(1) }, 'KEY_NOT_FOUND'],
    ['an alias as a parent', { parent_key_id: 'alias/none' }, 'KEY_NOT_FOUND'],
  ])('refuses %s, before the HSM', async (_what, body, code) => {
    await using stack = await createPipelineStack()
    expect(await codeOfCreate(stack, body)).toBe(code)
    expect(stack.hsm.calls).toEqual([])
  })

  test('refuses a spec that the backend has no mechanism for, and no other is tried', async () => {
    await using stack = await createPipelineStack({ backends: ['main', 'small'] })
    expect(await codeOfCreate(stack, { backend_id: 'small' })).toBe('UNSUPPORTED_BY_HSM')
    expect(stack.hsm.calls).toEqual([])
  })

  test('refuses a parent that is disabled or locked', async () => {
    await using stack = await createPipelineStack()
    const root = await stack.createKey()
    const child = await stack.createKey({ parent_key_id: root })
    await stack.succeed('DisableKey', { key_id: root })
    for (const parent_key_id of [root, child])
      expect(await codeOfCreate(stack, { parent_key_id })).toBe('PARENT_NOT_USABLE')
  })

  test(`makes hierarchies ${LIMITS.hierarchyDepthMax} deep and no deeper`, async () => {
    await using stack = await createPipelineStack()
    let parent_key_id = await stack.createKey()
    for (let depth = 1; depth <= LIMITS.hierarchyDepthMax; depth += 1)
      parent_key_id = await stack.createKey({ parent_key_id })
    expect((await stack.succeed('GetKeyAncestors', { key_id: parent_key_id })).items.length).toBe(
      LIMITS.hierarchyDepthMax,
    )
    expect(await codeOfCreate(stack, { parent_key_id })).toBe('INVALID_REQUEST')
  })

  test.each([
    ['RSA_2048', 1],
    ['RSA_3072', 0],
    ['ED25519', 0],
  ] as const)('of %s warns %d times', async (key_spec, warnings) => {
    await using stack = await createPipelineStack()
    expect((await stack.succeed('CreateKey', { key_spec })).warnings?.length ?? 0).toBe(warnings)
  })

  test('asks the PDP with what is wanted, identity attributes included', async () => {
    await using stack = await createPipelineStack()
    const parent_key_id = await stack.createKey()
    await stack.createKey({ parent_key_id, attributes: { tenant: 'acme' }, tags: [{ key: 'team', value: 'red' }] })
    const [child, parent] = stack.pdp.asked.slice(-2)
    expect(child?.context['requested']).toEqual({
      key_spec: 'AES_256',
      key_usage: 'ENCRYPT_DECRYPT',
      identity_tags: { tenant: 'acme' },
      user_tags: { team: 'red' },
      has_parent: true,
      exportable: false,
    })
    expect(parent?.resource.id).toBe(parent_key_id)
  })
})

describe('EnableKey and DisableKey', () => {
  test('take turns only: a key is not disabled or enabled twice', async () => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey()
    const codes = []
    for (const name of ['EnableKey', 'DisableKey', 'DisableKey', 'EnableKey', 'EnableKey'] as const)
      codes.push(toCode(await stack.send(name, { key_id })))
    expect(codes).toEqual([
      'INVALID_STATE_TRANSITION',
      'OK',
      'INVALID_STATE_TRANSITION',
      'OK',
      'INVALID_STATE_TRANSITION',
    ])
  })

  test('count revisions, and hold a caller to the one it names', async () => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey()
    expect(toCode(await stack.send('DisableKey', { key_id, if_revision: 2 }))).toBe('REVISION_CONFLICT')
    expect((await stack.succeed('DisableKey', { key_id, if_revision: 1 })).key.revision).toBe(2)
    expect(toCode(await stack.send('EnableKey', { key_id, if_revision: 1 }))).toBe('REVISION_CONFLICT')
    expect((await stack.succeed('EnableKey', { key_id, if_revision: 2 })).key.revision).toBe(3)
  })

  test('a key is not enabled under a locked ancestor, but may be disabled, which affects nobody', async () => {
    await using stack = await createPipelineStack()
    const root = await stack.createKey()
    const middle = await stack.createKey({ parent_key_id: root })
    const leaf = await stack.createKey({ parent_key_id: middle })
    await stack.succeed('DisableKey', { key_id: root })
    expect((await stack.succeed('DisableKey', { key_id: middle })).affected_descendants).toBe(0)
    expect(toCode(await stack.send('EnableKey', { key_id: middle }))).toBe('PARENT_NOT_USABLE')
    await stack.succeed('EnableKey', { key_id: root })
    expect((await stack.succeed('DescribeKey', { key_id: leaf })).key.effective_state).toBe('disabled')
    expect((await stack.succeed('EnableKey', { key_id: middle })).affected_descendants).toBe(1)
  })

  test('a key of which the HSM lacks the material says so', async () => {
    await using stack = await createPipelineStack({ isMissing: () => true })
    const key_id = await stack.createKey()
    expect((await stack.succeed('DescribeKey', { key_id })).key.key_versions[0]?.state).toBe('material_missing')
    expect(toCode(await stack.send('Encrypt', { key_id, plaintext: Buffer.from('x') }))).toBe('KEY_NOT_USABLE')
    expect(stack.hsm.calls).toEqual(['generateKey'])
  })
})
