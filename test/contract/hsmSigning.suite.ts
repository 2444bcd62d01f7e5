import { createPublicKey, type KeyObject, randomBytes } from 'node:crypto'
import { beforeAll, describe, expect, it } from 'vitest'
import {
  KEY_SPECS,
  type KeySpecName,
  MAC_ALGORITHMS,
  type MacAlgorithmName,
  SIGNING_ALGORITHMS,
  type SigningAlgorithmName,
} from '../../schemas/keys.ts'
import { LIMITS } from '../../schemas/limits.ts'
import type { MaterialRef } from '../../src/core/instruction.ts'
import type { Hsm } from '../../src/core/ports.ts'
import { must } from '../../src/core/result.ts'
import { BACKEND, calm, codeOf, encrypt, makeKey, unwrap } from '../fixtures/hsmRequests.ts'
import { toDigest, verifyMessage } from '../fixtures/softwareSigning.ts'

const PKCS1 = ['RSA_PKCS1_V15_SHA256', 'RSA_PKCS1_V15_SHA384', 'RSA_PKCS1_V15_SHA512'] as const
const PSS = ['RSA_PSS_SHA256', 'RSA_PSS_SHA384', 'RSA_PSS_SHA512'] as const

const SIGNERS: readonly (readonly [KeySpecName, readonly SigningAlgorithmName[]])[] = [
  ['ED25519', ['ED25519_PURE']],
  ['ECDSA_P256', ['ECDSA_P256_SHA256']],
  ['ECC_NIST_P384', ['ECDSA_P384_SHA384']],
  ['RSA_2048', PKCS1],
  ['RSA_3072', PKCS1],
  ['RSA_4096', PKCS1],
  ['RSA_PSS_2048', PSS],
  ['RSA_PSS_3072', PSS],
  ['RSA_PSS_4096', PSS],
]

const MACS: readonly (readonly [KeySpecName, MacAlgorithmName, number])[] = [
  ['HMAC_256', 'HMAC_SHA_256', 32],
  ['HMAC_384', 'HMAC_SHA_384', 48],
  ['HMAC_512', 'HMAC_SHA_512', 64],
]

/** The signer's public half as node:crypto knows it, from the SPKI alone. */
const toPublicKey = ({ publicKey }: MaterialRef): KeyObject => {
  must(publicKey !== undefined, 'a pair has a public key')
  return createPublicKey({ key: Buffer.from(publicKey), format: 'der', type: 'spki' })
}

const flip = (bytes: Uint8Array, at: number): Buffer => {
  const copy = Buffer.from(bytes)
  copy[at] = (copy[at] ?? 0) ^ 1
  return copy
}

/** What every `Hsm` promises of signatures. */
export const describeSigning = (under: () => Hsm) => {
  describe.each(SIGNERS)('signing with %s', (spec, algorithms) => {
    let key: MaterialRef
    beforeAll(async () => {
      key = await makeKey(under(), spec)
    })
    const sign = async (algorithm: SigningAlgorithmName, message: Uint8Array) =>
      under().execute({ kind: 'sign', backend: BACKEND, key, algorithm, message }, calm)
    const verify = (algorithm: SigningAlgorithmName, message: Uint8Array, signature: Uint8Array) =>
      under().execute({ kind: 'verify', backend: BACKEND, key, algorithm, message, signature }, calm)

    it.each(algorithms)('gives by %s what an independent verifier accepts, and verifies it', async (algorithm) => {
      const message = randomBytes(100)
      const digest = toDigest(algorithm, message)
      const { signature } = unwrap(await sign(algorithm, digest))
      expect(verifyMessage(algorithm, toPublicKey(key), { message, signature })).toBe(true)
      expect(verifyMessage(algorithm, toPublicKey(key), { message: randomBytes(100), signature })).toBe(false)
      const isValid = async (over: Uint8Array, given: Uint8Array): Promise<boolean> =>
        unwrap(await verify(algorithm, over, given)).valid
      expect(await isValid(digest, signature)).toBe(true)
      expect(await isValid(randomBytes(digest.length), signature)).toBe(false)
      expect(await isValid(digest, flip(signature, 5))).toBe(false)
      expect(await isValid(digest, signature.subarray(1))).toBe(false)
      expect(await isValid(digest, Buffer.concat([signature, signature]))).toBe(false)
      expect(await isValid(digest, new Uint8Array(0))).toBe(false)
      expect(await isValid(digest, Buffer.alloc(signature.length))).toBe(false)
      expect(await isValid(digest, Buffer.alloc(signature.length, 0xff))).toBe(false)
      expect(await isValid(digest, signature)).toBe(true)
    })

    it('refuses every other algorithm, and a digest of another length', async () => {
      for (const algorithm of SIGNING_ALGORITHMS) {
        const digest = toDigest(algorithm, randomBytes(8))
        const isOwn = algorithms.includes(algorithm)
        expect([algorithm, codeOf(await sign(algorithm, digest))]).toEqual([
          algorithm,
          isOwn ? 'OK' : 'INVALID_REQUEST',
        ])
        expect([algorithm, codeOf(await verify(algorithm, digest, Buffer.alloc(64, 1)))]).toEqual([
          algorithm,
          isOwn ? 'OK' : 'INVALID_REQUEST',
        ])
        if (!isOwn || algorithm === 'ED25519_PURE') continue
        expect(codeOf(await sign(algorithm, digest.subarray(1)))).toBe('INVALID_REQUEST')
        expect(codeOf(await verify(algorithm, Buffer.concat([digest, digest]), Buffer.alloc(64)))).toBe(
          'INVALID_REQUEST',
        )
      }
    })
  })

  it('signs an empty message with ED25519', async () => {
    const signer = await makeKey(under(), 'ED25519')
    const pure = { backend: BACKEND, key: signer, algorithm: 'ED25519_PURE', message: new Uint8Array(0) } as const
    const { signature } = unwrap(await under().execute({ kind: 'sign', ...pure }, calm))
    expect(unwrap(await under().execute({ kind: 'verify', ...pure, signature }, calm)).valid).toBe(true)
  })

  it('salts every signature by PSS anew', async () => {
    const key = await makeKey(under(), 'RSA_PSS_2048')
    const message = randomBytes(32)
    const draw = async () =>
      unwrap(await under().execute({ kind: 'sign', backend: BACKEND, key, algorithm: 'RSA_PSS_SHA256', message }, calm))
        .signature
    expect(Buffer.from(await draw())).not.toEqual(Buffer.from(await draw()))
  })
}

/** What every `Hsm` promises of MACs. */
export const describeMacs = (under: () => Hsm) => {
  describe.each(MACS)('authenticating with %s', (spec, algorithm, bytes) => {
    let key: MaterialRef
    beforeAll(async () => {
      key = await makeKey(under(), spec)
    })
    const make = (message: Uint8Array, by = key) =>
      under().execute({ kind: 'generateMac', backend: BACKEND, key: by, algorithm, message }, calm)
    const isValid = async (message: Uint8Array, mac: Uint8Array, by = key): Promise<boolean> =>
      unwrap(await under().execute({ kind: 'verifyMac', backend: BACKEND, key: by, algorithm, message, mac }, calm))
        .valid

    it.each([0, 1, 100, LIMITS.messageBytesMax])('makes and verifies the MAC of %i bytes', async (messageBytes) => {
      const message = randomBytes(messageBytes)
      const { mac } = unwrap(await make(message))
      expect(mac).toHaveLength(bytes)
      expect(Buffer.from(unwrap(await make(message)).mac)).toEqual(Buffer.from(mac))
      expect(await isValid(message, mac)).toBe(true)
      for (const at of [0, bytes / 2, bytes - 1]) expect(await isValid(message, flip(mac, at))).toBe(false)
      expect(await isValid(message, mac.subarray(1))).toBe(false)
      expect(await isValid(message, mac.subarray(0, bytes - 1))).toBe(false)
      expect(await isValid(message, Buffer.concat([mac, Buffer.alloc(1)]))).toBe(false)
      expect(await isValid(message, new Uint8Array(0))).toBe(false)
      expect(await isValid(Buffer.concat([message, Buffer.alloc(1)]), mac)).toBe(false)
      expect(await isValid(message, mac)).toBe(true)
    })

    it('is another MAC under another key', async () => {
      const other = await makeKey(under(), spec)
      const message = randomBytes(50)
      const { mac } = unwrap(await make(message))
      expect(Buffer.from(unwrap(await make(message, other)).mac)).not.toEqual(Buffer.from(mac))
      expect(await isValid(message, mac, other)).toBe(false)
    })

    it('refuses every other algorithm, and to encrypt', async () => {
      const message = randomBytes(8)
      for (const asked of MAC_ALGORITHMS) {
        const request = { backend: BACKEND, key, algorithm: asked, message } as const
        const expected = asked === algorithm ? 'OK' : 'INVALID_REQUEST'
        expect(codeOf(await under().execute({ kind: 'generateMac', ...request }, calm))).toBe(expected)
        const mac = Buffer.alloc(32)
        expect(codeOf(await under().execute({ kind: 'verifyMac', ...request, mac }, calm))).toBe(expected)
      }
      expect(codeOf(await encrypt(under(), key, message))).toBe('INVALID_REQUEST')
    })
  })

  it('makes no MAC with any other spec', async () => {
    const others = KEY_SPECS.filter((spec) => !spec.startsWith('HMAC_') && !spec.startsWith('RSA_'))
    for (const spec of others) {
      const key = await makeKey(under(), spec)
      const request = { backend: BACKEND, key, algorithm: 'HMAC_SHA_256', message: randomBytes(8) } as const
      expect([spec, codeOf(await under().execute({ kind: 'generateMac', ...request }, calm))]).toEqual([
        spec,
        'INVALID_REQUEST',
      ])
    }
  })
}
