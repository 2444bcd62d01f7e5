import { randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { LIMITS } from '../../../schemas/limits.ts'
import { endImports } from '../../../src/operations/importsDue.ts'
import { bringKey, copyBytes } from '../../fixtures/everyOperation.ts'
import { createPipelineStack, type PipelineStack, toCode } from '../../fixtures/pipelineStack.ts'
import { generatePair } from '../../fixtures/softwareSigning.ts'
import { wrapFor } from '../../fixtures/softwareWrapping.ts'
import { live } from '../../fixtures/virtualTime.ts'

type Fields = Readonly<Record<string, unknown>>

const import_ = async (stack: PipelineStack, body: Fields) => toCode(await stack.send('ImportKey', copyBytes(body)))

describe('GetParametersForImport', () => {
  test('gives a wrapping key, a token and what they are for, and keeps only a keyed hash of the token', async () => {
    await using stack = await createPipelineStack()
    const given = await stack.succeed('GetParametersForImport', { key_spec: 'HMAC_384', valid_seconds: 60 })
    expect(given).toMatchObject({
      key_spec: 'HMAC_384',
      backend_id: 'main',
      wrapping_algorithm: 'RSA_AES_KEY_WRAP_SHA256',
    })
    expect(Date.parse(given.valid_to)).toBe(stack.time.now() + 60_000)
    const token = Buffer.from(given.import_token)
    expect(token.length).toBe(LIMITS.importTokenBytes)
    const { data } = stack.ports.events.at(-1) ?? { data: {} }
    expect(data).toMatchObject({ spec: 'HMAC_384', token_hash: expect.any(Uint8Array) })
    const secret = token.subarray(LIMITS.importTokenBytes - LIMITS.importSecretBytes).toString('hex')
    expect(
      JSON.stringify(stack.ports.events, (_, value) =>
        value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value,
      ),
    ).not.toContain(secret)
  })

  test('says openly that a backend has SHA-1 only, and never takes it for what was asked', async () => {
    await using stack = await createPipelineStack()
    const algorithm = 'RSA_OAEP_SHA1'
    const given = await stack.succeed('GetParametersForImport', { key_spec: 'AES_256', wrapping_algorithm: algorithm })
    expect(given.warnings).toEqual([expect.stringContaining('SHA-1')])
    expect(
      toCode(await stack.send('GetParametersForImport', { key_spec: 'ED25519', wrapping_algorithm: algorithm })),
    ).toBe('UNSUPPORTED_BY_HSM')
    expect(toCode(await stack.send('GetParametersForImport', { key_spec: 'AES_256', backend_id: 'other' }))).toBe(
      'INVALID_REQUEST',
    )
  })
})

describe('ImportKey', () => {
  test('makes a key of external origin that does what others do', async () => {
    await using stack = await createPipelineStack()
    const { key } = await stack.succeed('ImportKey', {
      ...(await bringKey(stack)),
      description: 'brought',
      tags: [{ key: 'team', value: 'red' }],
    })
    expect(key).toMatchObject({
      origin: 'EXTERNAL',
      state: 'enabled',
      key_spec: 'AES_256',
      description: 'brought',
      user_tags: [{ key: 'team', value: 'red' }],
      exportable: false,
      current_key_version: 1,
      backend_id: 'main',
    })
    const { key_id } = key
    const { ciphertext_blob } = await stack.succeed('Encrypt', { key_id, plaintext: Buffer.from('x') })
    const opened = await stack.succeed('Decrypt', { ciphertext_blob: Uint8Array.from(ciphertext_blob) })
    expect(Buffer.from(opened.plaintext).toString()).toBe('x')
    await stack.succeed('RotateKey', { key_id })
    expect((await stack.succeed('Decrypt', { ciphertext_blob: Uint8Array.from(ciphertext_blob) })).key_version).toBe(1)
  })

  test('of a pair signs what its public half verifies', async () => {
    await using stack = await createPipelineStack()
    const pair = generatePair('ECDSA_P256')
    const public_key = pair.publicKey.export({ format: 'der', type: 'spki' })
    const given = await stack.succeed('GetParametersForImport', { key_spec: 'ECDSA_P256' })
    const { key } = await stack.succeed('ImportKey', {
      key_spec: 'ECDSA_P256',
      public_key: Uint8Array.from(public_key),
      import_token: Uint8Array.from(given.import_token),
      wrapped_key_material: wrapFor(
        given.wrapping_public_key,
        given.wrapping_algorithm,
        pair.privateKey.export({ format: 'der', type: 'pkcs8' }),
      ),
    })
    const published = await stack.succeed('GetPublicKey', { key_id: key.key_id })
    expect(Buffer.from(published.public_key)).toEqual(public_key)
    const { signature } = await stack.succeed('Sign', { key_id: key.key_id, message: Buffer.from('m') })
    const request = { key_id: key.key_id, message: Buffer.from('m'), signature: Uint8Array.from(signature) }
    expect((await stack.succeed('Verify', request)).signature_valid).toBe(true)
  })

  test('takes a token once, also when it is sent twice at the same moment', async () => {
    await using stack = await createPipelineStack()
    const brought = await bringKey(stack)
    const codes = await Promise.all([import_(stack, brought), import_(stack, brought), import_(stack, brought)])
    expect(codes.sort()).toEqual(['INVALID_REQUEST', 'INVALID_REQUEST', 'OK'])
    expect(await import_(stack, brought)).toBe('INVALID_REQUEST')
    const objects = await stack.hsm.inventory('main', new AbortController().signal)
    expect(objects.ok && objects.value.filter(({ imported }) => imported)).toHaveLength(1)
  })

  test.each<[string, (stack: PipelineStack) => Promise<Fields>]>([
    ['made up', async (stack) => ({ ...(await bringKey(stack)), import_token: randomBytes(LIMITS.importTokenBytes) })],
    [
      'with another secret',
      async (stack) => {
        const brought = await bringKey(stack)
        const token = Buffer.from(brought.import_token)
        token[63] = (token[63] ?? 0) ^ 1
        return { ...brought, import_token: token }
      },
    ],
    [
      'of another spec',
      async (stack) => ({ ...(await bringKey(stack, { key_spec: 'AES_128' })), key_spec: 'AES_256' }),
    ],
    ['of another caller', async (stack) => bringKey(stack, {}, { token: 'bob' })],
    [
      'whose time is over',
      async (stack) => {
        const brought = await bringKey(stack)
        await stack.time.jump(LIMITS.importTokenSecondsMax * 1000)
        return brought
      },
    ],
  ])('refuses a token that is %s, in the same words as any other, and without the HSM', async (_what, toBody) => {
    await using stack = await createPipelineStack()
    const body = await toBody(stack)
    const { length } = stack.hsm.calls
    const refused = await stack.send('ImportKey', body)
    expect(!refused.ok && refused.error).toEqual({
      code: 'INVALID_REQUEST',
      message: expect.stringMatching(/^import_token: not one that is open for this caller and key_spec/),
    })
    expect(stack.hsm.calls.length).toBe(length)
  })

  test('leaves the token good when the material is not, and nothing in the HSM', async () => {
    await using stack = await createPipelineStack()
    const brought = await bringKey(stack)
    const damaged = Buffer.from(brought.wrapped_key_material)
    damaged[3] = (damaged[3] ?? 0) ^ 1
    expect(await import_(stack, { ...brought, wrapped_key_material: damaged })).toBe('INVALID_REQUEST')
    const objects = await stack.hsm.inventory('main', new AbortController().signal)
    expect(objects.ok && objects.value.filter(({ imported }) => imported)).toEqual([])
    expect(await import_(stack, brought)).toBe('OK')
  })

  test('obeys what holds for every new key: parent, tags, usage', async () => {
    await using stack = await createPipelineStack()
    const brought = await bringKey(stack)
    expect(await import_(stack, { ...brought, key_usage: 'SIGN_VERIFY' })).toBe('INVALID_REQUEST')
    expect(await import_(stack, { ...brought, tags: [{ key: 'kms.x', value: '1' }] })).toBe('INVALID_REQUEST')
    const parent_key_id = await stack.createKey()
    await stack.succeed('DisableKey', { key_id: parent_key_id })
    expect(await import_(stack, { ...brought, parent_key_id })).toBe('PARENT_NOT_USABLE')
    await stack.succeed('EnableKey', { key_id: parent_key_id })
    const { key } = await stack.succeed('ImportKey', { ...brought, parent_key_id })
    const dependents = await stack.succeed('GetKeyDependents', { key_id: parent_key_id })
    expect(dependents.items.map(({ id }) => id)).toEqual([key.key_id])
  })
})

describe('a wrapping key', () => {
  const kindsAfter = (stack: PipelineStack, from: number) => stack.ports.events.slice(from).map(({ type }) => type)
  /** Lets the writer do its duties for a while. */
  const work = async (stack: PipelineStack, ms: number) => {
    stack.pipeline.duties.start()
    await live(stack.time, ms)
    await stack.pipeline.duties.stop()
  }
  const countObjects = async (stack: PipelineStack) => {
    const objects = await stack.hsm.inventory('main', new AbortController().signal)
    return objects.ok ? objects.value.length : -1
  }

  test('that was used is destroyed, by a record after that of the import', async () => {
    await using stack = await createPipelineStack({}, [endImports])
    await stack.succeed('ImportKey', await bringKey(stack))
    const from = stack.ports.events.length
    expect(await countObjects(stack)).toBe(2)
    await work(stack, LIMITS.dutyPollMs)
    expect(kindsAfter(stack, from)).toEqual(['ImportWrappingKeyDestroyed'])
    expect(await countObjects(stack)).toBe(1)
    expect(stack.ledger.view().imports.byLid.size).toBe(0)
  })

  test('whose time is over is closed first and destroyed then, and one that is open stays', async () => {
    await using stack = await createPipelineStack({}, [endImports])
    const brought = await bringKey(stack)
    await stack.succeed('GetParametersForImport', { key_spec: 'AES_256', valid_seconds: 60 })
    const from = stack.ports.events.length
    await work(stack, 60_000 + 2 * LIMITS.dutyPollMs)
    expect(kindsAfter(stack, from)).toEqual(['ImportParametersExpired', 'ImportWrappingKeyDestroyed'])
    expect(await countObjects(stack)).toBe(1)
    expect(await import_(stack, brought)).toBe('OK')
  })
})
