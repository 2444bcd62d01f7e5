import { createCipheriv, randomBytes } from 'node:crypto'
import pkcs11, { type Handle } from 'pkcs11js'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { asBuffer, openGcm, sealGcm } from '../../src/hsm/gcm.ts'
import { createLibraries, type Library } from '../../src/hsm/library.ts'
import { readPin } from '../../src/hsm/pin.ts'
import { openToken, type Token } from '../../src/hsm/token.ts'
import { openSoftHsmToken } from '../fixtures/softHsmToken.ts'
import type { SoftHsm } from '../fixtures/softhsm.ts'

const NONE = new Uint8Array(0)
const sound = async (): Promise<boolean> => true
const broken = async (): Promise<boolean> => false

/** Each test is one thing that SoftHSM or the bindings do, and that the adapter must live with. */
describe('PKCS#11 traps on SoftHSM', () => {
  let softHsm: SoftHsm
  let library: Library
  let token: Token
  let lib: pkcs11.PKCS11
  let key: Handle
  const keyBytes = randomBytes(32)

  const importAes = (value: Buffer): Handle =>
    lib.C_CreateObject(token.keeper, [
      { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
      { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_AES },
      { type: pkcs11.CKA_TOKEN, value: false },
      { type: pkcs11.CKA_ENCRYPT, value: true },
      { type: pkcs11.CKA_DECRYPT, value: true },
      { type: pkcs11.CKA_VALUE, value },
    ])
  const gcm = (iv: Buffer, tagBits: number): pkcs11.Mechanism => ({
    mechanism: pkcs11.CKM_AES_GCM,
    parameter: toParameter(iv, tagBits),
  })
  const toParameter = (iv: Buffer, tagBits: number): pkcs11.AesGCM => ({
    type: pkcs11.CK_PARAMS_AES_GCM_v240,
    iv,
    aad: Buffer.alloc(1),
    ivBits: iv.length * 8,
    tagBits,
  })
  const encryptNow = (mechanism: pkcs11.Mechanism, data: Buffer, out: Buffer): number | Promise<number> =>
    token.run({
      timing: 'test',
      init: (session) => lib.C_EncryptInit(session, mechanism, key),
      now: (session) => lib.C_Encrypt(session, data, out).length,
      onThread: async (session) => (await lib.C_EncryptAsync(session, data, out)).length,
    })
  const codeOfThrown = (work: () => unknown): string => {
    try {
      work()
      return 'nothing was thrown'
    } catch (error) {
      return error instanceof Error ? error.message : 'not an error'
    }
  }

  beforeAll(async () => {
    ;({ softHsm, library, token, lib } = await openSoftHsmToken())
    key = importAes(keyBytes)
  })
  afterAll(async () => {
    token.close()
    await softHsm[Symbol.asyncDispose]()
  })

  it('initializes with CKF_OS_LOCKING_OK, without which calls from threads crash', () => {
    const initialize = vi.spyOn(pkcs11.PKCS11.prototype, 'C_Initialize')
    createLibraries().use(softHsm.libPath)
    expect(initialize).toHaveBeenCalledWith({ flags: pkcs11.CKF_OS_LOCKING_OK })
    initialize.mockRestore()
  })

  it('takes a login that this process made before for a login', () => {
    const second = openToken(library, softHsm.tokenLabel, () => readPin(softHsm.pinFile))
    expect(second.offers.length).toBeGreaterThan(10)
    second.close()
    expect(lib.C_GenerateRandom(token.keeper, Buffer.alloc(8))).toHaveLength(8)
  })

  it('seals the same bytes as an independent AES-GCM: 12-byte nonce, AAD, 128-bit tag', async () => {
    const aad = randomBytes(110)
    const plaintext = randomBytes(77)
    const sealed = await sealGcm(token, key, { prefix: Buffer.from('head'), aad, plaintext })
    const nonce = sealed.subarray(4, 16)
    const cipher = createCipheriv('aes-256-gcm', keyBytes, nonce).setAAD(aad)
    const expected = Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()])
    expect(sealed.subarray(16)).toEqual(expected)
  })

  it('never uses the nonces and tags that SoftHSM would also take', async () => {
    expect(await encryptNow(gcm(Buffer.alloc(16), 0), Buffer.alloc(10), Buffer.alloc(26))).toBe(10)
    expect(await encryptNow(gcm(Buffer.alloc(12), 32), Buffer.alloc(10), Buffer.alloc(26))).toBe(14)
    const init = vi.spyOn(lib, 'C_EncryptInit')
    await sealGcm(token, key, { prefix: NONE, aad: Buffer.alloc(1), plaintext: Buffer.alloc(10) })
    expect(init.mock.calls[0]?.[1].parameter).toMatchObject({ ivBits: 96, tagBits: 128, iv: { length: 12 } })
    init.mockRestore()
  })

  it('seals an empty plaintext, which in one call is CKR_ARGUMENTS_BAD and leaves the session busy', async () => {
    const out = Buffer.alloc(16)
    expect(codeOfThrown(() => encryptNow(gcm(Buffer.alloc(12), 128), Buffer.alloc(0), out))).toBe('CKR_ARGUMENTS_BAD')
    const aad = Buffer.from('aad')
    const sealed = await sealGcm(token, key, { prefix: NONE, aad, plaintext: NONE })
    expect(sealed).toHaveLength(28)
    expect(await openGcm(token, key, { sealed, aad }, sound)).toEqual({ ok: true, plaintext: Buffer.alloc(0) })
  })

  it('goes on after CKR_BUFFER_TOO_SMALL, which leaves the session busy for ever', async () => {
    const tooSmall = (): unknown => encryptNow(gcm(Buffer.alloc(12), 128), Buffer.alloc(10), Buffer.alloc(5))
    for (let i = 0; i < 5; i += 1) expect(codeOfThrown(tooSmall)).toBe('CKR_BUFFER_TOO_SMALL')
    const busy = lib.C_OpenSession(lib.C_GetSlotList(true)[0] ?? Buffer.alloc(0), 6)
    lib.C_EncryptInit(busy, gcm(Buffer.alloc(12), 128), key)
    expect(codeOfThrown(() => lib.C_Encrypt(busy, Buffer.alloc(10), Buffer.alloc(5)))).toBe('CKR_BUFFER_TOO_SMALL')
    expect(codeOfThrown(() => lib.C_EncryptInit(busy, gcm(Buffer.alloc(12), 128), key))).toBe('CKR_OPERATION_ACTIVE')
    lib.C_CloseSession(busy)
    expect(await encryptNow(gcm(Buffer.alloc(12), 128), Buffer.alloc(10), Buffer.alloc(26))).toBe(26)
  })

  it('blames the bytes for CKR_GENERAL_ERROR only while the token is sound', async () => {
    const aad = Buffer.from('aad')
    const sealed = await sealGcm(token, key, { prefix: NONE, aad, plaintext: Buffer.from('secret') })
    sealed[sealed.length - 1] = (sealed[sealed.length - 1] ?? 0) ^ 1
    expect(await openGcm(token, key, { sealed, aad }, sound)).toEqual({ ok: false })
    await expect(openGcm(token, key, { sealed, aad }, broken)).rejects.toThrow('CKR_GENERAL_ERROR')
    const truncated = sealed.subarray(0, 27)
    expect(await openGcm(token, key, { sealed: truncated, aad }, sound)).toEqual({ ok: false })
  })

  it('gives a decrypting call a buffer of ciphertext length, and zeroes what is not plaintext', async () => {
    const decrypt = vi.spyOn(lib, 'C_Decrypt')
    const aad = Buffer.from('aad')
    const sealed = await sealGcm(token, key, { prefix: NONE, aad, plaintext: Buffer.from('secret') })
    await openGcm(token, key, { sealed, aad }, sound)
    const out = decrypt.mock.calls[0]?.[2]
    expect(out).toHaveLength(22)
    expect(out?.subarray(6)).toEqual(Buffer.alloc(16))
    decrypt.mockRestore()
  })

  it('never hands C a null pointer for an empty array', () => {
    expect(asBuffer(NONE).buffer.byteLength).toBeGreaterThan(0)
  })

  it('keeps a thread pool call and its session apart from the others', async () => {
    const work = Array.from({ length: 64 }, async (_, i) =>
      token.runLong(async (session) => {
        const data = Buffer.alloc(2048, i)
        const out = Buffer.alloc(2064)
        lib.C_EncryptInit(session, gcm(Buffer.alloc(12, i), 128), key)
        await lib.C_EncryptAsync(session, data, out)
        const cipher = createCipheriv('aes-256-gcm', keyBytes, Buffer.alloc(12, i)).setAAD(Buffer.alloc(1))
        return out.equals(Buffer.concat([cipher.update(data), cipher.final(), cipher.getAuthTag()]))
      }),
    )
    expect(new Set(await Promise.all(work))).toEqual(new Set([true]))
  })

  it('does not finalize while a thread is in the library, or while others use it', async () => {
    const alone = createLibraries().use(softHsm.libPath)
    let finish = (): void => undefined
    const call = alone.onThread(() => new Promise<void>((resolve) => (finish = resolve)))
    const finalize = vi.spyOn(alone.lib, 'C_Finalize').mockImplementation(() => undefined)
    expect(alone.restart()).toBe(false)
    finish()
    await call
    const shared = createLibraries()
    shared.use(softHsm.libPath)
    expect(shared.use(softHsm.libPath).restart()).toBe(false)
    expect(finalize).not.toHaveBeenCalled()
    expect(alone.restart()).toBe(true)
    finalize.mockRestore()
  })
})
