import type { KeySpecName, WrappingAlgorithmName } from '../../schemas/keys.ts'
import { SPECS } from './lifecycle.ts'
import type { WrappingSupport } from './ports.ts'

export type OaepHash = 'sha1' | 'sha256'

/** What an algorithm is made of. `direct`: RSA-OAEP around the material; `carried`: around the AES key that wraps it. */
export interface WrappingScheme {
  readonly hash: OaepHash
  readonly carrier: 'direct' | 'carried'
}

export const WRAPPING_SCHEMES: Readonly<Record<WrappingAlgorithmName, WrappingScheme>> = {
  RSA_AES_KEY_WRAP_SHA256: { hash: 'sha256', carrier: 'carried' },
  RSA_AES_KEY_WRAP_SHA1: { hash: 'sha1', carrier: 'carried' },
  RSA_OAEP_SHA256: { hash: 'sha256', carrier: 'direct' },
  RSA_OAEP_SHA1: { hash: 'sha1', carrier: 'direct' },
}

/** Whether a spec is a secret key; all others are pairs. */
export const isSecretSpec = (spec: KeySpecName): boolean => SPECS[spec].usage !== 'SIGN_VERIFY'

/** Whether the material of this spec goes through this algorithm: a private key is too long for RSA-OAEP alone. */
export const mayWrap = (support: WrappingSupport, spec: KeySpecName, algorithm: WrappingAlgorithmName): boolean =>
  support.algorithms.includes(algorithm) &&
  support.specs.includes(spec) &&
  (isSecretSpec(spec) || WRAPPING_SCHEMES[algorithm].carrier === 'carried')
