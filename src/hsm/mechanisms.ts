import pkcs11 from 'pkcs11js'
import type { KeySpecName, MacAlgorithmName, SigningAlgorithmName } from '../../schemas/keys.ts'
import { type CipherName, SPECS } from '../core/lifecycle.ts'

/** PKCS#11 v3.0 §2.3.10 and §2.3.14; pkcs11js has no names for them. */
const CKM_EC_EDWARDS_KEY_PAIR_GEN = 0x1055
const CKM_EDDSA = 0x1057

export type MechanismUse = 'generate' | 'encrypt' | 'decrypt' | 'sign' | 'verify'

/**
 * One line of the table: what a spec needs the token to do, by which mechanism. `bits` is the key size it is used with,
 * `sizes` in what the token may state the sizes that it takes.
 */
export interface MechanismRow {
  readonly spec: KeySpecName
  readonly use: MechanismUse
  readonly algorithm: SigningAlgorithmName | MacAlgorithmName | CipherName | 'NONE'
  readonly mechanism: number
  readonly bits: number
  readonly sizes: 'bits' | 'bytes' | 'either'
}

/** What a family of specs shares: its mechanisms, and the algorithms are those of {@link SPECS}. */
interface Family {
  readonly generate: number
  readonly use: number
  readonly uses: readonly Exclude<MechanismUse, 'generate'>[]
  readonly sizes: MechanismRow['sizes']
}

// PKCS#11 gives the sizes of AES in bytes, those of pairs in bits, and those of generic secrets in bits where SoftHSM
// gives bytes.
const AES: Family = {
  generate: pkcs11.CKM_AES_KEY_GEN,
  use: pkcs11.CKM_AES_GCM,
  uses: ['encrypt', 'decrypt'],
  sizes: 'bytes',
}
const pair = (generate: number, use: number): Family => ({ generate, use, uses: ['sign', 'verify'], sizes: 'bits' })
const EDDSA = pair(CKM_EC_EDWARDS_KEY_PAIR_GEN, CKM_EDDSA)
const ECDSA = pair(pkcs11.CKM_EC_KEY_PAIR_GEN, pkcs11.CKM_ECDSA)
const PKCS1 = pair(pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN, pkcs11.CKM_RSA_PKCS)
const PSS = pair(pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN, pkcs11.CKM_RSA_PKCS_PSS)
/** A MAC is checked by making it again: the token's own comparison may stop at the first difference. */
const hmac = (use: number): Family => ({
  generate: pkcs11.CKM_GENERIC_SECRET_KEY_GEN,
  use,
  uses: ['sign'],
  sizes: 'either',
})

const toRows = (spec: KeySpecName, bits: number, family: Family): readonly MechanismRow[] => {
  const { algorithms, cipher, mac } = SPECS[spec]
  const { sizes } = family
  const named = [...algorithms, ...(cipher === undefined ? [] : [cipher]), ...(mac === undefined ? [] : [mac])]
  return [
    { spec, use: 'generate', algorithm: 'NONE', mechanism: family.generate, bits, sizes },
    ...named.flatMap((algorithm) =>
      family.uses.map((use): MechanismRow => ({ spec, use, algorithm, mechanism: family.use, bits, sizes })),
    ),
  ]
}

/** Everything the HSM is ever asked to do with a key. What is not here is not done, and never by a weaker mechanism. */
export const MECHANISMS: readonly MechanismRow[] = [
  ...toRows('AES_256', 256, AES),
  ...toRows('AES_128', 128, AES),
  ...toRows('ED25519', 256, EDDSA),
  ...toRows('ECDSA_P256', 256, ECDSA),
  ...toRows('ECC_NIST_P384', 384, ECDSA),
  ...toRows('RSA_2048', 2048, PKCS1),
  ...toRows('RSA_3072', 3072, PKCS1),
  ...toRows('RSA_4096', 4096, PKCS1),
  ...toRows('RSA_PSS_2048', 2048, PSS),
  ...toRows('RSA_PSS_3072', 3072, PSS),
  ...toRows('RSA_PSS_4096', 4096, PSS),
  ...toRows('HMAC_256', 256, hmac(pkcs11.CKM_SHA256_HMAC)),
  ...toRows('HMAC_384', 384, hmac(pkcs11.CKM_SHA384_HMAC)),
  ...toRows('HMAC_512', 512, hmac(pkcs11.CKM_SHA512_HMAC)),
]

const USE_FLAG: Readonly<Record<MechanismUse, readonly number[]>> = {
  generate: [pkcs11.CKF_GENERATE, pkcs11.CKF_GENERATE_KEY_PAIR],
  encrypt: [pkcs11.CKF_ENCRYPT],
  decrypt: [pkcs11.CKF_DECRYPT],
  sign: [pkcs11.CKF_SIGN],
  verify: [pkcs11.CKF_VERIFY],
}

/** What a token says of one of its mechanisms (C_GetMechanismInfo). */
export interface MechanismOffer {
  readonly mechanism: number
  readonly flags: number
  readonly minKeySize: number
  readonly maxKeySize: number
}

/** The row that does this, or none if the table has no such combination. */
export const findMechanism = (
  spec: KeySpecName,
  use: MechanismUse,
  algorithm?: MechanismRow['algorithm'],
): MechanismRow | undefined =>
  MECHANISMS.find(
    (row) => row.spec === spec && row.use === use && (algorithm === undefined || row.algorithm === algorithm),
  )

/** The specs for which the token offers every mechanism of the table, with its flag and for the key's size. */
export const findSupportedSpecs = (offers: readonly MechanismOffer[]): readonly KeySpecName[] => {
  const specs = [...new Set(MECHANISMS.map((row) => row.spec))]
  return specs.filter((spec) =>
    MECHANISMS.filter((row) => row.spec === spec).every((row) => offers.some((offer) => isOffered(row, offer))),
  )
}

const isOffered = (row: MechanismRow, offer: MechanismOffer): boolean => {
  if (offer.mechanism !== row.mechanism) return false
  if (!USE_FLAG[row.use].some((flag) => (offer.flags & flag) !== 0)) return false
  // A token that gives zeros does not say (PKCS#11 v3.0 §5.5.6).
  const fits = (size: number): boolean => size >= offer.minKeySize && size <= offer.maxKeySize
  return (
    offer.maxKeySize === 0 || (row.sizes !== 'bits' && fits(row.bits / 8)) || (row.sizes !== 'bytes' && fits(row.bits))
  )
}
