import { createPrivateKey, randomBytes, sign } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { DATA_KEY_PAIR_SPECS, KEY_SPECS, WRAPPING_ALGORITHMS } from '../../schemas/keys.ts'
import { must } from '../../src/core/result.ts'
import { BACKEND, calm, codeOf, decrypt, encrypt, HEADER, makeKey, unwrap } from '../fixtures/hsmRequests.ts'
import {
  createMaterialBench,
  describeObjects,
  generateWeakPair,
  type MaterialBench,
  pairOf,
  toPkcs8,
  toSpki,
} from '../fixtures/materialBench.ts'
import { secretBytesOf, toPublicHalf, unwrapBy, wrapFor } from '../fixtures/softwareWrapping.ts'
import type { HsmUnderTest } from './hsm.suite.ts'
import { describeRefusedImports } from './hsmImport.suite.ts'

/** What every `Hsm` promises of pairs that are data keys, and of material that comes and goes wrapped. */
export const describeMaterial = (name: string, open: () => Promise<HsmUnderTest>) =>
  describe(name, () => {
    let under: HsmUnderTest
    let set: MaterialBench
    const bench = () => set

    beforeAll(async () => {
      under = await open()
      set = await createMaterialBench(under.hsm)
    })
    afterAll(() => under[Symbol.asyncDispose]())

    it('says what it can wrap, and knows nothing of another backend', () => {
      const { hsm, support } = bench()
      expect(support.algorithms.length).toBeGreaterThan(0)
      expect(WRAPPING_ALGORITHMS.filter((one) => support.algorithms.includes(one))).toEqual(support.algorithms)
      expect(support.specs).toContain('AES_256')
      expect(hsm.wrapping('other')).toBeUndefined()
    })

    it.each(DATA_KEY_PAIR_SPECS.flatMap((pairSpec) => [true, false].map((wanted) => ({ pairSpec, wanted }))))(
      'makes a $pairSpec pair that is nowhere but in its blob; plaintext: $wanted',
      async ({ pairSpec, wanted }) => {
        const { hsm, key, list } = bench()
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
      const { support, wrappingKey, bring, takeOut } = bench()
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
      const { hsm, support, wrappingKey, bring } = bench()
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
      const { hsm, key, wrappingKey, bring, list, carried } = bench()
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

    it('refuses what it does not offer as UNSUPPORTED_BY_HSM, never by another algorithm', async () => {
      const { support, bring } = bench()
      const wrapped = randomBytes(424)
      const [offered] = support.algorithms
      must(offered !== undefined, 'an algorithm')
      for (const algorithm of WRAPPING_ALGORITHMS.filter((one) => !support.algorithms.includes(one)))
        expect(codeOf(await bring({ spec: 'AES_256', algorithm, wrapped }))).toBe('UNSUPPORTED_BY_HSM')
      for (const spec of KEY_SPECS.filter((one) => !support.specs.includes(one)))
        expect(codeOf(await bring({ spec, algorithm: offered, wrapped }))).toBe('UNSUPPORTED_BY_HSM')
    })

    it('lets out nothing that was not made exportable', async () => {
      const { hsm, support, wrappingKey, bring, takeOut, carried } = bench()
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
      ['RSA with an exponent of 3', () => toSpki(generateWeakPair().publicKey)],
      ['a curve', () => toSpki(pairOf('ECDSA_P256').publicKey)],
      ['no key at all', () => randomBytes(400)],
      ['nothing', () => Buffer.alloc(0)],
    ])('wraps under no key that is %s', async (_what, toKey) => {
      const { key, support, takeOut } = bench()
      const [algorithm] = support.algorithms
      must(algorithm !== undefined, 'an algorithm')
      expect(codeOf(await takeOut(key, algorithm, toKey()))).toBe('INVALID_REQUEST')
    })

    describeRefusedImports(bench)
  })
