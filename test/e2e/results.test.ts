import { createPublicKey } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { KEY_SPECS, type KeySpecName } from '../../schemas/keys.ts'
import type { ReplyBody, Request } from '../../schemas/registry.ts'
import { createNamedKeys } from '../fixtures/namedKeys.ts'
import { verifyMessage } from '../fixtures/softwareSigning.ts'
import { type Stack, startStack } from '../fixtures/stack.ts'
import { type Clients, openClients } from '../fixtures/stackClients.ts'

let stack: Stack
let clients: Clients

const MESSAGE = Buffer.from('a message to be signed')
const PLAINTEXT = Buffer.from('what nobody may read')
const CONTEXT = { purpose: 'results test' }

const { create, id } = createNamedKeys(() => clients)

beforeAll(async () => {
  stack = await startStack()
  clients = await openClients(stack)
  for (const name of ['aes', 'other']) await create(name, { key_spec: 'AES_256' })
  const root = await create('root', { key_spec: 'AES_256' })
  const middle = await create('middle', { key_spec: 'AES_256', parent_key_id: root })
  await create('leaf', { key_spec: 'AES_256', parent_key_id: middle })
  for (const spec of KEY_SPECS) await create(spec, { key_spec: spec })
})
afterAll(async () => {
  await clients?.[Symbol.asyncDispose]()
  await stack?.[Symbol.asyncDispose]()
})

describe('what comes out is right', () => {
  test('a plaintext survives encrypt, re-encrypt and decrypt', async () => {
    const { nats } = clients
    const sealed = await nats.encrypt({
      key_id: id('aes'),
      plaintext: Buffer.from(PLAINTEXT),
      encryption_context: CONTEXT,
    })
    const moved = await nats.reEncrypt({
      ciphertext_blob: sealed.ciphertext_blob,
      source_encryption_context: CONTEXT,
      destination_key_id: id('other'),
      destination_encryption_context: { now: 'here' },
    })
    const opened = await nats.decrypt({ ciphertext_blob: moved.ciphertext_blob, encryption_context: { now: 'here' } })
    expect(Buffer.from(opened.plaintext)).toEqual(PLAINTEXT)
    expect(opened.key_id).toBe(id('other'))
  })
  test('an empty plaintext can be sealed and opened', async () => {
    const sealed = await clients.rest.encrypt({ key_id: id('aes'), plaintext: Buffer.alloc(0) })
    expect((await clients.rest.decrypt({ ciphertext_blob: sealed.ciphertext_blob })).plaintext.length).toBe(0)
  })
  test('a data key decrypts to the plaintext that came with it', async () => {
    const made = await clients.nats.generateDataKey({ key_id: id('aes'), encryption_context: CONTEXT })
    const opened = await clients.nats.decrypt({ ciphertext_blob: made.encrypted_data_key, encryption_context: CONTEXT })
    expect(Buffer.from(opened.plaintext)).toEqual(Buffer.from(made.plaintext_data_key))
    expect(made.plaintext_data_key.length).toBe(32)
  })
  test.each<KeySpecName>([
    'ED25519',
    'ECDSA_P256',
    'ECC_NIST_P384',
    'RSA_2048',
    'RSA_3072',
    'RSA_4096',
    'RSA_PSS_2048',
    'RSA_PSS_3072',
    'RSA_PSS_4096',
  ])('a signature of %s verifies with the public key alone, outside the service', async (spec) => {
    const signed = await clients.rest.sign({ key_id: id(spec), message: Buffer.from(MESSAGE) })
    const { signature, signing_algorithm } = signed
    const published: ReplyBody<'GetPublicKey'> = await clients.rest.getPublicKey({ key_id: id(spec) })
    expect(published.signing_algorithms).toContain(signing_algorithm)
    const key = createPublicKey(published.pem)
    expect(verifyMessage(signing_algorithm, key, { message: MESSAGE, signature }, 'der')).toBe(true)
    const judged = await clients.nats.verify({ key_id: id(spec), message: Buffer.from(MESSAGE), signature })
    expect(judged.signature_valid).toBe(true)
    const wrong = await clients.nats.verify({ key_id: id(spec), message: Buffer.from('another'), signature })
    expect(wrong.signature_valid).toBe(false)
  })
  test('a MAC made over one transport verifies over the other, and no other does', async () => {
    for (const spec of ['HMAC_256', 'HMAC_384', 'HMAC_512'] as const) {
      const about = { key_id: id(spec), message: Buffer.from(MESSAGE) }
      const { mac } = await clients.nats.generateMac({ ...about, message: Buffer.from(MESSAGE) })
      const judge = async (message: Buffer, given: Uint8Array) =>
        (await clients.rest.verifyMac({ ...about, message, mac: given })).mac_valid
      expect(await judge(Buffer.from(MESSAGE), Buffer.from(mac))).toBe(true)
      expect(await judge(Buffer.from('another'), Buffer.from(mac))).toBe(false)
      expect(await judge(Buffer.from(MESSAGE), Buffer.alloc(mac.length))).toBe(false)
      expect(await judge(Buffer.from(MESSAGE), Buffer.from(mac).subarray(1))).toBe(false)
    }
  })
  test('disabling a root locks its grandchild out, and enabling it lets it in again', async () => {
    const { nats } = clients
    const sealed = await nats.encrypt({ key_id: id('leaf'), plaintext: Buffer.from(PLAINTEXT) })
    expect((await nats.disableKey({ key_id: id('root') })).affected_descendants).toBe(2)
    await expect(nats.decrypt({ ciphertext_blob: sealed.ciphertext_blob })).rejects.toMatchObject({
      code: 'KEY_NOT_USABLE',
    })
    const { key } = await nats.describeKey({ key_id: id('leaf') })
    expect([key.state, key.effective_state, key.locked_by]).toEqual(['enabled', 'disabled', id('root')])
    await nats.enableKey({ key_id: id('root') })
    expect(Buffer.from((await nats.decrypt({ ciphertext_blob: sealed.ciphertext_blob })).plaintext)).toEqual(PLAINTEXT)
  })
  test('the same Idempotency-Key makes one key, over either transport', async () => {
    const request: Request<'CreateKey'> = { key_spec: 'AES_256', description: 'once' }
    const options = { idempotencyKey: 'create-once' }
    const first = await clients.nats.createKey(request, options)
    const again = await clients.rest.createKey(request, options)
    expect(again.key.key_id).toBe(first.key.key_id)
    expect(again.receipt.seq).toBeGreaterThan(first.receipt.seq)
    await expect(clients.rest.createKey({ ...request, description: 'twice' }, options)).rejects.toMatchObject({
      code: 'IDEMPOTENCY_CONFLICT',
    })
  })
  test('health, readiness, metrics and OpenAPI answer without a token and hold no key data', async () => {
    for (const path of ['/healthz', '/readyz', '/metrics', '/openapi.json']) {
      const answer = await fetch(`${stack.httpUrl}${path}`)
      expect([path, answer.status]).toEqual([path, 200])
      expect(await answer.text()).not.toContain(id('aes'))
    }
  })
})
