import { expect, test } from 'vitest'
import { createPipelineStack, toCode } from '../../fixtures/pipelineStack.ts'

const message = () => Buffer.from('a message')

test.each(['HMAC_256', 'HMAC_384', 'HMAC_512'])(
  'a MAC of %s verifies by its version after rotations',
  async (key_spec) => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey({ key_spec })
    const first = Uint8Array.from((await stack.succeed('GenerateMac', { key_id, message: message() })).mac)
    await stack.succeed('RotateKey', { key_id })
    await stack.succeed('RotateKey', { key_id })
    const made = await stack.succeed('GenerateMac', { key_id, message: message() })
    expect(made.key_version).toBe(3)
    expect(Buffer.from(made.mac)).not.toEqual(Buffer.from(first))
    const judge = async (version: object) => {
      const asked = { key_id, message: message(), mac: Uint8Array.from(first), ...version }
      const { mac_valid, key_version } = await stack.succeed('VerifyMac', asked)
      return [mac_valid, key_version]
    }
    expect(await judge({ key_version: 1 })).toEqual([true, 1])
    expect(await judge({ key_version: 2 })).toEqual([false, 2])
    expect(await judge({})).toEqual([false, 3])
    const unknown = { key_id, message: message(), mac: Uint8Array.from(first), key_version: 4 }
    expect(toCode(await stack.send('VerifyMac', unknown))).toBe('NOT_FOUND')
  },
)

test.each(['ECC_NIST_P384', 'RSA_PSS_2048'])(
  'a signature of %s verifies by its version after a rotation',
  async (key_spec) => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey({ key_spec })
    const signature = Uint8Array.from((await stack.succeed('Sign', { key_id, message: message() })).signature)
    await stack.succeed('RotateKey', { key_id })
    const judge = async (key_version: number) => {
      const asked = { key_id, message: message(), signature: Uint8Array.from(signature), key_version }
      return (await stack.succeed('Verify', asked)).signature_valid
    }
    expect([await judge(1), await judge(2)]).toEqual([true, false])
  },
)

test('an AES_128 key decrypts what it sealed before a rotation, and the header says AES-128 in both', async () => {
  await using stack = await createPipelineStack()
  const key_id = await stack.createKey({ key_spec: 'AES_128' })
  const seal = async () =>
    Buffer.from((await stack.succeed('Encrypt', { key_id, plaintext: message() })).ciphertext_blob)
  const before = await seal()
  await stack.succeed('RotateKey', { key_id })
  const after = await seal()
  for (const [version, blob] of [before, after].entries()) {
    expect([blob.readUInt16LE(6), blob.readUInt32LE(40)]).toEqual([2, version + 1])
    const { plaintext } = await stack.succeed('Decrypt', { ciphertext_blob: Uint8Array.from(blob) })
    expect(Buffer.from(plaintext)).toEqual(message())
  }
})
