import { generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { type KeySpecName, WRAPPING_ALGORITHMS, type WrappingAlgorithmName } from '../../schemas/keys.ts'
import { must } from '../../src/core/result.ts'
import { BACKEND, calm, codeOf, unwrap } from '../fixtures/hsmRequests.ts'
import { describeObjects, type MaterialBench, pairOf, toPkcs8, toSpki } from '../fixtures/materialBench.ts'
import { secretBytesOf, wrapByKwp, wrapFor } from '../fixtures/softwareWrapping.ts'

/** What no `Hsm` takes in, and that nothing of it stays on the token. */
export const describeRefusedImports = (bench: () => MaterialBench) =>
  describe('an import', () => {
    it('takes nothing but the promised length, and leaves nothing on the token', async () => {
      const { hsm, support, wrappingKey, bring, list } = bench()
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
      const { hsm, support, wrappingKey, makeWrappingKey, bring, list } = bench()
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
      const { hsm, wrappingKey, bring, list, carried } = bench()
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
      const { wrappingKey, bring, carried } = bench()
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

    it('unwraps nothing under a wrapping key that is gone', async () => {
      const { hsm, support, makeWrappingKey, bring } = bench()
      const spent = await makeWrappingKey()
      unwrap(await hsm.execute({ kind: 'destroyKey', backend: BACKEND, key: spent }, calm))
      const [algorithm] = support.algorithms
      must(algorithm !== undefined, 'an algorithm')
      const wrapped = wrapFor(spent.publicKey, algorithm, randomBytes(32))
      expect(codeOf(await bring({ spec: 'AES_256', algorithm, wrapped, wrappingKey: spent }))).toBe('KEY_NOT_USABLE')
    })
  })
