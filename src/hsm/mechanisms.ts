import pkcs11 from 'pkcs11js'
import type { KeySpecName, SigningAlgorithmName } from '../../schemas/keys.ts'

/** PKCS#11 v3.0 §2.3.10 and §2.3.14; pkcs11js has no names for them. */
const CKM_EC_EDWARDS_KEY_PAIR_GEN = 0x1055
const CKM_EDDSA = 0x1057

export type MechanismUse = 'generate' | 'encrypt' | 'decrypt' | 'sign' | 'verify'

/** One line of the table: what a spec needs the token to do, by which mechanism. `bits` is the key size it is used with. */
export interface MechanismRow {
  readonly spec: KeySpecName
  readonly use: MechanismUse
  readonly algorithm: SigningAlgorithmName | 'AES_256_GCM' | 'NONE'
  readonly mechanism: number
  readonly bits: number
}

const aes = (spec: KeySpecName, bits: number): readonly MechanismRow[] => [
  { spec, use: 'generate', algorithm: 'NONE', mechanism: pkcs11.CKM_AES_KEY_GEN, bits },
  { spec, use: 'encrypt', algorithm: 'AES_256_GCM', mechanism: pkcs11.CKM_AES_GCM, bits },
  { spec, use: 'decrypt', algorithm: 'AES_256_GCM', mechanism: pkcs11.CKM_AES_GCM, bits },
]

const signing = (
  spec: KeySpecName,
  algorithm: SigningAlgorithmName,
  generate: number,
  mechanism: number,
  bits: number,
): readonly MechanismRow[] => [
  { spec, use: 'generate', algorithm: 'NONE', mechanism: generate, bits },
  { spec, use: 'sign', algorithm, mechanism, bits },
  { spec, use: 'verify', algorithm, mechanism, bits },
]

// biome-ignore format: a table reads by its lines
/** Everything the HSM is ever asked to do with a key. What is not here is not done, and never by a weaker mechanism. */
export const MECHANISMS: readonly MechanismRow[] = [
  ...aes('AES_256', 256),
  ...signing('ED25519', 'ED25519_PURE', CKM_EC_EDWARDS_KEY_PAIR_GEN, CKM_EDDSA, 256),
  ...signing('ECDSA_P256', 'ECDSA_P256_SHA256', pkcs11.CKM_EC_KEY_PAIR_GEN, pkcs11.CKM_ECDSA, 256),
  ...signing('RSA_2048', 'RSA_PKCS1_V15_SHA256', pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN, pkcs11.CKM_RSA_PKCS, 2048),
  ...signing('RSA_3072', 'RSA_PKCS1_V15_SHA256', pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN, pkcs11.CKM_RSA_PKCS, 3072),
  ...signing('RSA_4096', 'RSA_PKCS1_V15_SHA256', pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN, pkcs11.CKM_RSA_PKCS, 4096),
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
  // AES sizes are given in bytes, the others in bits; a token that gives zeros does not say (PKCS#11 v3.0 §5.5.6).
  const size = row.spec === 'AES_256' ? row.bits / 8 : row.bits
  return offer.maxKeySize === 0 || (size >= offer.minKeySize && size <= offer.maxKeySize)
}
