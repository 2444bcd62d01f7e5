import { createHmac, randomBytes } from 'node:crypto'
import pkcs11, { type Handle } from 'pkcs11js'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { KeySpecName } from '../../schemas/keys.ts'
import { must } from '../../src/core/result.ts'
import { createHsmHost, type HsmHost } from '../../src/hsm/host.ts'
import type { Library } from '../../src/hsm/library.ts'
import { toMaterialLabel } from '../../src/hsm/material.ts'
import { findMechanism } from '../../src/hsm/mechanisms.ts'
import type { Token } from '../../src/hsm/token.ts'
import { findObjects, readAttribute } from '../../src/hsm/tokenObjects.ts'
import { BACKEND, ORIGIN, randomLid } from '../fixtures/hsmRequests.ts'
import { openSoftHsmToken, toHostConfig } from '../fixtures/softHsmToken.ts'
import type { SoftHsm } from '../fixtures/softhsm.ts'

const HMACS = [
  ['HMAC_256', 'sha256', 32],
  ['HMAC_384', 'sha384', 48],
  ['HMAC_512', 'sha512', 64],
] as const

const FLAGS = {
  token: pkcs11.CKA_TOKEN,
  private: pkcs11.CKA_PRIVATE,
  sensitive: pkcs11.CKA_SENSITIVE,
  extractable: pkcs11.CKA_EXTRACTABLE,
  encrypt: pkcs11.CKA_ENCRYPT,
  decrypt: pkcs11.CKA_DECRYPT,
  sign: pkcs11.CKA_SIGN,
  signRecover: pkcs11.CKA_SIGN_RECOVER,
  verify: pkcs11.CKA_VERIFY,
  wrap: pkcs11.CKA_WRAP,
  unwrap: pkcs11.CKA_UNWRAP,
  derive: pkcs11.CKA_DERIVE,
} as const

/** What a key's object on SoftHSM may do, and what SoftHSM makes of HMAC keys. */
describe('keys on SoftHSM', () => {
  let softHsm: SoftHsm
  let library: Library
  let token: Token
  let lib: pkcs11.PKCS11
  let host: HsmHost

  beforeAll(async () => {
    ;({ softHsm, library, token, lib } = await openSoftHsmToken())
    host = createHsmHost(toHostConfig(softHsm), { use: () => library })
    await host.open()
    await host.run({ kind: 'createGenesis' })
  })
  afterAll(async () => {
    host.close()
    token.close()
    await softHsm[Symbol.asyncDispose]()
  })

  const importHmac = (value: Buffer): Handle =>
    lib.C_CreateObject(token.keeper, [
      { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
      { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_GENERIC_SECRET },
      { type: pkcs11.CKA_TOKEN, value: false },
      { type: pkcs11.CKA_SIGN, value: true },
      { type: pkcs11.CKA_VALUE, value },
    ])
  const macWith = (spec: KeySpecName, key: Handle, message: Buffer): Buffer => {
    const row = findMechanism(spec, 'sign')
    must(row !== undefined, 'the table has HMAC specs')
    lib.C_SignInit(token.keeper, { mechanism: row.mechanism }, key)
    return lib.C_Sign(token.keeper, message, Buffer.alloc(64))
  }

  it.each(HMACS)('authenticates with %s as node:crypto does with %s and the same key', (spec, hash, bytes) => {
    const [value, message] = [randomBytes(bytes), randomBytes(1000)]
    expect(macWith(spec, importHmac(value), message)).toEqual(createHmac(hash, value).update(message).digest())
  })

  it.each(HMACS)('refuses for %s a key shorter than the digest of %s', (spec, _hash, bytes) => {
    const short = importHmac(randomBytes(bytes - 1))
    expect(() => macWith(spec, short, Buffer.alloc(1))).toThrow('CKR_KEY_SIZE_RANGE')
  })

  /** The flags of the one object that a new key of this spec is, but for those that all have. */
  const usesOf = async (spec: KeySpecName) => {
    const made = { lid: randomLid(), version: 1, epoch: 1 }
    const generate = { kind: 'generateKey', backend: BACKEND, ...made, spec, exportable: false } as const
    expect((await host.run(generate)).ok).toBe(true)
    const label = toMaterialLabel(ORIGIN, made)
    const [object, ...others] = findObjects(token, [{ type: pkcs11.CKA_LABEL, value: label }])
    must(object !== undefined && others.length === 0, 'one object of that label')
    const listed = Object.entries(FLAGS).filter(([, type]) => readAttribute(token, object, type)?.[0] === 1)
    return {
      flags: listed.map(([name]) => name).join(' '),
      bytes: readAttribute(token, object, pkcs11.CKA_VALUE_LEN)?.readUInt32LE(0),
      value: readAttribute(token, object, pkcs11.CKA_VALUE),
    }
  }

  it.each([
    ['AES_256', 32, 'encrypt decrypt'],
    ['AES_128', 16, 'encrypt decrypt'],
    ['HMAC_256', 32, 'sign'],
    ['HMAC_384', 48, 'sign'],
    ['HMAC_512', 64, 'sign'],
  ] as const)('makes %s a secret of %i bytes that may %s and nothing else', async (spec, bytes, may) => {
    expect(await usesOf(spec)).toEqual({ flags: `token private sensitive ${may}`, bytes, value: undefined })
  })

  it.each(['ED25519', 'ECDSA_P256', 'ECC_NIST_P384', 'RSA_2048', 'RSA_PSS_2048'] as const)(
    'makes %s a private key that may sign and nothing else',
    async (spec) => {
      expect(await usesOf(spec)).toMatchObject({ flags: 'token private sensitive sign', value: undefined })
    },
  )
})
