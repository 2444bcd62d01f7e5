import { createPublicKey } from 'node:crypto'
import pkcs11, { type Handle, type Mechanism } from 'pkcs11js'
import type { KeySpecName, WrappingAlgorithmName } from '../../schemas/keys.ts'
import { LIMITS } from '../../schemas/limits.ts'
import type { WrappingSupport } from '../core/ports.ts'
import { isSecretSpec, type OaepHash, type WrappingScheme } from '../core/wrapping.ts'
import type { MechanismOffer } from './mechanisms.ts'
import { readCkr } from './pkcs11Failure.ts'
import type { Token } from './token.ts'
import { destroyQuietly, type Template } from './tokenObjects.ts'

/** PKCS#11 v3.0 §2.13; pkcs11js has no names for them. */
const CKM_AES_KEY_WRAP_KWP = 0x210b
const CKM_EC_EDWARDS_KEY_PAIR_GEN = 0x1055
const CKZ_DATA_SPECIFIED = 1

/** What the token was seen to do, with the mechanism by which it does AES-KWP. */
export interface HostWrapping extends WrappingSupport {
  readonly keyWrap: number | undefined
}

export const toOaep = (hash: OaepHash): Mechanism => {
  const parameter: pkcs11.RsaOAEP = {
    type: pkcs11.CK_PARAMS_RSA_OAEP,
    hashAlg: hash === 'sha1' ? pkcs11.CKM_SHA_1 : pkcs11.CKM_SHA256,
    mgf: hash === 'sha1' ? pkcs11.CKG_MGF1_SHA1 : pkcs11.CKG_MGF1_SHA256,
    source: CKZ_DATA_SPECIFIED,
  }
  return { mechanism: pkcs11.CKM_RSA_PKCS_OAEP, parameter }
}

/** A session key that wraps and can itself be wrapped: 256-bit AES, sensitive. */
export const toCarrierTemplate = (): Template => [
  { type: pkcs11.CKA_TOKEN, value: false },
  { type: pkcs11.CKA_PRIVATE, value: true },
  { type: pkcs11.CKA_SENSITIVE, value: true },
  { type: pkcs11.CKA_EXTRACTABLE, value: true },
  { type: pkcs11.CKA_WRAP, value: true },
  { type: pkcs11.CKA_UNWRAP, value: true },
  { type: pkcs11.CKA_VALUE_LEN, value: LIMITS.carrierKeyBytes },
]

/** A session object that wraps under an RSA public key. */
export const toWrappingObject = (modulus: Buffer, exponent: Buffer): Template => [
  { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_PUBLIC_KEY },
  { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_RSA },
  { type: pkcs11.CKA_TOKEN, value: false },
  { type: pkcs11.CKA_PRIVATE, value: false },
  { type: pkcs11.CKA_WRAP, value: true },
  { type: pkcs11.CKA_MODULUS, value: modulus },
  { type: pkcs11.CKA_PUBLIC_EXPONENT, value: exponent },
]

/** The template for a caller's RSA SPKI; none unless it is RSA of an allowed size with an exponent of 65537 or more. */
export const parseWrappingKey = (spki: Uint8Array): Template | undefined => {
  try {
    const key = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' })
    const { modulusLength = 0, publicExponent = 0n } = key.asymmetricKeyDetails ?? {}
    const { n, e } = key.export({ format: 'jwk' })
    if (key.asymmetricKeyType !== 'rsa' || n === undefined || e === undefined) return undefined
    if (modulusLength < LIMITS.wrappingKeyBitsMin || modulusLength > LIMITS.wrappingKeyBitsMax) return undefined
    if (publicExponent < 65537n) return undefined
    return toWrappingObject(Buffer.from(n, 'base64url'), Buffer.from(e, 'base64url'))
  } catch {
    return undefined
  }
}

/**
 * Tries what the mechanism list does not tell, on session objects only: which hash RSA-OAEP takes, whether AES key wrap
 * with padding is that of RFC 5649, and whether Ed25519 keys can be wrapped at all.
 */
export const probeWrapping = (token: Token, specs: readonly KeySpecName[]): HostWrapping => {
  const bench = createBench(token)
  try {
    const hashes = (['sha256', 'sha1'] as const).filter((hash) => bench.wrapsByOaep(hash))
    const keyWrap = hashes.length === 0 ? undefined : bench.findKeyWrap()
    const carriers = keyWrap === undefined ? (['direct'] as const) : (['carried', 'direct'] as const)
    const algorithms = carriers.flatMap((carrier) => hashes.map((hash) => nameOf({ carrier, hash })))
    const wrapped = specs.filter(
      (spec) => isSecretSpec(spec) || (keyWrap !== undefined && (spec !== 'ED25519' || bench.wrapsEd25519(keyWrap))),
    )
    return { keyWrap, algorithms, specs: algorithms.length === 0 ? [] : wrapped }
  } finally {
    bench.clear()
  }
}

const nameOf = ({ carrier, hash }: WrappingScheme): WrappingAlgorithmName => {
  const size = hash === 'sha1' ? 'SHA1' : 'SHA256'
  return carrier === 'direct' ? `RSA_OAEP_${size}` : `RSA_AES_KEY_WRAP_${size}`
}

/** The modulus of a key whose private half was thrown away when it was made; nothing but the probe's key goes under it. */
const PROBE_MODULUS = Buffer.from(
  'n0m4AOqGaXQFl6UteoNuRNXh_hFQyUCFbUdyASXI_9_8kiGZbhxNlKBlL0itOrwjy0AANMcOdPbF0uy04KCQD70ZciRr6jqRoQKG' +
    'ZTBzv4bIJkCb9WGg6h0je6zAh0kUEYWrbRxpTH7jtp3soRAX8GwFnnSUU0SBtNJ1PaY6mcVM2W0AuuVvD2Ee9cnutywsXy62AA90' +
    'b3BXlVc2-rXCGMi3esCQHfh7V73q_XgadEcJxvUXgAmly0RBIHXup28o-Gj3cDBw_L4_v7PmeNDEeCzdS3U34akOCqxC4ffZA5Uo' +
    'ddoRHb60OH1nZyX3-S26iXGd-3nfqSfgDcUWI0dCJQ',
  'base64url',
)
/** RFC 5649 makes 40 bytes of 32; padding first and wrapping by RFC 3394 then would make 48. */
const KWP_BYTES_OF_32 = 40

interface Bench {
  wrapsByOaep(hash: OaepHash): boolean
  findKeyWrap(): number | undefined
  wrapsEd25519(keyWrap: number): boolean
  clear(): void
}

const createBench = (token: Token): Bench => {
  const { lib, keeper } = token
  const made: Handle[] = []
  const keep = (handle: Handle): Handle => {
    made.push(handle)
    return handle
  }
  const makeAes = (): Handle =>
    keep(lib.C_GenerateKey(keeper, { mechanism: pkcs11.CKM_AES_KEY_GEN }, toCarrierTemplate()))
  const lengthOf = (mechanism: Mechanism, under: Handle, key: Handle): number =>
    lib.C_WrapKey(keeper, mechanism, under, key, Buffer.alloc(LIMITS.wrappedBytesMax)).length
  return {
    wrapsByOaep: (hash) =>
      isOffered(token.offers, pkcs11.CKM_RSA_PKCS_OAEP) &&
      works(() => {
        const template = toWrappingObject(PROBE_MODULUS, Buffer.of(1, 0, 1))
        const under = keep(lib.C_CreateObject(keeper, template))
        return lengthOf(toOaep(hash), under, makeAes()) === PROBE_MODULUS.length
      }),
    findKeyWrap: () =>
      [CKM_AES_KEY_WRAP_KWP, pkcs11.CKM_AES_KEY_WRAP_PAD].find(
        (mechanism) =>
          isOffered(token.offers, mechanism) &&
          works(() => lengthOf({ mechanism }, makeAes(), makeAes()) === KWP_BYTES_OF_32),
      ),
    wrapsEd25519: (mechanism) =>
      works(() => {
        const pair = lib.C_GenerateKeyPair(
          keeper,
          { mechanism: CKM_EC_EDWARDS_KEY_PAIR_GEN },
          [
            { type: pkcs11.CKA_TOKEN, value: false },
            { type: pkcs11.CKA_EC_PARAMS, value: Buffer.from('06032b6570', 'hex') },
          ],
          [
            { type: pkcs11.CKA_TOKEN, value: false },
            { type: pkcs11.CKA_EXTRACTABLE, value: true },
          ],
        )
        keep(pair.publicKey)
        return lengthOf({ mechanism }, makeAes(), keep(pair.privateKey)) > 0
      }),
    clear() {
      for (const handle of made.splice(0)) destroyQuietly(token, handle)
    },
  }
}

const isOffered = (offers: readonly MechanismOffer[], mechanism: number): boolean =>
  offers.some((offer) => {
    const both = pkcs11.CKF_WRAP | pkcs11.CKF_UNWRAP
    return offer.mechanism === mechanism && (offer.flags & both) === both
  })

/** Whether it answers true; any refusal of the token is a no. */
const works = (attempt: () => boolean): boolean => {
  try {
    return attempt()
  } catch (error) {
    if (readCkr(error) === undefined) throw error
    return false
  }
}
