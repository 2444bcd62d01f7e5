import type { KeySpecName, KeyStateName, KeyUsageName, SigningAlgorithmName } from '../../schemas/keys.ts'
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

interface SpecFacts {
  readonly usage: KeyUsageName
  readonly algorithms: readonly SigningAlgorithmName[]
  /** Text for the caller at creation, if the spec is on its way out. */
  readonly warning?: string
}

/** What each spec is for. What is not in here is INVALID_REQUEST. */
export const SPECS: Readonly<Record<KeySpecName, SpecFacts>> = {
  AES_256: { usage: 'ENCRYPT_DECRYPT', algorithms: [] },
  ED25519: { usage: 'SIGN_VERIFY', algorithms: ['ED25519_PURE'] },
  ECDSA_P256: { usage: 'SIGN_VERIFY', algorithms: ['ECDSA_P256_SHA256'] },
  RSA_2048: {
    usage: 'SIGN_VERIFY',
    algorithms: ['RSA_PKCS1_V15_SHA256'],
    warning: 'RSA_2048 is deprecated: NIST disallows it after 2030; use RSA_3072 or ED25519',
  },
  RSA_3072: { usage: 'SIGN_VERIFY', algorithms: ['RSA_PKCS1_V15_SHA256'] },
  RSA_4096: { usage: 'SIGN_VERIFY', algorithms: ['RSA_PKCS1_V15_SHA256'] },
}

/** Whether a state allows a use; KEY_NOT_USABLE names the state, which the caller was permitted to know. */
export const checkUsable = (effective: KeyStateName, use: UseKind): Result<true> =>
  STATE_ALLOWS[effective][use] ? ok(true) : fail('KEY_NOT_USABLE', `the key is ${effective}`)
