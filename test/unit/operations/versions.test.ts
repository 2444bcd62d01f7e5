import { describe, expect, test } from 'vitest'
import type { KeyRecord } from '../../../projections/keys.ts'
import { LIMITS } from '../../../schemas/limits.ts'
import { toCurrentVersion } from '../../../src/operations/keyBody.ts'
import { createPipelineStack, type PipelineStack, toCode } from '../../fixtures/pipelineStack.ts'

const seal = async (stack: PipelineStack, key_id: string): Promise<Uint8Array> =>
  Uint8Array.from((await stack.succeed('Encrypt', { key_id, plaintext: Buffer.from('x') })).ciphertext_blob)

const codeOf = async (stack: PipelineStack, ...request: Parameters<PipelineStack['send']>): Promise<string> =>
  toCode(await stack.send(...request))

/** A key at version 3, with a ciphertext of each of its first two versions. */
const setUp = async (stack: PipelineStack) => {
  const key_id = await stack.createKey()
  const first = await seal(stack, key_id)
  await stack.succeed('RotateKey', { key_id })
  const second = await seal(stack, key_id)
  await stack.succeed('RotateKey', { key_id })
  return { key_id, first, second }
}

const open = (stack: PipelineStack, blob: Uint8Array) =>
  codeOf(stack, 'Decrypt', { ciphertext_blob: Uint8Array.from(blob) })

describe('the minimum version for decryption', () => {
  test('refuses what older versions sealed, before the HSM is asked, and ReEncrypt from it too', async () => {
    await using stack = await createPipelineStack()
    const { key_id, first, second } = await setUp(stack)
    const { key } = await stack.succeed('SetMinDecryptionVersion', { key_id, version: 2 })
    expect(key.min_decryption_version).toBe(2)
    const calls = stack.hsm.calls.length
    expect(await open(stack, first)).toBe('KEY_NOT_USABLE')
    const move = { ciphertext_blob: Uint8Array.from(first), destination_key_id: key_id }
    expect(await codeOf(stack, 'ReEncrypt', move)).toBe('KEY_NOT_USABLE')
    expect(stack.hsm.calls.length).toBe(calls)
    expect(await open(stack, second)).toBe('OK')
  })

  test.each([
    ['lowered', 1, 'INVALID_REQUEST'],
    ['set again as it is', 2, 'OK'],
    ['raised to the current version', 3, 'OK'],
    ['raised above the current version', 4, 'INVALID_REQUEST'],
  ])('%s', async (_name, version, code) => {
    await using stack = await createPipelineStack()
    const { key_id } = await setUp(stack)
    await stack.succeed('SetMinDecryptionVersion', { key_id, version: 2 })
    expect(await codeOf(stack, 'SetMinDecryptionVersion', { key_id, version })).toBe(code)
  })

  test('is nothing a signing key has', async () => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey({ key_spec: 'ED25519' })
    expect(await codeOf(stack, 'SetMinDecryptionVersion', { key_id, version: 1 })).toBe('INVALID_REQUEST')
  })
})

describe('a destroyed version', () => {
  test('says so to who may decrypt, before the HSM is asked; nobody else learns of it', async () => {
    await using stack = await createPipelineStack()
    const { key_id, first, second } = await setUp(stack)
    await stack.succeed('DestroyKeyVersion', { key_id, version: 1 })
    const calls = stack.hsm.calls.length
    const broken = Uint8Array.from(first, (byte, at) => (at === first.length - 1 ? byte ^ 1 : byte))
    expect([await open(stack, first), await open(stack, broken)]).toEqual(['KEY_NOT_USABLE', 'KEY_NOT_USABLE'])
    expect(stack.hsm.calls.length).toBe(calls)
    stack.pdp.script('deny')
    expect([await open(stack, first), await open(stack, second)]).toEqual(['ACCESS_DENIED', 'ACCESS_DENIED'])
    stack.pdp.script('permit')
    expect(await open(stack, second)).toBe('OK')
  })

  test('verifies no signature and no MAC any more; the others do', async () => {
    await using stack = await createPipelineStack()
    const message = () => Buffer.from('m')
    const signing = await stack.createKey({ key_spec: 'ED25519' })
    const { signature } = await stack.succeed('Sign', { key_id: signing, message: message() })
    const authenticating = await stack.createKey({ key_spec: 'HMAC_256' })
    const { mac } = await stack.succeed('GenerateMac', { key_id: authenticating, message: message() })
    const requests = [
      ['Verify', signing, { signature: Uint8Array.from(signature) }],
      ['VerifyMac', authenticating, { mac: Uint8Array.from(mac) }],
    ] as const
    for (const [operation, key_id, proof] of requests) {
      const verify = () => codeOf(stack, operation, { key_id, message: message(), key_version: 1, ...copy(proof) })
      await stack.succeed('RotateKey', { key_id })
      expect(await verify()).toBe('OK')
      await stack.succeed('DestroyKeyVersion', { key_id, version: 1 })
      expect(await verify()).toBe('KEY_NOT_USABLE')
    }
  })

  test('stays in the lists, with what it was', async () => {
    await using stack = await createPipelineStack()
    const { key_id } = await setUp(stack)
    await stack.succeed('DestroyKeyVersion', { key_id, version: 2 })
    const { items } = await stack.succeed('ListKeyVersions', { key_id })
    expect(items.map(({ version, state, encrypt_count }) => [version, state, encrypt_count])).toEqual([
      [1, 'enabled', 1],
      [2, 'destroyed', 1],
      [3, 'enabled', 0],
    ])
    expect(await codeOf(stack, 'DestroyKeyVersion', { key_id, version: 2 })).toBe('INVALID_STATE_TRANSITION')
  })

  test('is answered from the view when the request is repeated', async () => {
    await using stack = await createPipelineStack()
    const { key_id } = await setUp(stack)
    const send = () => stack.succeed('DestroyKeyVersion', { key_id, version: 1 }, { idempotencyKey: 'once' })
    const [first, again] = [await send(), await send()]
    expect([first.version.state, again.version]).toEqual(['destroyed', first.version])
    expect(stack.ports.events.filter(({ type }) => type === 'KeyVersionDestructionStarted').length).toBe(1)
  })
})

test('the list of versions is read in pages', async () => {
  await using stack = await createPipelineStack()
  const { key_id } = await setUp(stack)
  const seen: number[] = []
  let cursor: string | undefined
  do {
    const page = await stack.succeed('ListKeyVersions', {
      key_id,
      max_results: 2,
      ...(cursor === undefined ? {} : { cursor }),
    })
    seen.push(...page.items.map(({ version }) => version))
    cursor = page.next_cursor
  } while (cursor !== undefined)
  expect(seen).toEqual([1, 2, 3])
})

test('a key has at most so many versions; then it wants no more of its own accord either', async () => {
  await using stack = await createPipelineStack()
  const key_id = await stack.createKey()
  await stack.succeed('EnableKeyRotation', { key_id })
  stack.ports.faults.view = (view) => ({ ...view, keys: { ...view.keys, byLid: view.keys.byLid.map(withAllVersions) } })
  expect(await codeOf(stack, 'RotateKey', { key_id })).toBe('KEY_EXHAUSTED')
  const status = await stack.succeed('GetKeyRotationStatus', { key_id })
  expect([status.rotation_enabled, status.next_rotation_date]).toEqual([true, undefined])
})

const withAllVersions = (record: KeyRecord): KeyRecord => ({
  ...record,
  versions: Array.from({ length: LIMITS.keyVersionsMax }, (_, at) => ({
    ...toCurrentVersion(record),
    version: at + 1,
  })),
  currentVersion: LIMITS.keyVersionsMax,
})

const copy = (body: Readonly<Record<string, Uint8Array>>) =>
  Object.fromEntries(Object.entries(body).map(([name, bytes]) => [name, Uint8Array.from(bytes)]))
