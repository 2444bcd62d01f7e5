import { createPrivateKey, createPublicKey, sign, verify } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { DATA_KEY_PAIR_SPECS } from '../../../schemas/keys.ts'
import { createPipelineStack, toCode } from '../../fixtures/pipelineStack.ts'

const context = { encryption_context: { purpose: 'pair' } }

describe('GenerateDataKeyPair', () => {
  test.each(DATA_KEY_PAIR_SPECS)(
    'of %s gives two halves of one pair, and its blob opens to the private one',
    async (spec) => {
      await using stack = await createPipelineStack()
      const key_id = await stack.createKey()
      const made = await stack.succeed('GenerateDataKeyPair', { key_id, key_pair_spec: spec, ...context })
      expect(made).toMatchObject({ key_id, key_version: 1, key_pair_spec: spec })
      const pkcs8 = Buffer.from(made.plaintext_private_key)
      const privateKey = createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' })
      const publicKey = createPublicKey({ key: Buffer.from(made.public_key), format: 'der', type: 'spki' })
      const hash = spec === 'ED25519' ? null : 'sha256'
      expect(verify(hash, Buffer.from('m'), publicKey, sign(hash, Buffer.from('m'), privateKey))).toBe(true)
      const ciphertext_blob = Uint8Array.from(made.encrypted_private_key)
      const opened = await stack.succeed('Decrypt', { ciphertext_blob, ...context })
      expect(Buffer.from(opened.plaintext)).toEqual(pkcs8)
      expect(
        toCode(await stack.send('Decrypt', { ciphertext_blob: Uint8Array.from(made.encrypted_private_key) })),
      ).toBe('INVALID_CIPHERTEXT')
    },
  )

  test('without plaintext gives none, and both count against the budget of the key like a data key', async () => {
    await using stack = await createPipelineStack({ messagesPerVersionMax: 2 })
    const key_id = await stack.createKey()
    const request = { key_id, key_pair_spec: 'ED25519' }
    const sealed = await stack.succeed('GenerateDataKeyPairWithoutPlaintext', request)
    expect(sealed).not.toHaveProperty('plaintext_private_key')
    await stack.succeed('GenerateDataKeyPair', request)
    expect((await stack.succeed('DescribeKey', { key_id })).key.key_versions).toMatchObject([{ encrypt_count: 2 }])
    for (const name of ['GenerateDataKeyPair', 'GenerateDataKeyPairWithoutPlaintext'] as const)
      expect(toCode(await stack.send(name, request))).toBe('KEY_EXHAUSTED')
  })

  test('leaves nothing in the HSM, and no plaintext when the reply is done with', async () => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey()
    const outgoing = await stack.send('GenerateDataKeyPair', { key_id, key_pair_spec: 'ED25519' })
    if (!outgoing.ok) throw new Error(outgoing.error.code)
    const { plaintext_private_key } = outgoing.body as { readonly plaintext_private_key: Uint8Array }
    expect(plaintext_private_key.some((byte) => byte !== 0)).toBe(true)
    outgoing.dispose()
    expect(plaintext_private_key.every((byte) => byte === 0)).toBe(true)
    const objects = await stack.hsm.inventory('main', new AbortController().signal)
    expect(objects.ok && objects.value.length).toBe(1)
  })

  test.each([
    ['a key that signs', { key_spec: 'ED25519' }, 'INVALID_REQUEST'],
    ['a disabled key', {}, 'KEY_NOT_USABLE'],
  ])('is refused under %s', async (_what, body, code) => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey(body)
    if (code === 'KEY_NOT_USABLE') await stack.succeed('DisableKey', { key_id })
    expect(toCode(await stack.send('GenerateDataKeyPair', { key_id, key_pair_spec: 'ED25519' }))).toBe(code)
  })
})
