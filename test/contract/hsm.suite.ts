import { createPublicKey, randomBytes, verify } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { KEY_SPECS } from '../../schemas/keys.ts'
import { LIMITS } from '../../schemas/limits.ts'
import { toCheckpointText } from '../../src/core/checkpoint.ts'
import type { MaterialRef } from '../../src/core/instruction.ts'
import type { Hsm } from '../../src/core/ports.ts'
import {
  BACKEND,
  calm,
  codeOf,
  decrypt,
  encrypt,
  HEADER,
  makeKey,
  ORIGIN,
  randomLid,
  unwrap,
} from '../fixtures/hsmRequests.ts'
import { describeRoots } from './hsmRoots.suite.ts'
import { describeMacs, describeSigning } from './hsmSigning.suite.ts'

/** An HSM with an empty token, and what ends it. */
export interface HsmUnderTest extends AsyncDisposable {
  readonly hsm: Hsm
}

/** What every `Hsm` promises the pipeline. */
export const describeHsm = (name: string, open: () => Promise<HsmUnderTest>) =>
  describe(name, () => {
    let under: HsmUnderTest
    let hsm: Hsm
    let key: MaterialRef
    beforeAll(async () => {
      under = await open()
      hsm = under.hsm
    })
    afterAll(() => under[Symbol.asyncDispose]())

    it('has no usable keys and is DOWN before genesis made its handle key', async () => {
      const lid = randomLid()
      const made = await hsm.execute(
        { kind: 'generateKey', backend: BACKEND, epoch: 1, lid, version: 1, spec: 'AES_256', exportable: false },
        calm,
      )
      expect(codeOf(made)).toBe('HSM_UNAVAILABLE')
      expect(codeOf(await hsm.destroyObjects(BACKEND, ['00'.repeat(16)], calm))).toBe('HSM_UNAVAILABLE')
      expect(hsm.status()).toEqual([{ backend: BACKEND, state: 'DOWN', breaker: 'closed', queued: 0 }])
      expect(unwrap(await hsm.genesisState(BACKEND, calm))).toEqual({ handleKey: false, ledgerRoot: false, others: 0 })
    })

    it('makes handle key and root once, and a fresh context key each time', async () => {
      const first = unwrap(await hsm.createGenesis(BACKEND, calm))
      const second = unwrap(await hsm.createGenesis(BACKEND, calm))
      expect(Buffer.from(second.rootPublicKey)).toEqual(Buffer.from(first.rootPublicKey))
      expect(first.rootPublicKey).toHaveLength(32)
      expect(unwrap(await hsm.genesisState(BACKEND, calm))).toEqual({ handleKey: true, ledgerRoot: true, others: 0 })
      expect(hsm.status()).toMatchObject([{ state: 'HEALTHY', breaker: 'closed' }])
      using contextKey = unwrap(await hsm.unsealContextKey(BACKEND, first.sealedContextKey, calm))
      using other = unwrap(await hsm.unsealContextKey(BACKEND, second.sealedContextKey, calm))
      expect(contextKey.length).toBe(32)
      expect(Buffer.from(contextKey.expose())).not.toEqual(Buffer.from(other.expose()))
      const tampered = Buffer.from(first.sealedContextKey)
      tampered[20] = (tampered[20] ?? 0) ^ 1
      expect(codeOf(await hsm.unsealContextKey(BACKEND, tampered, calm))).toBe('INVALID_CIPHERTEXT')
    })

    it('signs as root so that the public key of genesis verifies it', async () => {
      const { rootPublicKey } = unwrap(await hsm.createGenesis(BACKEND, calm))
      const message = Buffer.concat([Buffer.from('chatelaine/sign/v1\0'), randomBytes(200)])
      const signature = unwrap(await hsm.signAsRoot(BACKEND, { root: rootPublicKey, message }, calm))
      const jwk = { kty: 'OKP', crv: 'Ed25519', x: Buffer.from(rootPublicKey).toString('base64url') }
      expect(verify(null, message, createPublicKey({ key: jwk, format: 'jwk' }), signature)).toBe(true)
    })

    it('signs as root nothing but what bears a label, and the checkpoints of its own ledger', async () => {
      const { rootPublicKey } = unwrap(await hsm.createGenesis(BACKEND, calm))
      const checkpoint = { origin: ORIGIN, size: 7, root: randomBytes(32) }
      const text = Buffer.from(toCheckpointText(checkpoint))
      const jwk = { kty: 'OKP', crv: 'Ed25519', x: Buffer.from(rootPublicKey).toString('base64url') }
      const signature = unwrap(await hsm.signCheckpoint(BACKEND, { root: rootPublicKey, checkpoint }, calm))
      expect(verify(null, text, createPublicKey({ key: jwk, format: 'jwk' }), signature)).toBe(true)
      const foreign = { ...checkpoint, origin: 'other/0123456789abcdef' }
      const root = rootPublicKey
      expect(codeOf(await hsm.signCheckpoint(BACKEND, { root, checkpoint: foreign }, calm))).toBe('INVALID_REQUEST')
      for (const message of [text, randomBytes(200), Buffer.from('chatelaine/sign/v1')])
        expect(codeOf(await hsm.signAsRoot(BACKEND, { root, message }, calm))).toBe('INVALID_REQUEST')
    })

    it.each([0, 1, 15, 16, 1024, LIMITS.plaintextBytesMax])('decrypts what it encrypted: %i bytes', async (bytes) => {
      key ??= await makeKey(hsm, 'AES_256')
      const plaintext = randomBytes(bytes)
      const context = randomBytes(30)
      const { blob } = unwrap(await encrypt(hsm, key, plaintext, { context }))
      expect(blob).toHaveLength(80 + 12 + bytes + 16)
      expect(Buffer.from(blob.subarray(0, 80))).toEqual(HEADER)
      expect(unwrap(await decrypt(hsm, key, blob, context))).toEqual(plaintext)
    })

    it('seals and opens with AES_128 too, and one key does not open what another sealed', async () => {
      const short = await makeKey(hsm, 'AES_128')
      const { blob } = unwrap(await encrypt(hsm, short, Buffer.from('short'), { context: Buffer.from('c') }))
      expect(unwrap(await decrypt(hsm, short, blob, Buffer.from('c'))).toString()).toBe('short')
      expect(codeOf(await decrypt(hsm, await makeKey(hsm, 'AES_128'), blob, Buffer.from('c')))).toBe(
        'INVALID_CIPHERTEXT',
      )
      expect(codeOf(await decrypt(hsm, key, blob, Buffer.from('c')))).toBe('INVALID_CIPHERTEXT')
    })

    it('never uses a nonce twice', async () => {
      const blobs = await Promise.all(Array.from({ length: 200 }, () => encrypt(hsm, key, Buffer.from('same'))))
      const nonces = blobs.map((blob) => Buffer.from(unwrap(blob).blob.subarray(80, 92)).toString('hex'))
      expect(new Set(nonces).size).toBe(200)
    })

    it('reads every wrong ciphertext the same', async () => {
      const context = Buffer.from('context')
      const { blob } = unwrap(await encrypt(hsm, key, Buffer.from('secret'), { context }))
      const flipped = (at: number): Buffer => {
        const copy = Buffer.from(blob)
        copy[at] = (copy[at] ?? 0) ^ 1
        return copy
      }
      const wrong = [
        await decrypt(hsm, key, flipped(0), context),
        await decrypt(hsm, key, flipped(85), context),
        await decrypt(hsm, key, flipped(93), context),
        await decrypt(hsm, key, flipped(blob.length - 1), context),
        await decrypt(hsm, key, blob.subarray(0, blob.length - 1), context),
        await decrypt(hsm, key, blob.subarray(0, 108), context),
        await decrypt(hsm, key, blob.subarray(0, 92), context),
        await decrypt(hsm, key, blob.subarray(0, 80), context),
        await decrypt(hsm, key, blob, Buffer.from('other')),
        await decrypt(hsm, await makeKey(hsm, 'AES_256'), blob, context),
      ]
      expect(new Set(wrong.map((result) => JSON.stringify(result))).size).toBe(1)
      expect(wrong.map(codeOf)).toEqual(wrong.map(() => 'INVALID_CIPHERTEXT'))
      expect(unwrap(await decrypt(hsm, key, blob, context)).toString()).toBe('secret')
    })

    it('re-encrypts under another key, header and context', async () => {
      const destination = await makeKey(hsm, 'AES_256')
      const { blob } = unwrap(await encrypt(hsm, key, Buffer.from('moved'), { context: Buffer.from('a') }))
      const header = Buffer.alloc(80, 0x42)
      const moved = await hsm.execute(
        {
          kind: 'reEncrypt',
          backend: BACKEND,
          sourceBackend: BACKEND,
          source: key,
          sourceContext: Buffer.from('a'),
          blob,
          destination,
          header,
          context: Buffer.from('b'),
        },
        calm,
      )
      const written = unwrap(moved).blob
      expect(Buffer.from(written.subarray(0, 80))).toEqual(header)
      expect(unwrap(await decrypt(hsm, destination, written, Buffer.from('b'))).toString()).toBe('moved')
    })

    it.each([true, false])('gives a data key with its plaintext only if asked: %s', async (returnPlaintext) => {
      const context = Buffer.from('dek')
      const done = await hsm.execute(
        { kind: 'generateDataKey', backend: BACKEND, key, header: HEADER, context, bytes: 32, returnPlaintext },
        calm,
      )
      const { blob, plaintext } = unwrap(done)
      const opened = unwrap(await decrypt(hsm, key, blob, context))
      expect(opened).toHaveLength(32)
      expect(plaintext === undefined ? undefined : Buffer.from(plaintext.expose())).toEqual(
        returnPlaintext ? opened : undefined,
      )
      plaintext?.[Symbol.dispose]()
    })

    it('gives random bytes, never the same', async () => {
      const draw = async (): Promise<string> => {
        using bytes = unwrap(await hsm.execute({ kind: 'random', backend: BACKEND, bytes: 32 }, calm)).bytes
        expect(bytes.length).toBe(32)
        return Buffer.from(bytes.expose()).toString('hex')
      }
      expect(await draw()).not.toBe(await draw())
    })

    describeRoots(() => hsm)
    describeSigning(() => hsm)
    describeMacs(() => hsm)

    it('binds a sealed handle to its LID and version', async () => {
      const { blob } = unwrap(await encrypt(hsm, key, Buffer.from('bound')))
      expect(codeOf(await decrypt(hsm, { ...key, version: 2 }, blob))).toBe('KEY_NOT_USABLE')
      expect(codeOf(await decrypt(hsm, { ...key, lid: randomLid() }, blob))).toBe('KEY_NOT_USABLE')
      expect(codeOf(await decrypt(hsm, key, blob))).toBe('OK')
    })

    it('destroys material for good: unusable, missing, not listed; and again without error', async () => {
      const doomed = await makeKey(hsm, 'AES_256')
      const { blob } = unwrap(await encrypt(hsm, doomed, Buffer.from('gone')))
      const destroy = { kind: 'destroyKey', backend: BACKEND, key: doomed } as const
      expect(unwrap(await hsm.execute(destroy, calm))).toEqual({ destroyed: true })
      expect(codeOf(await decrypt(hsm, doomed, blob))).toBe('KEY_NOT_USABLE')
      expect(unwrap(await hsm.findIds(BACKEND, [key, doomed], calm))).toEqual([
        expect.stringMatching(/^[0-9a-f]{32}$/),
        undefined,
      ])
      expect(unwrap(await hsm.inventory(BACKEND, calm)).some((object) => object.lid === doomed.lid)).toBe(false)
      expect(unwrap(await hsm.execute(destroy, calm))).toEqual({ destroyed: false })
    })

    it('lists its objects by the parts of their labels, and destroys them by CKA_ID', async () => {
      const swept = await makeKey(hsm, 'ED25519', { epoch: 7, version: 3 })
      const listed = unwrap(await hsm.inventory(BACKEND, calm)).filter((object) => object.lid === swept.lid)
      expect(listed).toEqual([
        {
          label: `chatelaine/${ORIGIN}/7/${swept.lid}/3`,
          ckaIdHex: expect.stringMatching(/^[0-9a-f]{32}$/),
          objectClass: 'private_key',
          epoch: 7,
          lid: swept.lid,
          version: 3,
          complete: true,
          imported: false,
        },
      ])
      const ids = listed.map((object) => object.ckaIdHex)
      expect(unwrap(await hsm.findIds(BACKEND, [swept], calm))).toEqual(ids)
      expect(unwrap(await hsm.destroyObjects(BACKEND, [...ids, 'ff'.repeat(16)], calm))).toBe(1)
      expect(unwrap(await hsm.findIds(BACKEND, [swept], calm))).toEqual([undefined])
    })

    it('tells apart two objects that were made for one version', async () => {
      const lid = randomLid()
      const [first, second] = [
        await makeKey(hsm, 'AES_256', { lid, version: 2 }),
        await makeKey(hsm, 'AES_256', { lid, version: 2 }),
      ]
      const ids = unwrap(await hsm.findIds(BACKEND, [first, second], calm))
      const listed = unwrap(await hsm.inventory(BACKEND, calm)).filter((object) => object.lid === lid)
      expect(new Set(ids)).toEqual(new Set(listed.map((object) => object.ckaIdHex)))
      expect(new Set(ids).size).toBe(2)
    })

    it('supports every spec of the contract and knows no other backend', async () => {
      expect(KEY_SPECS.filter((spec) => !hsm.supports(BACKEND, spec))).toEqual([])
      expect(codeOf(await hsm.execute({ kind: 'random', backend: 'other', bytes: 8 }, calm))).toBe('HSM_UNAVAILABLE')
    })

    it('does nothing for a caller that has gone', async () => {
      expect(codeOf(await encrypt(hsm, key, Buffer.from('late'), { signal: AbortSignal.abort() }))).toBe('CANCELLED')
    })
  })
