import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { bringKey } from '../../fixtures/everyOperation.ts'
import { createPipelineStack, type PipelineStack, toCode } from '../../fixtures/pipelineStack.ts'
import { generatePair } from '../../fixtures/softwareSigning.ts'
import { callersKey, toPublicHalf, unwrapBy } from '../../fixtures/softwareWrapping.ts'

const { privateKey, spki } = callersKey()
const wrapping_public_key = () => Uint8Array.from(spki)

const takeOut = async (stack: PipelineStack, key_id: string, more: object = {}) =>
  toCode(await stack.send('GetKeyMaterial', { key_id, wrapping_public_key: wrapping_public_key(), ...more }))

describe('GetKeyMaterial', () => {
  test('lets an exportable key out, under the key of the caller alone', async () => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey({ exportable: true })
    const taken = await stack.succeed('GetKeyMaterial', { key_id, wrapping_public_key: wrapping_public_key() })
    expect(taken).toMatchObject({ key_id, key_version: 1, wrapping_algorithm: 'RSA_AES_KEY_WRAP_SHA256' })
    expect(unwrapBy(privateKey, taken.wrapping_algorithm, taken.wrapped_key_material)).toHaveLength(32)
  })

  test('of a pair gives PKCS#8 whose public half is that of the key', async () => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey({ exportable: true, key_spec: 'ECDSA_P256' })
    const taken = await stack.succeed('GetKeyMaterial', { key_id, wrapping_public_key: wrapping_public_key() })
    const pkcs8 = unwrapBy(privateKey, taken.wrapping_algorithm, taken.wrapped_key_material)
    const { public_key } = await stack.succeed('GetPublicKey', { key_id })
    expect(toPublicHalf(pkcs8 ?? Buffer.alloc(0))).toEqual(Buffer.from(public_key))
  })

  test('is an event each time, with the hash of the key it went under, and the first is remembered for ever', async () => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey({ exportable: true })
    expect((await stack.succeed('DescribeKey', { key_id })).key.first_exported_at).toBeUndefined()
    expect(await takeOut(stack, key_id)).toBe('OK')
    const { first_exported_at } = (await stack.succeed('DescribeKey', { key_id })).key
    expect(first_exported_at).toEqual(expect.any(String))
    await stack.time.jump(3_600_000)
    expect(await takeOut(stack, key_id)).toBe('OK')
    await stack.succeed('RevokeKeyExportability', { key_id })
    expect((await stack.succeed('DescribeKey', { key_id })).key).toMatchObject({ first_exported_at, exportable: false })
    const exports = stack.ports.events.filter(({ type }) => type === 'KeyExported')
    const sha256 = createHash('sha256').update(spki).digest('hex')
    const toHex = (bytes: unknown) => (bytes instanceof Uint8Array ? Buffer.from(bytes).toString('hex') : '')
    for (const { data } of exports) {
      expect(data).toMatchObject({ lid: key_id, version: 1, algorithm: 'RSA_AES_KEY_WRAP_SHA256' })
      expect(toHex(Reflect.get(data, 'wrapping_key_sha256'))).toBe(sha256)
    }
    expect(exports).toHaveLength(2)
  })

  test.each([
    ['that the service made', (stack: PipelineStack) => stack.createKey()],
    [
      'that was imported',
      async (stack: PipelineStack) => (await stack.succeed('ImportKey', await bringKey(stack))).key.key_id,
    ],
  ])('never lets out a key %s without `exportable`, whatever is tried', async (_what, make) => {
    await using stack = await createPipelineStack()
    const key_id = await make(stack)
    expect(await takeOut(stack, key_id)).toBe('KEY_NOT_USABLE')
    expect(toCode(await stack.send('MakeKeyExportable', { key_id }))).toBe('INVALID_STATE_TRANSITION')
    expect(toCode(await stack.send('RevokeKeyExportability', { key_id }))).toBe('INVALID_STATE_TRANSITION')
    await stack.succeed('RotateKey', { key_id })
    expect(await takeOut(stack, key_id)).toBe('KEY_NOT_USABLE')
    expect(await takeOut(stack, key_id, { key_version: 1 })).toBe('KEY_NOT_USABLE')
    expect(stack.hsm.calls).not.toContain('exportKey')
  })

  test.each(['DisableKey', 'ReportKeyCompromise', 'ScheduleKeyDeletion'] as const)(
    'lets nothing out after %s',
    async (change) => {
      await using stack = await createPipelineStack()
      const key_id = await stack.createKey({ exportable: true })
      await stack.succeed(change, { key_id, ...(change === 'ScheduleKeyDeletion' ? { grace_period_days: 7 } : {}) })
      expect(await takeOut(stack, key_id)).toBe('KEY_NOT_USABLE')
    },
  )

  test('refuses what is no key to wrap under, a version that is not there, and an old revision', async () => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey({ exportable: true })
    const weak = generatePair('RSA_2048').publicKey.export({ format: 'der', type: 'spki' })
    expect(await takeOut(stack, key_id, { wrapping_public_key: weak })).toBe('INVALID_REQUEST')
    expect(await takeOut(stack, key_id, { wrapping_public_key: Buffer.alloc(10) })).toBe('INVALID_REQUEST')
    expect(await takeOut(stack, key_id, { key_version: 2 })).toBe('NOT_FOUND')
    expect(await takeOut(stack, key_id, { if_revision: 2 })).toBe('REVISION_CONFLICT')
    expect((await stack.succeed('DescribeKey', { key_id })).key.first_exported_at).toBeUndefined()
  })
})

describe('MakeKeyExportable and RevokeKeyExportability', () => {
  test('take turns on a key that was created exportable', async () => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey({ exportable: true })
    const codes = []
    for (const name of [
      'MakeKeyExportable',
      'RevokeKeyExportability',
      'RevokeKeyExportability',
      'MakeKeyExportable',
    ] as const)
      codes.push(toCode(await stack.send(name, { key_id })))
    expect(codes).toEqual(['INVALID_STATE_TRANSITION', 'OK', 'INVALID_STATE_TRANSITION', 'OK'])
    expect(await takeOut(stack, key_id)).toBe('OK')
  })

  test('a version made in between stays in the HSM for ever; those before and after come out again', async () => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey({ exportable: true })
    await stack.succeed('RevokeKeyExportability', { key_id })
    expect(await takeOut(stack, key_id)).toBe('KEY_NOT_USABLE')
    await stack.succeed('RotateKey', { key_id })
    await stack.succeed('MakeKeyExportable', { key_id })
    await stack.succeed('RotateKey', { key_id })
    const codes = []
    for (const key_version of [1, 2, 3]) codes.push(await takeOut(stack, key_id, { key_version }))
    expect(codes).toEqual(['OK', 'KEY_NOT_USABLE', 'OK'])
  })
})
