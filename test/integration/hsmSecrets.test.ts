import pkcs11 from 'pkcs11js'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import type { MaterialRef } from '../../src/core/instruction.ts'
import { must } from '../../src/core/result.ts'
import { Sensitive } from '../../src/core/sensitive.ts'
import { createHsmHost, type HsmHost } from '../../src/hsm/host.ts'
import { isOutputOf } from '../../src/hsm/hostRequest.ts'
import { createLibraries, type Library } from '../../src/hsm/library.ts'
import { BACKEND, HEADER, ORIGIN, randomLid } from '../fixtures/hsmRequests.ts'
import { createSoftHsm, type SoftHsm } from '../fixtures/softhsm.ts'

/** Bytes that the host itself makes on the way are zero afterwards, also when the HSM throws in between. */
describe('intermediate secrets of an HSM host', () => {
  let softHsm: SoftHsm
  let library: Library
  let host: HsmHost
  let key: MaterialRef

  beforeAll(async () => {
    softHsm = await createSoftHsm()
    library = createLibraries().use(softHsm.libPath)
    const { libPath, tokenLabel, pinFile } = softHsm
    host = createHsmHost({ origin: ORIGIN, backend: BACKEND, libPath, tokenLabel, pinFile }, { use: () => library })
    await host.open()
    await host.run({ kind: 'createGenesis' })
    const lid = randomLid()
    const generate = { kind: 'generateKey', backend: BACKEND, epoch: 1, lid, version: 1, exportable: false } as const
    const made = await host.run({ ...generate, spec: 'AES_256' })
    must(made.ok && isOutputOf('generateKey', made.value), 'a key was made')
    key = { lid, version: 1, spec: 'AES_256', sealedHandle: made.value.sealedHandle }
  })
  afterEach(() => vi.restoreAllMocks())
  afterAll(async () => {
    host.close()
    await softHsm[Symbol.asyncDispose]()
  })

  const seal = async (text: string): Promise<Uint8Array> => {
    using plaintext = new Sensitive(Buffer.from(text))
    const done = await host.run({ kind: 'encrypt', backend: BACKEND, key, header: HEADER, context: HEADER, plaintext })
    must(done.ok && isOutputOf('encrypt', done.value), 'it encrypts')
    return done.value.blob
  }
  /** Lets the first encryption after a decryption or a draw fail as a removed device does. */
  const failEncryption = (): void => {
    vi.spyOn(library.lib, 'C_Encrypt').mockImplementation(() => {
      throw new pkcs11.Pkcs11Error('CKR_DEVICE_REMOVED:50')
    })
  }

  it.each([false, true])('zeroes the plaintext of a re-encryption (HSM throws: %s)', async (isFailing) => {
    const blob = await seal('a secret in transit')
    const decrypt = vi.spyOn(library.lib, 'C_Decrypt')
    let seen = ''
    const realEncrypt = library.lib.C_Encrypt.bind(library.lib)
    if (isFailing) failEncryption()
    else
      vi.spyOn(library.lib, 'C_Encrypt').mockImplementation((session: Buffer, data: Buffer, out: Buffer) => {
        seen = data.toString()
        return realEncrypt(session, data, out)
      })
    const both = { sourceBackend: BACKEND, source: key, destination: key, sourceContext: HEADER, context: HEADER }
    const done = await host.run({ kind: 'reEncrypt', backend: BACKEND, ...both, blob, header: HEADER })
    expect(done.ok).toBe(!isFailing)
    expect(seen).toBe(isFailing ? '' : 'a secret in transit')
    const out = decrypt.mock.calls.at(-1)?.[2]
    must(out !== undefined, 'the plaintext was decrypted into a buffer')
    expect(Buffer.from(out)).toEqual(Buffer.alloc(out.length))
  })

  it.each([
    ['the HSM throws', true, true],
    ['the caller does not want it', false, false],
  ])('zeroes a data key when %s', async (_, isFailing, returnPlaintext) => {
    const draws = vi.spyOn(library.lib, 'C_GenerateRandom')
    if (isFailing) failEncryption()
    const request = { kind: 'generateDataKey', backend: BACKEND, key, header: HEADER, context: HEADER } as const
    const done = await host.run({ ...request, bytes: 32, returnPlaintext })
    expect(done.ok).toBe(!isFailing)
    const drawn = draws.mock.calls.map((call) => call[1]).find((bytes) => bytes.length === 32)
    must(drawn !== undefined, 'a data key was drawn')
    expect(Buffer.from(drawn)).toEqual(Buffer.alloc(32))
  })

  it('hands a decrypted plaintext over in one buffer, which the receiver zeroes', async () => {
    const blob = await seal('handed over')
    const decrypt = vi.spyOn(library.lib, 'C_Decrypt')
    const done = await host.run({ kind: 'decrypt', backend: BACKEND, key, context: HEADER, blob })
    must(done.ok && isOutputOf('decrypt', done.value), 'it decrypts')
    const out = decrypt.mock.calls.at(-1)?.[2]
    must(out !== undefined, 'the plaintext was decrypted into a buffer')
    expect(Buffer.from(out).toString()).toContain('handed over')
    done.value.plaintext[Symbol.dispose]()
    expect(Buffer.from(out)).toEqual(Buffer.alloc(out.length))
  })

  it('zeroes the buffer of a decryption that failed', async () => {
    const blob = Buffer.from(await seal('never shown'))
    blob[blob.length - 1] = (blob[blob.length - 1] ?? 0) ^ 1
    const decrypt = vi.spyOn(library.lib, 'C_Decrypt')
    expect(await host.run({ kind: 'decrypt', backend: BACKEND, key, context: HEADER, blob })).toMatchObject({
      ok: false,
    })
    const out = decrypt.mock.calls[0]?.[2]
    must(out !== undefined, 'a buffer was given')
    expect(Buffer.from(out)).toEqual(Buffer.alloc(out.length))
  })
})
