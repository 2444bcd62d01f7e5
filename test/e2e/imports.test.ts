import { createPublicKey, generateKeyPairSync, randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { KeySpecName, WrappingAlgorithmName } from '../../schemas/keys.ts'
import type { Request } from '../../schemas/registry.ts'
import { generatePair, verifyMessage } from '../fixtures/softwareSigning.ts'
import { callersKey, secretBytesOf, toPublicHalf, unwrapBy, wrapFor } from '../fixtures/softwareWrapping.ts'
import { type Stack, startStack } from '../fixtures/stack.ts'
import { type Clients, codeOf, openClients, untilTrue } from '../fixtures/stackClients.ts'
import { listEvents, readLedger } from '../fixtures/stackLedger.ts'

/** All that SoftHSM takes in: no Ed25519. */
const SECRETS = ['AES_256', 'AES_128', 'HMAC_256', 'HMAC_384', 'HMAC_512'] as const
const PAIRS = ['ECDSA_P256', 'ECC_NIST_P384', 'RSA_2048', 'RSA_PSS_3072'] as const
const ALGORITHMS = ['RSA_AES_KEY_WRAP_SHA1', 'RSA_OAEP_SHA1'] as const

let stack: Stack
let clients: Clients
beforeAll(async () => {
  stack = await startStack()
  clients = await openClients(stack)
})
afterAll(async () => {
  await clients?.[Symbol.asyncDispose]()
  await stack?.[Symbol.asyncDispose]()
})

/** Every secret this file brings or gets, which must stand nowhere. */
const secrets: Uint8Array[] = []
const remember = <B extends Uint8Array>(bytes: B): B => {
  secrets.push(Uint8Array.from(bytes))
  return bytes
}

interface Material {
  readonly bytes: Uint8Array
  readonly public_key?: Uint8Array
}

const makeMaterial = (spec: KeySpecName): Material => {
  const length = secretBytesOf(spec)
  if (length !== undefined) return { bytes: remember(randomBytes(length)) }
  const { privateKey, publicKey } = generatePair(spec)
  const public_key = publicKey.export({ format: 'der', type: 'spki' })
  return { bytes: remember(privateKey.export({ format: 'der', type: 'pkcs8' })), public_key }
}

const prepare = async (
  asked: Omit<Request<'GetParametersForImport'>, 'key_spec'> & { readonly key_spec?: KeySpecName },
  { bytes, public_key }: Material,
): Promise<Request<'ImportKey'>> => {
  const key_spec = asked.key_spec ?? 'AES_256'
  const { import_token, wrapping_public_key, wrapping_algorithm } = await clients.rest.getParametersForImport({
    ...asked,
    key_spec,
  })
  remember(import_token.subarray(32))
  const wrapped_key_material = wrapFor(wrapping_public_key, wrapping_algorithm, bytes)
  return { key_spec, import_token, wrapped_key_material, ...(public_key === undefined ? {} : { public_key }) }
}

/** The material of a key as its owner gets it back. */
const takeOut = async (key_id: string, wrapping_algorithm: WrappingAlgorithmName) => {
  const { privateKey, spki } = callersKey()
  const taken = await clients.nats.getKeyMaterial({ key_id, wrapping_public_key: spki, wrapping_algorithm })
  expect(taken.warnings).toEqual([expect.stringContaining('SHA-1')])
  return unwrapBy(privateKey, wrapping_algorithm, taken.wrapped_key_material)
}

describe('material that comes and goes', () => {
  test.each(
    [...SECRETS, ...PAIRS].flatMap((key_spec) =>
      ALGORITHMS.filter((algorithm) => algorithm !== 'RSA_OAEP_SHA1' || secretBytesOf(key_spec) !== undefined).map(
        (wrapping_algorithm) => ({ key_spec, wrapping_algorithm }),
      ),
    ),
  )('$key_spec by $wrapping_algorithm comes back as it was brought', async ({ key_spec, wrapping_algorithm }) => {
    const material = makeMaterial(key_spec)
    const request = await prepare({ key_spec, wrapping_algorithm }, material)
    const { key } = await clients.nats.importKey({ ...request, exportable: true })
    expect(key).toMatchObject({ key_spec, origin: 'EXTERNAL', exportable: true })
    const out = await takeOut(key.key_id, wrapping_algorithm)
    if (material.public_key === undefined) expect(out).toEqual(Buffer.from(material.bytes))
    else expect(toPublicHalf(out ?? Buffer.alloc(0))).toEqual(Buffer.from(material.public_key))
  })

  test('an imported pair signs, and its owner’s public key verifies, before and after a rotation', async () => {
    const material = makeMaterial('ECDSA_P256')
    const { key } = await clients.rest.importKey(await prepare({ key_spec: 'ECDSA_P256' }, material))
    const message = Buffer.from('m')
    const signed = await clients.nats.sign({ key_id: key.key_id, message })
    const own = createPublicKey({ key: Buffer.from(material.public_key ?? []), format: 'der', type: 'spki' })
    const isValid = verifyMessage('ECDSA_P256_SHA256', own, { message, signature: signed.signature }, 'der')
    expect(isValid).toBe(true)
    await clients.nats.rotateKey({ key_id: key.key_id })
    const request = { key_id: key.key_id, message, signature: signed.signature, key_version: 1 }
    expect((await clients.rest.verify(request)).signature_valid).toBe(true)
  })
})

describe('an import is refused', () => {
  const both = async (request: Request<'ImportKey'>): Promise<readonly string[]> =>
    Promise.all(clients.both.map((client) => codeOf(client.importKey(request))))

  test('for the wrong length, the wrong kind, a damaged wrapping, and then the token is good still', async () => {
    const good = makeMaterial('AES_256')
    const request = await prepare({}, good)
    const { wrapping_public_key, wrapping_algorithm, ...other } = await clients.nats.getParametersForImport({
      key_spec: 'AES_256',
    })
    const p256 = makeMaterial('ECDSA_P256')
    for (const bytes of [randomBytes(16), randomBytes(24), randomBytes(33), p256.bytes]) {
      const wrapped_key_material = wrapFor(wrapping_public_key, wrapping_algorithm, bytes)
      const { import_token } = other
      expect(await both({ key_spec: 'AES_256', import_token, wrapped_key_material })).toEqual([
        'INVALID_REQUEST',
        'INVALID_REQUEST',
      ])
    }
    const damaged = Buffer.from(request.wrapped_key_material)
    damaged[7] = (damaged[7] ?? 0) ^ 1
    expect(await both({ ...request, wrapped_key_material: damaged })).toEqual(['INVALID_REQUEST', 'INVALID_REQUEST'])
    expect(await codeOf(clients.nats.importKey(request))).toBe('OK')
  })

  test('with a token of another spec, a used one, one whose time is over, and one that is made up', async () => {
    const request = await prepare({}, makeMaterial('AES_256'))
    expect(await both({ ...request, key_spec: 'HMAC_256' })).toEqual(['INVALID_REQUEST', 'INVALID_REQUEST'])
    expect(await both({ ...request, import_token: randomBytes(64) })).toEqual(['INVALID_REQUEST', 'INVALID_REQUEST'])
    expect(await codeOf(clients.nats.importKey(request))).toBe('OK')
    expect(await both(request)).toEqual(['INVALID_REQUEST', 'INVALID_REQUEST'])
    const late = await prepare({ valid_seconds: 1 }, makeMaterial('AES_256'))
    await new Promise((resolve) => setTimeout(resolve, 1_500))
    expect(await both(late)).toEqual(['INVALID_REQUEST', 'INVALID_REQUEST'])
  })

  test('for what SoftHSM can’t do, with what it can', async () => {
    const { nats } = clients
    const code = async (request: Request<'GetParametersForImport'>) => codeOf(nats.getParametersForImport(request))
    expect(await code({ key_spec: 'ED25519' })).toBe('UNSUPPORTED_BY_HSM')
    expect(await code({ key_spec: 'AES_256', wrapping_algorithm: 'RSA_OAEP_SHA256' })).toBe('UNSUPPORTED_BY_HSM')
    expect(await code({ key_spec: 'RSA_2048', wrapping_algorithm: 'RSA_OAEP_SHA1' })).toBe('UNSUPPORTED_BY_HSM')
    await expect(
      nats.getParametersForImport({ key_spec: 'AES_256', wrapping_algorithm: 'RSA_AES_KEY_WRAP_SHA256' }),
    ).rejects.toThrow(/RSA_AES_KEY_WRAP_SHA1, RSA_OAEP_SHA1/)
  })
})

describe('a key that was not created exportable', () => {
  test('never leaves, made here or brought, whatever is tried', async () => {
    const { nats, rest } = clients
    const made = (await nats.createKey({ key_spec: 'AES_256' })).key.key_id
    const brought = (await nats.importKey(await prepare({}, makeMaterial('AES_256')))).key.key_id
    const weak = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({ format: 'der', type: 'spki' })
    for (const key_id of [made, brought]) {
      expect(await codeOf(rest.makeKeyExportable({ key_id }))).toBe('INVALID_STATE_TRANSITION')
      for (const client of clients.both) {
        expect(await codeOf(client.getKeyMaterial({ key_id, wrapping_public_key: callersKey().spki }))).toBe(
          'KEY_NOT_USABLE',
        )
        expect(await codeOf(client.getKeyMaterial({ key_id, wrapping_public_key: weak }))).not.toBe('OK')
      }
      expect((await rest.describeKey({ key_id })).key.first_exported_at).toBeUndefined()
    }
  })
})

describe('the record of it all', () => {
  test('verifies, and has no secret byte in ledger or log', async () => {
    const isEnded = async () => {
      const { length } = listEvents(await readLedger(stack)).filter(({ event }) => event.type === 'KeyImported')
      const ended = listEvents(await readLedger(stack)).filter(
        ({ event }) => event.type === 'ImportWrappingKeyDestroyed',
      )
      return ended.length > length
    }
    // Of those that were used and of the one whose time was over.
    await untilTrue(isEnded, 'the wrapping keys are destroyed')
    const ledger = await readLedger(stack)
    expect(ledger.report.findings).toEqual([])
    const stored = Buffer.concat(ledger.payloads)
    const log = stack.output()
    expect(secrets.length).toBeGreaterThan(SECRETS.length)
    for (const secret of secrets.map((bytes) => Buffer.from(bytes))) {
      expect(stored.includes(secret)).toBe(false)
      for (const text of [secret.toString('hex'), secret.toString('base64'), secret.toString('base64url')])
        expect(log.includes(text) || stored.includes(text)).toBe(false)
    }
  })
})
