import type { KeySpecName, MacAlgorithmName, SigningAlgorithmName } from '../../schemas/keys.ts'
import type { Sensitive } from './sensitive.ts'

/** The logical key id, `lid_` and 64 lowercase hex digits. */
export type Lid = string & { readonly __brand: 'Lid' }

/** One version's material in an HSM, as the ledger knows it. The host unseals the handle with its backend's handle key. */
export interface MaterialRef {
  readonly lid: Lid
  readonly version: number
  readonly spec: KeySpecName
  readonly sealedHandle: Uint8Array
  /** SubjectPublicKeyInfo DER; present for asymmetric keys. */
  readonly publicKey?: Uint8Array
}

/**
 * What the HSM shall do, as data. Every instruction names its backend; a composite one (re-encrypt, data key) is one
 * instruction, so intermediate plaintext never leaves `src/hsm`. `Sensitive` members are owned by the caller.
 * `header` is the 80-byte ciphertext header; a GCM call's AAD is `header ‖ context`, and its output is
 * `header ‖ nonce ‖ ciphertext ‖ tag` with a nonce of the HSM.
 */
export type Instruction =
  | {
      readonly kind: 'generateKey'
      readonly backend: string
      readonly epoch: number
      readonly lid: Lid
      readonly version: number
      readonly spec: KeySpecName
      readonly exportable: boolean
    }
  | {
      readonly kind: 'encrypt'
      readonly backend: string
      readonly key: MaterialRef
      readonly header: Uint8Array
      readonly context: Uint8Array
      readonly plaintext: Sensitive
    }
  | {
      readonly kind: 'decrypt'
      readonly backend: string
      readonly key: MaterialRef
      readonly context: Uint8Array
      readonly blob: Uint8Array
    }
  | {
      readonly kind: 'reEncrypt'
      readonly backend: string
      readonly source: MaterialRef
      readonly sourceContext: Uint8Array
      readonly blob: Uint8Array
      readonly destination: MaterialRef
      readonly header: Uint8Array
      readonly context: Uint8Array
    }
  | {
      readonly kind: 'generateDataKey'
      readonly backend: string
      readonly key: MaterialRef
      readonly header: Uint8Array
      readonly context: Uint8Array
      readonly bytes: number
      readonly returnPlaintext: boolean
    }
  | { readonly kind: 'random'; readonly backend: string; readonly bytes: number }
  /** `message` is the whole message for ED25519_PURE, the digest for the others. ECDSA signatures are r‖s. */
  | {
      readonly kind: 'sign'
      readonly backend: string
      readonly key: MaterialRef
      readonly algorithm: SigningAlgorithmName
      readonly message: Uint8Array
    }
  | {
      readonly kind: 'verify'
      readonly backend: string
      readonly key: MaterialRef
      readonly algorithm: SigningAlgorithmName
      readonly message: Uint8Array
      readonly signature: Uint8Array
    }
  /** `message` is whole: a MAC is not made over a digest. */
  | {
      readonly kind: 'generateMac'
      readonly backend: string
      readonly key: MaterialRef
      readonly algorithm: MacAlgorithmName
      readonly message: Uint8Array
    }
  /** Compared in constant time, by the host; the right MAC does not leave it. */
  | {
      readonly kind: 'verifyMac'
      readonly backend: string
      readonly key: MaterialRef
      readonly algorithm: MacAlgorithmName
      readonly message: Uint8Array
      readonly mac: Uint8Array
    }
  /** Removes the material of a version whose record was refused. Succeeds if it is gone already. */
  | { readonly kind: 'destroyKey'; readonly backend: string; readonly key: MaterialRef }

/** What each instruction gives. `Sensitive` members are owned by whoever receives them. */
export interface Outputs {
  readonly generateKey: { readonly sealedHandle: Uint8Array; readonly publicKey?: Uint8Array }
  readonly encrypt: { readonly blob: Uint8Array }
  readonly decrypt: { readonly plaintext: Sensitive }
  readonly reEncrypt: { readonly blob: Uint8Array }
  readonly generateDataKey: { readonly blob: Uint8Array; readonly plaintext?: Sensitive }
  readonly random: { readonly bytes: Sensitive }
  readonly sign: { readonly signature: Uint8Array }
  readonly verify: { readonly valid: boolean }
  readonly generateMac: { readonly mac: Uint8Array }
  readonly verifyMac: { readonly valid: boolean }
  readonly destroyKey: { readonly destroyed: boolean }
}

export type OutputOf<I extends Instruction> = Outputs[I['kind']]
