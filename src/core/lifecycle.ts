import type {
  KeySpecName,
  KeyStateName,
  KeyUsageName,
  MacAlgorithmName,
  SigningAlgorithmName,
} from '../../schemas/keys.ts'
import { fail, ok, type Result } from './result.ts'

/** What a use needs of the key: to protect new data, or only to open or check what exists. */
export type UseKind = 'produce' | 'consume'

/** The state table: what an effective state allows. As a parent, only `enabled` carries children. */
export const STATE_ALLOWS: Readonly<Record<KeyStateName, Readonly<Record<UseKind | 'parent', boolean>>>> = {
  enabled: { produce: true, consume: true, parent: true },
  compromised: { produce: false, consume: true, parent: false },
  disabled: { produce: false, consume: false, parent: false },
  pending_deletion: { produce: false, consume: false, parent: false },
  destroying: { produce: false, consume: false, parent: false },
  destroyed: { produce: false, consume: false, parent: false },
}

/** How a key seals data; the name of the algorithm in a ciphertext's header (`ciphertext.ts`). */
export type CipherName = 'AES_256_GCM' | 'AES_128_GCM'

interface SpecFacts {
  readonly usage: KeyUsageName
  /** What it signs with; the first is meant when a request names none. Empty unless the usage is SIGN_VERIFY. */
  readonly algorithms: readonly SigningAlgorithmName[]
  /** What it encrypts with, if the usage is ENCRYPT_DECRYPT. */
  readonly cipher?: CipherName
  /** What it authenticates with, if the usage is GENERATE_VERIFY_MAC. */
  readonly mac?: MacAlgorithmName
  /** Text for the caller at creation, if the spec is on its way out. */
  readonly warning?: string
}

const encrypting = (cipher: CipherName): SpecFacts => ({ usage: 'ENCRYPT_DECRYPT', algorithms: [], cipher })
const signing = (...algorithms: readonly SigningAlgorithmName[]): SpecFacts => ({ usage: 'SIGN_VERIFY', algorithms })
const authenticating = (mac: MacAlgorithmName): SpecFacts => ({ usage: 'GENERATE_VERIFY_MAC', algorithms: [], mac })

const PKCS1 = signing('RSA_PKCS1_V15_SHA256', 'RSA_PKCS1_V15_SHA384', 'RSA_PKCS1_V15_SHA512')
const PSS = signing('RSA_PSS_SHA256', 'RSA_PSS_SHA384', 'RSA_PSS_SHA512')

/** What each spec is for. What is not in here is INVALID_REQUEST. */
export const SPECS: Readonly<Record<KeySpecName, SpecFacts>> = {
  AES_256: encrypting('AES_256_GCM'),
  AES_128: encrypting('AES_128_GCM'),
  ED25519: signing('ED25519_PURE'),
  ECDSA_P256: signing('ECDSA_P256_SHA256'),
  ECC_NIST_P384: signing('ECDSA_P384_SHA384'),
  RSA_2048: {
    ...PKCS1,
    warning: 'RSA_2048 is deprecated: NIST disallows it after 2030; use RSA_3072 or ED25519',
  },
  RSA_3072: PKCS1,
  RSA_4096: PKCS1,
  RSA_PSS_2048: {
    ...PSS,
    warning: 'RSA_PSS_2048 is deprecated: NIST disallows it after 2030; use RSA_PSS_3072 or ED25519',
  },
  RSA_PSS_3072: PSS,
  RSA_PSS_4096: PSS,
  HMAC_256: authenticating('HMAC_SHA_256'),
  HMAC_384: authenticating('HMAC_SHA_384'),
  HMAC_512: authenticating('HMAC_SHA_512'),
}

/** Whether a state allows a use; KEY_NOT_USABLE names the state, which the caller was permitted to know. */
export const checkUsable = (effective: KeyStateName, use: UseKind): Result<true> =>
  STATE_ALLOWS[effective][use] ? ok(true) : fail('KEY_NOT_USABLE', `the key is ${effective}`)
