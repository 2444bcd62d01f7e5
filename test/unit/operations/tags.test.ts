import { describe, expect, test } from 'vitest'
import { LIMITS } from '../../../schemas/limits.ts'
import { fold, keyCreated, lidOf } from '../../fixtures/history.ts'
import { createPipelineStack, type PipelineStack, toCode } from '../../fixtures/pipelineStack.ts'

type Tag = { readonly key: string; readonly value: string }

const COMPOSED = 'é'
const DECOMPOSED = 'e\u0301'
const tag = (key: string, value = 'x'): Tag => ({ key, value })
const tagsOf = async (stack: PipelineStack, key_id: string) =>
  (await stack.succeed('ListResourceTags', { key_id })).tags
const codeOfTag = async (stack: PipelineStack, key_id: string, ...tags: readonly Tag[]) =>
  toCode(await stack.send('TagResource', { key_id, tags }))

describe('TagResource', () => {
  test('sets tags and leaves those of other keys, and each is a revision of the key', async () => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey({ tags: [tag('a', '1'), tag('b', '2')] })
    const reply = await stack.succeed('TagResource', { key_id, tags: [tag('b', '3'), tag('c', '')] })
    const expected = [tag('a', '1'), tag('b', '3'), tag('c', '')]
    expect(reply).toMatchObject({ key_id, tags: expected, revision: 2 })
    expect(await tagsOf(stack, key_id)).toEqual(expected)
    expect((await stack.succeed('DescribeKey', { key_id })).key).toMatchObject({ user_tags: expected, revision: 2 })
  })

  test.each([
    ['a key that the service keeps for itself', [tag('kms.x')], 'INVALID_REQUEST'],
    ['the injected attribute', [tag('_kms_key_id')], 'INVALID_REQUEST'],
    ['the key of an identity tag', [tag('tenant')], 'IMMUTABLE_TAG'],
    ['the key of an identity tag among others', [tag('other'), tag('tenant', 'acme')], 'IMMUTABLE_TAG'],
    ['the key of an identity tag in another spelling', [tag(DECOMPOSED)], 'IMMUTABLE_TAG'],
    ['one key twice', [tag('a', '1'), tag('a', '2')], 'INVALID_REQUEST'],
    ['one key twice, spelt in two ways', [tag('ö'), tag('o\u0308')], 'INVALID_REQUEST'],
    ['no tags', [], 'INVALID_REQUEST'],
    ['an empty key', [tag('')], 'INVALID_REQUEST'],
    ['a key of too many bytes', [tag('é'.repeat(LIMITS.tagKeyBytesMax / 2 + 1))], 'INVALID_REQUEST'],
    // U+0958 is two characters in NFC: 42 of them are 126 bytes as sent, and 252 as recorded.
    ['a key that normalization makes too long', [tag('\u0958'.repeat(42))], 'INVALID_REQUEST'],
    ['a value that normalization makes too long', [tag('a', '\u0958'.repeat(85))], 'INVALID_REQUEST'],
  ] as const)('refuses %s, and sets none', async (_what, tags, code) => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey({ attributes: { tenant: 'acme', [COMPOSED]: 'x' } })
    const outgoing = await stack.send('TagResource', { key_id, tags })
    expect(toCode(outgoing)).toBe(code)
    if (!outgoing.ok) expect(outgoing.error.message).not.toMatch(/tenant|acme/)
    expect(await tagsOf(stack, key_id)).toEqual([])
  })

  test('keeps one spelling: what reads the same is one tag, and what the PDP is shown', async () => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey({ tags: [tag(DECOMPOSED, DECOMPOSED)] })
    expect(stack.pdp.asked.at(-1)?.context['requested']).toMatchObject({ user_tags: { [COMPOSED]: COMPOSED } })
    expect(await tagsOf(stack, key_id)).toEqual([tag(COMPOSED, COMPOSED)])
    await stack.succeed('TagResource', { key_id, tags: [tag(DECOMPOSED, 'new')] })
    expect(await tagsOf(stack, key_id)).toEqual([tag(COMPOSED, 'new')])
    expect(stack.pdp.asked.at(-1)?.resource.attributes['user_tags']).toEqual({ [COMPOSED]: 'new' })
    await stack.succeed('UntagResource', { key_id, tag_keys: [DECOMPOSED] })
    expect(await tagsOf(stack, key_id)).toEqual([])
  })

  test('reads a ledger that holds another spelling as if it held this one', () => {
    const view = fold([keyCreated(1, { user_tags: [tag(DECOMPOSED, DECOMPOSED)] })])
    expect(view.keys.byLid.get(lidOf(1))?.userTags).toEqual([tag(COMPOSED, COMPOSED)])
  })

  test(`holds a key to ${LIMITS.tagsMax} tags; one that is replaced takes no more room`, async () => {
    await using stack = await createPipelineStack()
    const tags = Array.from({ length: LIMITS.tagsMax }, (_, n) => tag(`t${n}`))
    const key_id = await stack.createKey({ tags })
    expect(await codeOfTag(stack, key_id, tag('one-more'))).toBe('INVALID_REQUEST')
    expect(await codeOfTag(stack, key_id, tag('t7', 'new'))).toBe('OK')
    await stack.succeed('UntagResource', { key_id, tag_keys: ['t7'] })
    expect(await codeOfTag(stack, key_id, tag('one-more'))).toBe('OK')
  })

  test('sent many times at once loses none', async () => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey()
    const names = Array.from({ length: 20 }, (_, n) => `t${n}`)
    const codes = await Promise.all(names.map((name) => codeOfTag(stack, key_id, tag(name))))
    expect(new Set(codes)).toEqual(new Set(['OK']))
    expect((await tagsOf(stack, key_id)).map(({ key }) => key).sort()).toEqual([...names].sort())
  })
})

describe('UntagResource', () => {
  test('removes the tags that are there; one that is not is no error, and the record names what was removed', async () => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey({ tags: [tag('a'), tag('b')] })
    const reply = await stack.succeed('UntagResource', { key_id, tag_keys: ['b', 'gone'] })
    expect(reply).toMatchObject({ key_id, tags: [tag('a')], revision: 2 })
    expect(stack.ports.events.at(-1)).toMatchObject({ type: 'KeyUntagged', data: { lid: key_id, tag_keys: ['b'] } })
    expect(await stack.succeed('UntagResource', { key_id, tag_keys: ['b'] })).toMatchObject({ revision: 3 })
  })

  test('does not tell an identity tag from one that is not there, and takes none away', async () => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey({ attributes: { tenant: 'acme' } })
    await stack.succeed('UntagResource', { key_id, tag_keys: ['tenant'] })
    await stack.succeed('UntagResource', { key_id, tag_keys: ['nothing'] })
    const [first, second] = stack.ports.events.slice(-2)
    expect(first?.data).toEqual(second?.data)
    expect(Object.keys(stack.ledger.view().keys.byLid.get(key_id)?.identityTags ?? {})).toContain('tenant')
    expect(toCode(await stack.send('UntagResource', { key_id, tag_keys: ['_kms_key_id'] }))).toBe('INVALID_REQUEST')
  })
})

describe('a change of tags', () => {
  test.each([
    ['TagResource', { tags: [tag('a')] }],
    ['UntagResource', { tag_keys: ['a'] }],
  ] as const)('%s is held to the revision it names, and refused for a key that is destroyed', async (name, body) => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey()
    expect(toCode(await stack.send(name, { key_id, ...body, if_revision: 2 }))).toBe('REVISION_CONFLICT')
    expect(toCode(await stack.send(name, { key_id, ...body, if_revision: 1 }))).toBe('OK')
    stack.ports.faults.view = (view) => ({
      ...view,
      keys: { ...view.keys, byLid: view.keys.byLid.map((record) => ({ ...record, state: 'destroyed' as const })) },
    })
    expect(toCode(await stack.send(name, { key_id, ...body }))).toBe('INVALID_STATE_TRANSITION')
    expect(toCode(await stack.send('ListResourceTags', { key_id }))).toBe('OK')
  })
})

describe('ListKeys by tag', () => {
  test('shows the keys that have all of the tags', async () => {
    await using stack = await createPipelineStack()
    const red = await stack.createKey({ tags: [tag('team', 'red')] })
    const both = await stack.createKey({ tags: [tag('stage', 'live'), tag('team', 'red')] })
    await stack.createKey({ attributes: { team: 'red' } })
    await stack.createKey({ tags: [tag('team', 'blue')] })
    const list = async (...tags: readonly Tag[]) =>
      (await stack.succeed('ListKeys', { tags })).items.map(({ key_id }) => key_id)
    expect(await list(tag('team', 'red'))).toEqual([red, both])
    expect(await list(tag('team', 'red'), tag('stage', 'live'))).toEqual([both])
    expect(await list(tag('team', 'Red'))).toEqual([])
    await stack.succeed('UntagResource', { key_id: both, tag_keys: ['stage'] })
    await stack.succeed('TagResource', { key_id: red, tags: [tag('team', 'blue')] })
    expect(await list(tag('team', 'red'))).toEqual([both])
    expect(await list(tag('stage', 'live'))).toEqual([])
  })

  test('takes any spelling of a tag, but one only', async () => {
    await using stack = await createPipelineStack()
    const key = await stack.createKey({ tags: [tag(COMPOSED, COMPOSED)] })
    expect((await stack.succeed('ListKeys', { tags: [tag(DECOMPOSED, DECOMPOSED)] })).items[0]?.key_id).toBe(key)
    const twice = [tag(COMPOSED), tag(DECOMPOSED)]
    expect(toCode(await stack.send('ListKeys', { tags: twice }))).toBe('INVALID_REQUEST')
  })
})
