import { describe, expect, test } from 'vitest'
import { LIMITS } from '../../../schemas/limits.ts'
import { createPipelineStack, type PipelineStack, toCode } from '../../fixtures/pipelineStack.ts'
import { live } from '../../fixtures/virtualTime.ts'

const DAY_MS = 24 * 3600 * 1000

const inventoryOf = async (stack: PipelineStack): Promise<readonly string[]> => {
  const inventory = await stack.hsm.inventory('main', new AbortController().signal)
  if (!inventory.ok) throw new Error(inventory.error.message)
  return inventory.value.map(({ lid, version }) => `${lid}/${version}`).sort()
}

const schedule = (stack: PipelineStack, key_id: string, body: object = {}) =>
  stack.succeed('ScheduleKeyDeletion', { key_id, grace_period_days: 7, ...body })

/** Passes the grace period and lets the duties work. */
const passGrace = async (stack: PipelineStack, seconds = 30): Promise<void> => {
  await stack.time.jump(7 * DAY_MS)
  await live(stack.time, seconds * 1000)
}

const stateOf = async (stack: PipelineStack, key_id: string) =>
  (await stack.succeed('DescribeKey', { key_id })).key.state

describe('a key scheduled for deletion', () => {
  test('is locked at once, kept until its day, and destroyed in the HSM then', async () => {
    await using stack = await createPipelineStack()
    const key = await stack.createKey()
    await stack.succeed('RotateKey', { key_id: key })
    const { deletion_date } = await schedule(stack, key)
    expect(Date.parse(deletion_date) - stack.time.now()).toBe(7 * DAY_MS)
    expect(toCode(await stack.send('Encrypt', { key_id: key, plaintext: Buffer.from('x') }))).toBe('KEY_NOT_USABLE')
    stack.pipeline.duties.start()
    await stack.time.jump(7 * DAY_MS - 60_000)
    await live(stack.time, 30_000)
    expect(await inventoryOf(stack)).toEqual([`${key}/1`, `${key}/2`])
    await passGrace(stack)
    expect(await inventoryOf(stack)).toEqual([])
    const { key: body } = await stack.succeed('DescribeKey', { key_id: key })
    expect([body.state, body.key_versions.map(({ state }) => state)]).toEqual(['destroyed', ['destroyed', 'destroyed']])
    expect(toCode(await stack.send('CancelKeyDeletion', { key_id: key }))).toBe('INVALID_STATE_TRANSITION')
    await stack.pipeline.duties.stop()
  })

  test('records that it begins before the HSM is asked, and what the HSM confirmed after', async () => {
    await using stack = await createPipelineStack()
    const key = await stack.createKey()
    await schedule(stack, key)
    const from = stack.ports.calls.length
    stack.pipeline.duties.start()
    await passGrace(stack)
    expect(stack.ports.calls.slice(from)).toEqual([
      'ledger KeyDestructionStarted success',
      'hsm destroyKey',
      'ledger KeyDestroyed success',
    ])
    await stack.pipeline.duties.stop()
  })

  test('comes back disabled when it is cancelled, or compromised if it was', async () => {
    await using stack = await createPipelineStack()
    const [plain, stolen] = [await stack.createKey(), await stack.createKey()]
    await stack.succeed('ReportKeyCompromise', { key_id: stolen })
    for (const key_id of [plain, stolen]) await schedule(stack, key_id)
    const cancel = (key_id: string) => stack.succeed('CancelKeyDeletion', { key_id })
    expect([(await cancel(plain)).key.state, (await cancel(stolen)).key.state]).toEqual(['disabled', 'compromised'])
    expect((await stack.succeed('EnableKey', { key_id: plain })).key.scheduled_deletion_at).toBeUndefined()
  })

  test.each([
    ['is ahead of the storage’s', { skewMs: LIMITS.clockSkewMsMax + 1, blind: undefined }],
    ['is behind the storage’s', { skewMs: -LIMITS.clockSkewMsMax - 1, blind: undefined }],
    ['cannot be compared with the storage’s', { skewMs: 0, blind: 'unanswered' as const }],
  ])('waits while the service’s clock %s, even if the last record was right', async (_what, wrong) => {
    await using stack = await createPipelineStack()
    const key = await stack.createKey()
    await schedule(stack, key)
    Object.assign(stack.ledger.stream, wrong)
    stack.pipeline.duties.start()
    await passGrace(stack)
    expect(await stateOf(stack, key)).toBe('pending_deletion')
    expect(stack.log.lines.map(({ message }) => message)).toContain(
      'the clocks of service and storage disagree: what cannot be undone waits',
    )
    Object.assign(stack.ledger.stream, { skewMs: LIMITS.clockSkewMsMax - 1, blind: undefined })
    await live(stack.time, 30_000)
    expect(await stateOf(stack, key)).toBe('destroyed')
    await stack.pipeline.duties.stop()
  })

  test('says of every version that it is on its way out, from the moment nothing can bring it back', async () => {
    await using stack = await createPipelineStack()
    const key = await stack.createKey()
    await stack.succeed('RotateKey', { key_id: key })
    await schedule(stack, key)
    stack.hsm.setAway(true)
    stack.pipeline.duties.start()
    await passGrace(stack)
    const { key: body } = await stack.succeed('DescribeKey', { key_id: key })
    expect([body.state, body.key_versions.map(({ state }) => state)]).toEqual([
      'destroying',
      ['destroying', 'destroying'],
    ])
    for (const operation of ['CancelKeyDeletion', 'EnableKey', 'ReportKeyCompromise'] as const)
      expect(toCode(await stack.send(operation, { key_id: key }))).toBe('INVALID_STATE_TRANSITION')
    await stack.pipeline.duties.stop()
  })

  test('goes on where it was when the HSM comes back', async () => {
    await using stack = await createPipelineStack()
    const key = await stack.createKey()
    await schedule(stack, key)
    stack.hsm.setAway(true)
    stack.pipeline.duties.start()
    await passGrace(stack)
    expect(await stateOf(stack, key)).toBe('destroying')
    stack.hsm.setAway(false)
    await live(stack.time, 120_000)
    expect(await stateOf(stack, key)).toBe('destroyed')
    expect(await inventoryOf(stack)).toEqual([])
    await stack.pipeline.duties.stop()
  })
})

describe('a hierarchy', () => {
  const family = async (stack: PipelineStack) => {
    const root = await stack.createKey()
    const middle = await stack.createKey({ parent_key_id: root })
    const leaf = await stack.createKey({ parent_key_id: middle })
    return { root, middle, leaf }
  }

  test('with living keys is not deleted without cascade', async () => {
    await using stack = await createPipelineStack()
    const { root, middle } = await family(stack)
    expect(toCode(await stack.send('ScheduleKeyDeletion', { key_id: root, grace_period_days: 7 }))).toBe(
      'KEY_HAS_DEPENDENTS',
    )
    expect(await stateOf(stack, middle)).toBe('enabled')
  })

  test('goes as a whole with cascade: one event, descendants before ancestors', async () => {
    await using stack = await createPipelineStack()
    const { root, middle, leaf } = await family(stack)
    const from = stack.ports.events.length
    const { affected_descendants } = await schedule(stack, root, { cascade: true })
    expect([affected_descendants, stack.ports.events.length - from]).toEqual([2, 1])
    const { key } = await stack.succeed('DescribeKey', { key_id: leaf })
    expect([key.state, key.effective_state, key.locked_by]).toEqual(['enabled', 'pending_deletion', root])
    expect(key.scheduled_deletion_at).toBeDefined()
    stack.pipeline.duties.start()
    await passGrace(stack)
    const destroyed = stack.ports.events.flatMap((event) => (event.type === 'KeyDestroyed' ? [event.data.lid] : []))
    expect(destroyed).toEqual([leaf, middle, root])
    expect(await inventoryOf(stack)).toEqual([])
    await stack.pipeline.duties.stop()
  })

  test('comes back as it was when the root is cancelled and enabled; a descendant alone cannot be cancelled', async () => {
    await using stack = await createPipelineStack()
    const { root, middle, leaf } = await family(stack)
    await stack.succeed('DisableKey', { key_id: middle })
    await schedule(stack, leaf)
    await schedule(stack, root, { cascade: true })
    expect(toCode(await stack.send('CancelKeyDeletion', { key_id: leaf }))).toBe('PARENT_NOT_USABLE')
    await stack.succeed('CancelKeyDeletion', { key_id: root })
    await stack.succeed('EnableKey', { key_id: root })
    expect([await stateOf(stack, root), await stateOf(stack, middle), await stateOf(stack, leaf)]).toEqual([
      'enabled',
      'disabled',
      'pending_deletion',
    ])
  })

  test('takes along a descendant whose own deletion is later', async () => {
    await using stack = await createPipelineStack()
    const { root, leaf } = await family(stack)
    await schedule(stack, leaf, { grace_period_days: 30 })
    await schedule(stack, root, { cascade: true })
    stack.pipeline.duties.start()
    await passGrace(stack)
    expect([await stateOf(stack, leaf), await stateOf(stack, root)]).toEqual(['destroyed', 'destroyed'])
    await stack.pipeline.duties.stop()
  })

  test('below a compromised key decrypts and verifies only; its way out is a key elsewhere and ReEncrypt', async () => {
    await using stack = await createPipelineStack()
    const { root, leaf } = await family(stack)
    const { ciphertext_blob } = await stack.succeed('Encrypt', { key_id: leaf, plaintext: Buffer.from('x') })
    const blob = () => Uint8Array.from(ciphertext_blob)
    expect((await stack.succeed('ReportKeyCompromise', { key_id: root, reason: 'stolen' })).affected_descendants).toBe(
      2,
    )
    const encrypt = { key_id: leaf, plaintext: Buffer.from('x') }
    expect(toCode(await stack.send('Encrypt', encrypt))).toBe('KEY_NOT_USABLE')
    expect(toCode(await stack.send('CreateKey', { key_spec: 'AES_256', parent_key_id: leaf }))).toBe(
      'PARENT_NOT_USABLE',
    )
    expect(toCode(await stack.send('RotateKey', { key_id: leaf }))).toBe('KEY_NOT_USABLE')
    expect(toCode(await stack.send('EnableKey', { key_id: root }))).toBe('INVALID_STATE_TRANSITION')
    const destination_key_id = await stack.createKey()
    const moved = await stack.succeed('ReEncrypt', { ciphertext_blob: blob(), destination_key_id })
    const { plaintext } = await stack.succeed('Decrypt', { ciphertext_blob: Uint8Array.from(moved.ciphertext_blob) })
    expect(Buffer.from(plaintext).toString()).toBe('x')
    await schedule(stack, root, { cascade: true })
    expect(toCode(await stack.send('Decrypt', { ciphertext_blob: blob() }))).toBe('KEY_NOT_USABLE')
  })
})

describe('one version', () => {
  test('is destroyed in two commits; its ciphertexts say so before any decryption is tried', async () => {
    await using stack = await createPipelineStack()
    const key = await stack.createKey()
    const { ciphertext_blob } = await stack.succeed('Encrypt', { key_id: key, plaintext: Buffer.from('x') })
    await stack.succeed('RotateKey', { key_id: key })
    const { version } = await stack.succeed('DestroyKeyVersion', { key_id: key, version: 1 })
    expect(version.state).toBe('destroyed')
    expect(await inventoryOf(stack)).toEqual([`${key}/2`])
    const calls = stack.hsm.calls.length
    expect(toCode(await stack.send('Decrypt', { ciphertext_blob: Uint8Array.from(ciphertext_blob) }))).toBe(
      'KEY_NOT_USABLE',
    )
    expect(stack.hsm.calls.length).toBe(calls)
  })

  test('that the HSM cannot destroy now stays on its way out, and goes when the HSM is back', async () => {
    await using stack = await createPipelineStack()
    const key = await stack.createKey()
    await stack.succeed('RotateKey', { key_id: key })
    stack.hsm.setAway(true)
    const { version } = await stack.succeed('DestroyKeyVersion', { key_id: key, version: 1 })
    expect(version.state).toBe('destroying')
    stack.hsm.setAway(false)
    stack.pipeline.duties.start()
    await live(stack.time, 30_000)
    expect(await inventoryOf(stack)).toEqual([`${key}/2`])
    expect((await stack.succeed('GetKeyVersion', { key_id: key, version: 1 })).version.state).toBe('destroyed')
    await stack.pipeline.duties.stop()
  })

  test('is recorded as confirmed though an ancestor is disabled while the HSM destroys it', async () => {
    await using stack = await createPipelineStack()
    const root = await stack.createKey()
    const key = await stack.createKey({ parent_key_id: root })
    await stack.succeed('RotateKey', { key_id: key })
    stack.ports.faults.afterHsm = async () => {
      stack.ports.faults.afterHsm = undefined
      await stack.succeed('DisableKey', { key_id: root })
    }
    const { version } = await stack.succeed('DestroyKeyVersion', { key_id: key, version: 1 })
    expect(version.state).toBe('destroyed')
    expect(stack.ports.events.find(({ type }) => type === 'KeyVersionDestroyed')?.data).toMatchObject({
      version: 1,
      confirmed: true,
    })
  })

  test('that is the current one stays', async () => {
    await using stack = await createPipelineStack()
    const key = await stack.createKey()
    const codes = []
    for (const version of [1, 2]) codes.push(toCode(await stack.send('DestroyKeyVersion', { key_id: key, version })))
    expect(codes).toEqual(['INVALID_STATE_TRANSITION', 'NOT_FOUND'])
  })
})

test('a thousand keys due at once are all destroyed', async () => {
  await using stack = await createPipelineStack()
  const ids = await Promise.all(Array.from({ length: 1000 }, () => stack.createKey()))
  await Promise.all(ids.map((id) => schedule(stack, id)))
  stack.pipeline.duties.start()
  await passGrace(stack, 60)
  expect(await inventoryOf(stack)).toEqual([])
  const { key } = await stack.succeed('DescribeKey', { key_id: ids[999] })
  expect(key.state).toBe('destroyed')
  await stack.pipeline.duties.stop()
})
