import { createHash, createPublicKey, verify } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { createPipelineStack, type PipelineStack, toCode } from '../../fixtures/pipelineStack.ts'

const MESSAGE = 'a message'
const message = () => Buffer.from(MESSAGE)
const digest = () => createHash('sha256').update(MESSAGE).digest()

/** Whether Node, which knows nothing of this service, takes a signature for good. */
const isGood = async (
  stack: PipelineStack,
  key_id: string,
  signature: Uint8Array,
  dsaEncoding: 'der' | 'ieee-p1363' = 'der',
) => {
  const { public_key, pem, jwk } = await stack.succeed('GetPublicKey', { key_id })
  const key = createPublicKey({ key: Buffer.from(public_key), format: 'der', type: 'spki' })
  expect(createPublicKey(pem).equals(key)).toBe(true)
  expect(createPublicKey({ key: { ...jwk }, format: 'jwk' }).equals(key)).toBe(true)
  const algorithm = key.asymmetricKeyType === 'ed25519' ? null : 'sha256'
  return verify(algorithm, message(), { key, dsaEncoding }, signature)
}

const SPECS = [
  ['ED25519', 'ED25519_PURE'],
  ['ECDSA_P256', 'ECDSA_P256_SHA256'],
  ['RSA_2048', 'RSA_PKCS1_V15_SHA256'],
] as const

describe.each(SPECS)('%s', (key_spec, signing_algorithm) => {
  test('signs what anybody can verify, and verifies it itself', async () => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey({ key_spec })
    const signed = await stack.succeed('Sign', { key_id, message: message() })
    expect(signed).toMatchObject({ signing_algorithm, key_id, key_version: 1 })
    const signature = Uint8Array.from(signed.signature)
    expect(await isGood(stack, key_id, signature)).toBe(true)
    const verified = async (text: string, version: object = {}) =>
      (
        await stack.succeed('Verify', {
          key_id,
          message: Buffer.from(text),
          signature: Uint8Array.from(signature),
          ...version,
        })
      ).signature_valid
    expect(await verified(MESSAGE)).toBe(true)
    expect(await verified(MESSAGE, { key_version: 1 })).toBe(true)
    expect(await verified('another')).toBe(false)
  })

  test('refuses algorithms that are not its own, and versions it never had', async () => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey({ key_spec })
    for (const [, algorithm] of SPECS) {
      const outgoing = await stack.send('Sign', { key_id, message: message(), signing_algorithm: algorithm })
      expect([algorithm, toCode(outgoing)]).toEqual([
        algorithm,
        algorithm === signing_algorithm ? 'OK' : 'INVALID_REQUEST',
      ])
    }
    const { signature } = await stack.succeed('Sign', { key_id, message: message() })
    expect(toCode(await stack.send('Verify', { key_id, message: message(), signature, key_version: 2 }))).toBe(
      'NOT_FOUND',
    )
    expect(toCode(await stack.send('GetPublicKey', { key_id, version: 2 }))).toBe('NOT_FOUND')
  })
})

describe('a digest', () => {
  test.each(['ECDSA_P256', 'RSA_2048'])('is signed by %s as the message it is of', async (key_spec) => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey({ key_spec })
    const { signature } = await stack.succeed('Sign', { key_id, message: digest(), message_type: 'DIGEST' })
    expect(await isGood(stack, key_id, signature)).toBe(true)
    expect((await stack.succeed('Verify', { key_id, message: message(), signature })).signature_valid).toBe(true)
  })

  test.each([
    ['ED25519', 32],
    ['ECDSA_P256', 31],
    ['ECDSA_P256', 33],
    ['RSA_2048', 0],
  ])('is refused by %s at %d bytes', async (key_spec, bytes) => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey({ key_spec })
    const body = { key_id, message: new Uint8Array(bytes), message_type: 'DIGEST' }
    expect(toCode(await stack.send('Sign', body))).toBe('INVALID_REQUEST')
  })
})

describe('the format of a signature', () => {
  test('of ECDSA is DER, or r and s as 64 bytes on request, and each is verified as what it is', async () => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey({ key_spec: 'ECDSA_P256' })
    const raw = { signature_format: 'P1363' }
    const der = Uint8Array.from((await stack.succeed('Sign', { key_id, message: message() })).signature)
    const p1363 = Uint8Array.from((await stack.succeed('Sign', { key_id, message: message(), ...raw })).signature)
    expect([der[0], p1363.length]).toEqual([0x30, 64])
    expect(await isGood(stack, key_id, p1363, 'ieee-p1363')).toBe(true)
    const check = async (signature: Uint8Array, format: object) =>
      stack.send('Verify', { key_id, message: message(), signature: Uint8Array.from(signature), ...format })
    expect(await check(der, {})).toMatchObject({ ok: true, body: { signature_valid: true } })
    expect(await check(der, { signature_format: 'DER' })).toMatchObject({ ok: true, body: { signature_valid: true } })
    expect(await check(p1363, raw)).toMatchObject({ ok: true, body: { signature_valid: true } })
    expect(toCode(await check(p1363, {}))).toBe('INVALID_REQUEST')
    expect(await check(der, raw)).toMatchObject({ ok: true, body: { signature_valid: false } })
  })

  test.each(['ED25519', 'RSA_2048'])('is no choice for %s', async (key_spec) => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey({ key_spec })
    expect(toCode(await stack.send('Sign', { key_id, message: message(), signature_format: 'DER' }))).toBe(
      'INVALID_REQUEST',
    )
  })
})

test('a key that encrypts neither signs nor has a public key, and one that signs does not encrypt', async () => {
  await using stack = await createPipelineStack()
  const encrypting = await stack.createKey()
  const signing = await stack.createKey({ key_spec: 'ED25519' })
  const codes = [
    await stack.send('Sign', { key_id: encrypting, message: message() }),
    await stack.send('GetPublicKey', { key_id: encrypting }),
    await stack.send('Encrypt', { key_id: signing, plaintext: message() }),
    await stack.send('GenerateDataKey', { key_id: signing }),
  ]
  expect(codes.map(toCode)).toEqual(Array.from({ length: 4 }, () => 'INVALID_REQUEST'))
  expect(stack.hsm.calls).toEqual(['generateKey', 'generateKey'])
})

test('what a transport does to a public key that it has sent does not reach the view', async () => {
  await using stack = await createPipelineStack()
  const key_id = await stack.createKey({ key_spec: 'ED25519' })
  const first = await stack.succeed('GetPublicKey', { key_id })
  const kept = Buffer.from(first.public_key).toString('hex')
  first.public_key.fill(0)
  expect(Buffer.from((await stack.succeed('GetPublicKey', { key_id })).public_key).toString('hex')).toBe(kept)
})
