import { describe, expect, test } from 'vitest'
import { LIMITS } from '../../../schemas/limits.ts'
import { createPipelineStack, type PipelineStack, toCode } from '../../fixtures/pipelineStack.ts'
import { live } from '../../fixtures/virtualTime.ts'

const MESSAGES_MAX = 10
const openStack = () => createPipelineStack({ messagesPerVersionMax: MESSAGES_MAX })

const encrypt = async (stack: PipelineStack, key_id: string): Promise<string> =>
  toCode(await stack.send('Encrypt', { key_id, plaintext: Buffer.from('x') }))

const useUp = async (stack: PipelineStack, key_id: string, messages: number): Promise<void> => {
  for (let n = 0; n < messages; n += 1) expect(await encrypt(stack, key_id)).toBe('OK')
}

/** Two polls of every duty: the warning comes with the first, what follows from it with the second. */
const poll = (stack: PipelineStack) => live(stack.time, 2 * LIMITS.dutyPollMs + 1_000)

const listChanges = (stack: PipelineStack): readonly string[] =>
  stack.ports.events.flatMap((event) =>
    event.type === 'BudgetWarned'
      ? [`warned of version ${event.data.version} at ${event.data.count}`]
      : event.type === 'KeyRotated'
        ? [`rotated to ${event.data.version} by ${event.data.cause}`]
        : [],
  )

describe('invariant 13: nonce budget', () => {
  test('half of it used is recorded as a warning, once a version', async () => {
    await using stack = await openStack()
    const key_id = await stack.createKey()
    stack.pipeline.duties.start()
    await useUp(stack, key_id, 4)
    await poll(stack)
    expect(listChanges(stack)).toEqual([])
    await useUp(stack, key_id, 1)
    await poll(stack)
    await useUp(stack, key_id, 2)
    await poll(stack)
    await stack.pipeline.duties.stop()
    expect(listChanges(stack)).toEqual(['warned of version 1 at 5'])
  })

  test('a key whose policy allows it is rotated then, after the warning; the next version has a budget of its own', async () => {
    await using stack = await openStack()
    const key_id = await stack.createKey()
    await stack.succeed('SetKeyRotationPolicy', { key_id, enabled: true, rotation_interval_days: 365 })
    stack.pipeline.duties.start()
    for (let round = 0; round < 3; round += 1) {
      await useUp(stack, key_id, 5)
      await poll(stack)
    }
    await stack.pipeline.duties.stop()
    expect(listChanges(stack)).toEqual([
      'warned of version 1 at 5',
      'rotated to 2 by budget',
      'warned of version 2 at 5',
      'rotated to 3 by budget',
      'warned of version 3 at 5',
      'rotated to 4 by budget',
    ])
    const { items } = await stack.succeed('ListKeyVersions', { key_id })
    expect(items.map(({ encrypt_count }) => encrypt_count)).toEqual([5, 5, 5, 0])
  })

  test('a key without a policy, or with one that is switched off, is not rotated', async () => {
    await using stack = await openStack()
    const [plain, off] = [await stack.createKey(), await stack.createKey()]
    await stack.succeed('SetKeyRotationPolicy', { key_id: off, enabled: false, rotation_interval_days: 1 })
    stack.pipeline.duties.start()
    for (const key_id of [plain, off]) await useUp(stack, key_id, 6)
    await poll(stack)
    await stack.pipeline.duties.stop()
    expect(listChanges(stack).filter((change) => change.startsWith('rotated'))).toEqual([])
  })

  test('at its end nothing more is encrypted, whatever the operation; a rotation gives a new one, and old messages open', async () => {
    await using stack = await openStack()
    const [key_id, source] = [await stack.createKey(), await stack.createKey()]
    const seal = async (id: string) =>
      Uint8Array.from((await stack.succeed('Encrypt', { key_id: id, plaintext: Buffer.from('x') })).ciphertext_blob)
    const other = await seal(source)
    const requests = [
      ['Encrypt', () => ({ key_id, plaintext: Buffer.from('x') })],
      ['GenerateDataKey', () => ({ key_id })],
      ['GenerateDataKeyWithoutPlaintext', () => ({ key_id })],
      ['ReEncrypt', () => ({ ciphertext_blob: Uint8Array.from(other), destination_key_id: key_id })],
    ] as const
    const first = await seal(key_id)
    for (const [operation, body] of requests) await stack.succeed(operation, body())
    await useUp(stack, key_id, MESSAGES_MAX - 1 - requests.length)
    const hsmCalls = stack.hsm.calls.length
    for (const [operation, body] of requests)
      expect(`${operation} ${toCode(await stack.send(operation, body()))}`).toBe(`${operation} KEY_EXHAUSTED`)
    expect(stack.hsm.calls.length).toBe(hsmCalls)
    await stack.succeed('RotateKey', { key_id })
    for (const [operation, body] of requests) await stack.succeed(operation, body())
    const { plaintext } = await stack.succeed('Decrypt', { ciphertext_blob: first })
    expect(Buffer.from(plaintext).toString()).toBe('x')
  })

  test('of many that race for the last messages, exactly as many succeed as are left', async () => {
    await using stack = await openStack()
    const key_id = await stack.createKey()
    const codes = await Promise.all(Array.from({ length: 40 }, () => encrypt(stack, key_id)))
    expect(codes.filter((code) => code === 'OK').length).toBe(MESSAGES_MAX)
    expect(codes.filter((code) => code === 'KEY_EXHAUSTED').length).toBe(40 - MESSAGES_MAX)
    const { version } = await stack.succeed('GetKeyVersion', { key_id, version: 1 })
    expect(version.encrypt_count).toBe(MESSAGES_MAX)
  })

  test('a limit that is raised again ends the haste: what was warned of is not rotated before its half', async () => {
    await using stack = await createPipelineStack({ messagesPerVersionMax: 1000 })
    const key_id = await stack.createKey()
    await stack.succeed('EnableKeyRotation', { key_id })
    await useUp(stack, key_id, 6)
    const view = stack.ledger.view()
    stack.ports.faults.view = (seen) => ({
      ...seen,
      usage: { ...seen.usage, warned: view.usage.warned.add(`${key_id}/1`) },
    })
    stack.pipeline.duties.start()
    await poll(stack)
    await stack.pipeline.duties.stop()
    expect(listChanges(stack)).toEqual([])
  })
})
