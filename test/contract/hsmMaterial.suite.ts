import { createPrivateKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  DATA_KEY_PAIR_SPECS,
  KEY_SPECS,
  type KeySpecName,
  WRAPPING_ALGORITHMS,
  type WrappingAlgorithmName,
} from '../../schemas/keys.ts'
import { LIMITS } from '../../schemas/limits.ts'
import type { MaterialRef } from '../../src/core/instruction.ts'
import type { Hsm, HsmObject, WrappingSupport } from '../../src/core/ports.ts'
import { must, type Result } from '../../src/core/result.ts'
import { BACKEND, calm, codeOf, decrypt, encrypt, HEADER, makeKey, randomLid, unwrap } from '../fixtures/hsmRequests.ts'
import { generatePair } from '../fixtures/softwareSigning.ts'
import { secretBytesOf, toPublicHalf, unwrapBy, wrapByKwp, wrapFor } from '../fixtures/softwareWrapping.ts'
import type { HsmUnderTest } from './hsm.suite.ts'

interface WrappingKey extends MaterialRef {
  readonly publicKey: Uint8Array
}

interface Import {
  readonly spec: KeySpecName
  readonly algorithm: WrappingAlgorithmName
  readonly wrapped: Uint8Array
  readonly publicKey?: Uint8Array
  readonly exportable?: boolean
  readonly wrappingKey?: MaterialRef
}

type Pair = ReturnType<typeof generatePair>

/** The same pairs for every HSM under test: making RSA pairs takes longer than all the rest. */
const pairs = new Map<string, Pair>()
const pairOf = (spec: KeySpecName, who = 'brought'): Pair => {
  const name = `${who} ${spec.replace('RSA_PSS_', 'RSA_')}`
  const known = pairs.get(name) ?? generatePair(spec)
  pairs.set(name, known)
  return known
}
const weak = generateKeyPairSync('rsa', { modulusLength: 3072, publicExponent: 3 })

const toSpki = (key: KeyObject): Buffer => key.export({ format: 'der', type: 'spki' })
const toPkcs8 = (key: KeyObject): Buffer => key.export({ format: 'der', type: 'pkcs8' })
const describeObjects = (objects: readonly HsmObject[]): readonly string[] =>
  objects.map(({ label, complete, imported }) => `${label} ${complete} ${imported}`).sort()

/** What every `Hsm` promises of pairs that are data keys, and of material that comes and goes wrapped. */
export const describeMaterial = (name: string, open: () => Promise<HsmUnderTest>) =>
  describe(name, () => {
    let under: HsmUnderTest
    let hsm: Hsm
    let key: MaterialRef
    let support: WrappingSupport
    let wrappingKey: WrappingKey

    const makeWrappingKey = async (): Promise<WrappingKey> => {
      const lid = randomLid()
      const made = unwrap(
        await hsm.execute({ kind: 'generateWrappingKey', backend: BACKEND, epoch: 1, lid, version: 1 }, calm),
      )
      using secret = made.secret
      expect(secret.length).toBe(LIMITS.importSecretBytes)
      return { lid, version: 1, spec: 'RSA_3072', sealedHandle: made.sealedHandle, publicKey: made.publicKey }
    }
    const bring = async (brought: Import): Promise<Result<MaterialRef>> => {
      const { spec, exportable = false } = brought
      const lid = randomLid()
      const done = await hsm.execute(
        { kind: 'importKey', backend: BACKEND, epoch: 1, lid, version: 1, exportable, wrappingKey, ...brought },
        calm,
      )
      return done.ok ? { ok: true, value: { lid, version: 1, spec, imported: true, ...done.value } } : done
    }
    const takeOut = (from: MaterialRef, algorithm: WrappingAlgorithmName, wrappingPublicKey: Uint8Array) =>
      hsm.execute({ kind: 'exportKey', backend: BACKEND, key: from, algorithm, wrappingPublicKey }, calm)
    const list = async (): Promise<readonly HsmObject[]> => unwrap(await hsm.inventory(BACKEND, calm))
    const carried = (): WrappingAlgorithmName => {
      const found = support.algorithms.find((algorithm) => algorithm.startsWith('RSA_AES'))
      must(found !== undefined, 'the backend takes in private keys')
      return found
    }

    beforeAll(async () => {
      under = await open()
      hsm = under.hsm
      unwrap(await hsm.createGenesis(BACKEND, calm))
      key = await makeKey(hsm, 'AES_256')
      const found = hsm.wrapping(BACKEND)
      must(found !== undefined, 'the backend has been up')
      support = found
      wrappingKey = await makeWrappingKey()
    })
    afterAll(() => under[Symbol.asyncDispose]())

    it('says what it can wrap, and knows nothing of another backend', () => {
      expect(support.algorithms.length).toBeGreaterThan(0)
      expect(WRAPPING_ALGORITHMS.filter((one) => support.algorithms.includes(one))).toEqual(support.algorithms)
      expect(support.specs).toContain('AES_256')
      expect(hsm.wrapping('other')).toBeUndefined()
    })

    it.each(DATA_KEY_PAIR_SPECS.flatMap((pairSpec) => [true, false].map((wanted) => ({ pairSpec, wanted }))))(
      'makes a $pairSpec pair that is nowhere but in its blob; plaintext: $wanted',
      async ({ pairSpec, wanted }) => {
        const context = Buffer.from('pair')
        const before = await list()
        const { blob, publicKey, plaintext } = unwrap(
          await hsm.execute(
            {
              kind: 'generateDataKeyPair',
              backend: BACKEND,
              key,
              header: HEADER,
              context,
              pairSpec,
              returnPlaintext: wanted,
            },
            calm,
          ),
        )
        const pkcs8 = unwrap(await decrypt(hsm, key, blob, context))
        const privateKey = createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' })
        expect(toPublicHalf(pkcs8)).toEqual(Buffer.from(publicKey))
        // Byte for byte what OpenSSL writes: no number is padded, none is missing.
        expect(toPkcs8(privateKey)).toEqual(pkcs8)
        expect(sign(pairSpec === 'ED25519' ? null : 'sha256', Buffer.from('x'), privateKey).length).toBeGreaterThan(0)
        expect(plaintext && Buffer.from(plaintext.expose())).toEqual(wanted ? pkcs8 : undefined)
        plaintext?.[Symbol.dispose]()
        expect(describeObjects(await list())).toEqual(describeObjects(before))
      },
    )

    it('imports and exports each spec by each algorithm it offers', async () => {
      const caller = pairOf('RSA_3072')
      for (const spec of support.specs)
        for (const algorithm of support.algorithms) {
          const bytes = secretBytesOf(spec)
          if (bytes === undefined && algorithm.startsWith('RSA_OAEP')) continue
          const pair = bytes === undefined ? pairOf(spec) : undefined
          const material = pair === undefined ? randomBytes(bytes ?? 0) : toPkcs8(pair.privateKey)
          const brought = await bring({
            spec,
            algorithm,
            exportable: true,
            wrapped: wrapFor(wrappingKey.publicKey, algorithm, material),
            ...(pair === undefined ? {} : { publicKey: toSpki(pair.publicKey) }),
          })
          expect(codeOf(brought), `${spec} by ${algorithm}`).toBe('OK')
          const { wrapped } = unwrap(await takeOut(unwrap(brought), algorithm, toSpki(caller.publicKey)))
          const out = unwrapBy(caller.privateKey, algorithm, wrapped)
          must(out !== undefined, 'the caller unwraps what was wrapped for him')
          if (pair === undefined) expect(out).toEqual(material)
          else expect(toPublicHalf(out)).toEqual(toSpki(pair.publicKey))
        }
    })

    it('uses what it imported: the caller opens what it sealed', async () => {
      const material = randomBytes(32)
      const [algorithm] = support.algorithms
      must(algorithm !== undefined, 'an algorithm')
      const wrapped = wrapFor(wrappingKey.publicKey, algorithm, material)
      const brought = unwrap(await bring({ spec: 'AES_256', algorithm, wrapped }))
      const { blob } = unwrap(await encrypt(hsm, brought, Buffer.from('brought')))
      expect(unwrap(await decrypt(hsm, brought, blob)).toString()).toBe('brought')
      const twin = unwrap(await bring({ spec: 'AES_256', algorithm, wrapped }))
      expect(unwrap(await decrypt(hsm, twin, blob)).toString()).toBe('brought')
    })

    it('lists an imported key as finished and imported, and misses it only as what it is', async () => {
      const algorithm = carried()
      const wrapped = wrapFor(wrappingKey.publicKey, algorithm, randomBytes(32))
      const brought = unwrap(await bring({ spec: 'AES_256', algorithm, wrapped }))
      const objects = (await list()).filter(({ lid }) => lid === brought.lid)
      expect(objects).toMatchObject([{ objectClass: 'secret_key', complete: true, imported: true, version: 1 }])
      const { imported: _, ...asMade } = brought
      expect(unwrap(await hsm.findIds(BACKEND, [brought, key], calm))).not.toContain(undefined)
      // Nobody can pass off his own key as one that the token made.
      expect(unwrap(await hsm.findIds(BACKEND, [asMade], calm))).toEqual([undefined])
      expect(codeOf(await encrypt(hsm, asMade, Buffer.from('x')))).toBe('KEY_NOT_USABLE')
      const destroyed = await hsm.execute({ kind: 'destroyKey', backend: BACKEND, key: brought }, calm)
      expect(unwrap(destroyed)).toEqual({ destroyed: true })
    })

    it('takes nothing but the promised length, and leaves nothing on the token', async () => {
      const before = await list()
      for (const algorithm of support.algorithms)
        for (const spec of support.specs) {
          const right = secretBytesOf(spec)
          if (right === undefined) continue
          for (const off of [-16, -8, -7, -1, 1, 7, 8, 16]) {
            const wrapped = wrapFor(wrappingKey.publicKey, algorithm, randomBytes(Math.max(1, right + off)))
            const brought = await bring({ spec, algorithm, wrapped })
            expect(codeOf(brought), `${spec} and ${off} bytes by ${algorithm}`).toBe('INVALID_REQUEST')
          }
        }
      expect(describeObjects(await list())).toEqual(describeObjects(before))
      expect(hsm.status()).toMatchObject([{ state: 'HEALTHY', breaker: 'closed' }])
    })

    it('takes nothing that is damaged, cut, wrapped for another key or by another algorithm', async () => {
      const before = await list()
      const other = await makeWrappingKey()
      for (const algorithm of support.algorithms) {
        const good = wrapFor(wrappingKey.publicKey, algorithm, randomBytes(32))
        const flipped = (at: number): Buffer => {
          const copy = Buffer.from(good)
          copy[at] = (copy[at] ?? 0) ^ 1
          return copy
        }
        const wrong = [
          flipped(0),
          flipped(200),
          flipped(good.length - 1),
          good.subarray(0, good.length - 1),
          good.subarray(0, 384),
          good.subarray(0, 100),
          Buffer.concat([good, Buffer.alloc(8)]),
          randomBytes(good.length),
          Buffer.alloc(good.length),
          wrapFor(other.publicKey, algorithm, randomBytes(32)),
          ...WRAPPING_ALGORITHMS.filter((one) => one !== algorithm).map((one) =>
            wrapFor(wrappingKey.publicKey, one, randomBytes(32)),
          ),
        ].filter((bytes) => !bytes.equals(good))
        const codes = new Set<string>()
        for (const wrapped of wrong) codes.add(JSON.stringify(await bring({ spec: 'AES_256', algorithm, wrapped })))
        expect([...codes].map((text) => JSON.parse(text))).toMatchObject([
          { ok: false, error: { code: 'INVALID_REQUEST' } },
        ])
        expect(codeOf(await bring({ spec: 'AES_256', algorithm, wrapped: good }))).toBe('OK')
      }
      expect((await list()).length).toBe(before.length + 1 + support.algorithms.length)
      expect(hsm.status()).toMatchObject([{ state: 'HEALTHY', breaker: 'closed' }])
    })

    it('takes a pair only of its spec and with its own public half', async () => {
      const algorithm = carried()
      const before = await list()
      const p256 = pairOf('ECDSA_P256')
      const stranger = pairOf('ECDSA_P256', 'stranger')
      const rsa = pairOf('RSA_2048')
      const p521 = generateKeyPairSync('ec', { namedCurve: 'P-521' })
      const wrapPair = (pair: { readonly privateKey: KeyObject }) =>
        wrapFor(wrappingKey.publicKey, algorithm, toPkcs8(pair.privateKey))
      const tried: readonly (readonly [string, KeySpecName, Uint8Array, Uint8Array | undefined])[] = [
        ['no public half', 'ECDSA_P256', wrapPair(p256), undefined],
        ['junk as the public half', 'ECDSA_P256', wrapPair(p256), randomBytes(91)],
        ['the public half of another', 'ECDSA_P256', wrapPair(p256), toSpki(stranger.publicKey)],
        ['RSA for a curve', 'ECDSA_P256', wrapPair(rsa), toSpki(p256.publicKey)],
        ['RSA for a curve, said openly', 'ECDSA_P256', wrapPair(rsa), toSpki(rsa.publicKey)],
        ['another curve', 'ECDSA_P256', wrapPair(p521), toSpki(p521.publicKey)],
        ['another curve, under a fitting public half', 'ECDSA_P256', wrapPair(p521), toSpki(p256.publicKey)],
        ['a shorter RSA key', 'RSA_3072', wrapPair(rsa), toSpki(rsa.publicKey)],
        [
          'a secret for a pair',
          'ECDSA_P256',
          wrapFor(wrappingKey.publicKey, algorithm, randomBytes(32)),
          toSpki(p256.publicKey),
        ],
        ['a pair for a secret', 'AES_256', wrapPair(p256), undefined],
      ]
      for (const [what, spec, wrapped, publicKey] of tried) {
        const brought = await bring({ spec, algorithm, wrapped, ...(publicKey === undefined ? {} : { publicKey }) })
        expect(codeOf(brought), what).toBe('INVALID_REQUEST')
      }
      expect(describeObjects(await list())).toEqual(describeObjects(before))
      expect(hsm.status()).toMatchObject([{ state: 'HEALTHY', breaker: 'closed' }])
    })

    it('takes a carrier of 256 bits only', async () => {
      const algorithm = carried()
      const direct = algorithm.replace('RSA_AES_KEY_WRAP', 'RSA_OAEP') as WrappingAlgorithmName
      const toParcel = (carrier: Buffer, inner: Buffer): Buffer =>
        Buffer.concat([wrapFor(wrappingKey.publicKey, direct, carrier), inner])
      const carrier = randomBytes(32)
      const good = toParcel(carrier, wrapByKwp(carrier, randomBytes(32)))
      expect(codeOf(await bring({ spec: 'AES_256', algorithm, wrapped: good }))).toBe('OK')
      for (const bytes of [1, 16, 17, 24, 31, 33, 48]) {
        const wrapped = toParcel(randomBytes(bytes), wrapByKwp(carrier, randomBytes(32)))
        expect(codeOf(await bring({ spec: 'AES_256', algorithm, wrapped }))).toBe('INVALID_REQUEST')
      }
    })

    it('refuses what it does not offer as UNSUPPORTED_BY_HSM, never by another algorithm', async () => {
      const wrapped = randomBytes(424)
      const [offered] = support.algorithms
      must(offered !== undefined, 'an algorithm')
      for (const algorithm of WRAPPING_ALGORITHMS.filter((one) => !support.algorithms.includes(one)))
        expect(codeOf(await bring({ spec: 'AES_256', algorithm, wrapped }))).toBe('UNSUPPORTED_BY_HSM')
      for (const spec of KEY_SPECS.filter((one) => !support.specs.includes(one)))
        expect(codeOf(await bring({ spec, algorithm: offered, wrapped }))).toBe('UNSUPPORTED_BY_HSM')
    })

    it('lets out nothing that was not made exportable', async () => {
      const caller = toSpki(pairOf('RSA_3072').publicKey)
      const stays = await makeKey(hsm, 'AES_256')
      for (const algorithm of support.algorithms)
        expect(codeOf(await takeOut(stays, algorithm, caller))).toBe('KEY_NOT_USABLE')
      const algorithm = carried()
      const wrapped = wrapFor(wrappingKey.publicKey, algorithm, randomBytes(32))
      const brought = unwrap(await bring({ spec: 'AES_256', algorithm, wrapped }))
      expect(codeOf(await takeOut(brought, algorithm, caller))).toBe('KEY_NOT_USABLE')
      expect(codeOf(await takeOut(wrappingKey, algorithm, caller))).toBe('KEY_NOT_USABLE')
    })

    it.each([
      ['RSA of 2048 bits', () => toSpki(pairOf('RSA_2048').publicKey)],
      ['RSA with an exponent of 3', () => toSpki(weak.publicKey)],
      ['a curve', () => toSpki(pairOf('ECDSA_P256').publicKey)],
      ['no key at all', () => randomBytes(400)],
      ['nothing', () => Buffer.alloc(0)],
    ])('wraps under no key that is %s', async (_what, toKey) => {
      const [algorithm] = support.algorithms
      must(algorithm !== undefined, 'an algorithm')
      expect(codeOf(await takeOut(key, algorithm, toKey()))).toBe('INVALID_REQUEST')
    })

    it('unwraps nothing under a wrapping key that is gone', async () => {
      const spent = await makeWrappingKey()
      unwrap(await hsm.execute({ kind: 'destroyKey', backend: BACKEND, key: spent }, calm))
      const [algorithm] = support.algorithms
      must(algorithm !== undefined, 'an algorithm')
      const wrapped = wrapFor(spent.publicKey, algorithm, randomBytes(32))
      expect(codeOf(await bring({ spec: 'AES_256', algorithm, wrapped, wrappingKey: spent }))).toBe('KEY_NOT_USABLE')
    })
  })
