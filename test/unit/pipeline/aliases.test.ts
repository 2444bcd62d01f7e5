import { describe, expect, test } from 'vitest'
import type { EventName } from '../../../schemas/events.ts'
import { eventOf } from '../../fixtures/history.ts'
import { createPipelineStack, type PipelineStack, toCode } from '../../fixtures/pipelineStack.ts'

/** Records a change of a name past the operations, so that resolution alone is tested. */
const name = async (stack: PipelineStack, type: EventName & `Alias${string}`, lid: string, alias = 'alias/orders') => {
  const event = eventOf(type, { name: alias, lid })
  const appended = await stack.ledger.append(
    { events: [event], guards: [], toFailed: () => event },
    new AbortController().signal,
  )
  expect(appended.ok).toBe(true)
}

describe('a key id that is an alias', () => {
  test('stands for the key it names', async () => {
    await using stack = await createPipelineStack()
    const key = await stack.createKey()
    await name(stack, 'AliasCreated', key)
    const { key_id } = await stack.succeed('Encrypt', { key_id: 'alias/orders', plaintext: Buffer.from('x') })
    expect(key_id).toBe(key)
    expect((await stack.succeed('DisableKey', { key_id: 'alias/orders' })).key.key_id).toBe(key)
  })

  test('is refused like a key that does not exist once it is deleted', async () => {
    await using stack = await createPipelineStack()
    const key = await stack.createKey()
    await name(stack, 'AliasCreated', key)
    await name(stack, 'AliasDeleted', key)
    expect(toCode(await stack.send('DescribeKey', { key_id: 'alias/orders' }))).toBe('KEY_NOT_FOUND')
  })

  test('beside a ciphertext must stand for the key of its header', async () => {
    await using stack = await createPipelineStack()
    const [key, other] = [await stack.createKey(), await stack.createKey()]
    await name(stack, 'AliasCreated', key)
    const made = await stack.succeed('Encrypt', { key_id: key, plaintext: Buffer.from('x') })
    const blob = () => Uint8Array.from(made.ciphertext_blob)
    const decrypt = async () => toCode(await stack.send('Decrypt', { key_id: 'alias/orders', ciphertext_blob: blob() }))
    expect(toCode(await stack.send('Decrypt', { key_id: 'alias/orders', ciphertext_blob: blob() }))).toBe('OK')
    await name(stack, 'AliasUpdated', other)
    expect(await decrypt()).toBe('INVALID_CIPHERTEXT')
  })

  test('that is pointed elsewhere while a request is under way refuses the request', async () => {
    await using stack = await createPipelineStack()
    const [key, other] = [await stack.createKey(), await stack.createKey()]
    await name(stack, 'AliasCreated', key)
    stack.ports.faults.afterHsm = () => name(stack, 'AliasUpdated', other)
    expect(toCode(await stack.send('Encrypt', { key_id: 'alias/orders', plaintext: Buffer.from('x') }))).toBe(
      'REVISION_CONFLICT',
    )
  })

  test('takes turns with the key it names, and shares its idempotency slots', async () => {
    await using stack = await createPipelineStack()
    const key = await stack.createKey()
    await name(stack, 'AliasCreated', key)
    await stack.succeed('DisableKey', { key_id: 'alias/orders' }, { idempotencyKey: 'once' })
    expect(toCode(await stack.send('DisableKey', { key_id: key }, { idempotencyKey: 'once' }))).toBe(
      'IDEMPOTENCY_CONFLICT',
    )
  })
})
