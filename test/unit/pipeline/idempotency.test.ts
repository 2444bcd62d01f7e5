import { describe, expect, test } from 'vitest'
import { LIMITS } from '../../../schemas/limits.ts'
import { createPipelineStack, type PipelineStack, toCode } from '../../fixtures/pipelineStack.ts'

const AES = { key_spec: 'AES_256' }
const SENT = { idempotencyKey: 'order-7' }

const create = async (stack: PipelineStack, body: object = AES, token = 'alice') =>
  (await stack.succeed('CreateKey', { ...body }, { ...SENT, token })).key

describe('an idempotency key', () => {
  test('repeats the answer without making anything, from what the key is now', async () => {
    await using stack = await createPipelineStack()
    const first = await create(stack)
    await stack.succeed('DisableKey', { key_id: first.key_id })
    const again = await create(stack)
    expect(again.key_id).toBe(first.key_id)
    expect(again.state).toBe('disabled')
    expect(stack.hsm.calls).toEqual(['generateKey'])
    expect(stack.ports.events.map(({ type }) => type)).toEqual(['KeyCreated', 'KeyDisabled', 'RequestReplayed'])
  })

  test('repeats how many descendants a change of state had affected', async () => {
    await using stack = await createPipelineStack()
    const root = await stack.createKey()
    await stack.createKey({ parent_key_id: root })
    const first = await stack.succeed('DisableKey', { key_id: root }, SENT)
    const again = await stack.succeed('DisableKey', { key_id: root }, SENT)
    expect([first.affected_descendants, again.affected_descendants]).toEqual([1, 1])
    expect(toCode(await stack.send('DisableKey', { key_id: root }))).toBe('INVALID_STATE_TRANSITION')
  })

  test('with another body is a conflict, and changes nothing', async () => {
    await using stack = await createPipelineStack()
    await create(stack)
    expect(toCode(await stack.send('CreateKey', { ...AES, description: 'other' }, SENT))).toBe('IDEMPOTENCY_CONFLICT')
    expect(stack.ledger.view().keys.byLid.size).toBe(1)
  })

  test('belongs to its principal, its operation and its key', async () => {
    await using stack = await createPipelineStack()
    const first = await create(stack)
    const second = await create(stack, AES, 'bob')
    expect(second.key_id).not.toBe(first.key_id)
    await stack.succeed('DisableKey', { key_id: first.key_id }, SENT)
    await stack.succeed('DisableKey', { key_id: second.key_id }, SENT)
    await stack.succeed('EnableKey', { key_id: first.key_id }, SENT)
    expect(stack.ports.events.some(({ type }) => type === 'RequestReplayed')).toBe(false)
  })

  test('sent twice at once: the second waits for the first and gets its key', async () => {
    await using stack = await createPipelineStack()
    const both = await Promise.all([create(stack), create(stack)])
    expect(both[0].key_id).toBe(both[1].key_id)
    expect(stack.hsm.calls).toEqual(['generateKey'])
    expect(stack.ports.calls.filter((call) => call.startsWith('ledger'))).toEqual([
      'ledger KeyCreated success',
      'ledger RequestReplayed success',
    ])
  })

  test('of a request that failed is free for the next', async () => {
    await using stack = await createPipelineStack()
    stack.hsm.setAway(true)
    expect(toCode(await stack.send('CreateKey', AES, SENT))).toBe('HSM_UNAVAILABLE')
    stack.hsm.setAway(false)
    await create(stack, { key_spec: 'ED25519' })
  })

  test('is held for 24 hours, then free', async () => {
    await using stack = await createPipelineStack()
    const first = await create(stack)
    await stack.time.advance(LIMITS.idempotencyWindowMs - 1)
    expect((await create(stack)).key_id).toBe(first.key_id)
    await stack.time.advance(1)
    expect((await create(stack)).key_id).not.toBe(first.key_id)
  })

  test('and its body stand in the ledger as keyed hashes only', async () => {
    await using stack = await createPipelineStack()
    await create(stack)
    const [event] = stack.ports.events
    expect(event?.type === 'KeyCreated' && event.data.idempotency?.slot).toHaveLength(32)
    for (const { payload } of stack.ledger.stream.messages)
      expect(Buffer.from(payload).includes(SENT.idempotencyKey)).toBe(false)
  })

  test.each(['', ' ', 'two words', 'naïve', 'x'.repeat(LIMITS.idempotencyKeyCharsMax + 1), 'a\n'])(
    'that is %j is refused',
    async (idempotencyKey) => {
      await using stack = await createPipelineStack()
      expect(toCode(await stack.send('CreateKey', AES, { idempotencyKey }))).toBe('INVALID_REQUEST')
    },
  )
})
