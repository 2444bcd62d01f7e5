import type {
  DataKeyPairSpecName,
  KeySpecName,
  MacAlgorithmName,
  SigningAlgorithmName,
  WrappingAlgorithmName,
} from '../../schemas/keys.ts'
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
  /** Set if it was made elsewhere: only then does the host use an object that the token did not generate. */
  readonly imported?: true
}

/**
 * Where a token is that is opened at run time. The service loads only libraries that its configuration lists, and
 * `pinRef` is the name of a file in its directory of PINs, never a path.
 */
export interface TokenPlace {
  readonly libPath: string
  readonly tokenLabel: string
  readonly pinRef: string
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
  /** From `sourceBackend`, which may be another HSM, to `backend`; the plaintext between them stays in `src/hsm`. */
  | {
      readonly kind: 'reEncrypt'
      readonly backend: string
      readonly sourceBackend: string
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
  /** A pair that lives nowhere: its PKCS#8 DER is sealed like a data key, and the token forgets it. */
  | {
      readonly kind: 'generateDataKeyPair'
      readonly backend: string
      readonly key: MaterialRef
      readonly header: Uint8Array
      readonly context: Uint8Array
      readonly pairSpec: DataKeyPairSpecName
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
  /** An RSA-3072 pair that does nothing but unwrap, and a secret of 32 bytes for whoever may use it. */
  | {
      readonly kind: 'generateWrappingKey'
      readonly backend: string
      readonly epoch: number
      readonly lid: Lid
      readonly version: number
    }
  /**
   * Unwraps in the HSM to a token object of `spec`. INVALID_REQUEST if the bytes do not unwrap to a key of that spec and
   * length, or `publicKey`, needed for a pair, is not its public half; then nothing is on the token.
   */
  | {
      readonly kind: 'importKey'
      readonly backend: string
      readonly epoch: number
      readonly lid: Lid
      readonly version: number
      readonly spec: KeySpecName
      readonly exportable: boolean
      readonly wrappingKey: MaterialRef
      readonly algorithm: WrappingAlgorithmName
      readonly wrapped: Uint8Array
      readonly publicKey?: Uint8Array
    }
  /** Wraps in the HSM under `wrappingPublicKey`, the caller's RSA SPKI. KEY_NOT_USABLE if it was not made exportable. */
  | {
      readonly kind: 'exportKey'
      readonly backend: string
      readonly key: MaterialRef
      readonly algorithm: WrappingAlgorithmName
      readonly wrappingPublicKey: Uint8Array
    }
  /** Removes the material of a version whose record was refused. Succeeds if it is gone already. */
  | { readonly kind: 'destroyKey'; readonly backend: string; readonly key: MaterialRef }
  /**
   * Opens a token under a new backend id and makes its handle key if it holds nothing of this origin. If that cannot be
   * done now, nothing stays open. Failures: those of `Hsm.openBackend` and `Hsm.createHandleKey`.
   */
  | { readonly kind: 'openBackend'; readonly backend: string; readonly connection: TokenPlace }
  /** Ends a backend that was opened at run time; its material stays on the token. */
  | { readonly kind: 'closeBackend'; readonly backend: string }

/** The instructions that leave an object on a token, which a record then names. */
export type MakingInstruction = Extract<
  Instruction,
  { readonly kind: 'generateKey' | 'generateWrappingKey' | 'importKey' }
>

export const makesObject = (request: { readonly kind: string }): request is MakingInstruction =>
  request.kind === 'generateKey' || request.kind === 'generateWrappingKey' || request.kind === 'importKey'

/** What each instruction gives. `Sensitive` members are owned by whoever receives them. */
export interface Outputs {
  readonly generateKey: { readonly sealedHandle: Uint8Array; readonly publicKey?: Uint8Array }
  readonly encrypt: { readonly blob: Uint8Array }
  readonly decrypt: { readonly plaintext: Sensitive }
  readonly reEncrypt: { readonly blob: Uint8Array }
  readonly generateDataKey: { readonly blob: Uint8Array; readonly plaintext?: Sensitive }
  readonly generateDataKeyPair: {
    readonly blob: Uint8Array
    readonly publicKey: Uint8Array
    readonly plaintext?: Sensitive
  }
  readonly random: { readonly bytes: Sensitive }
  readonly sign: { readonly signature: Uint8Array }
  readonly verify: { readonly valid: boolean }
  readonly generateMac: { readonly mac: Uint8Array }
  readonly verifyMac: { readonly valid: boolean }
  readonly generateWrappingKey: {
    readonly sealedHandle: Uint8Array
    readonly publicKey: Uint8Array
    readonly secret: Sensitive
  }
  readonly importKey: { readonly sealedHandle: Uint8Array; readonly publicKey?: Uint8Array }
  readonly exportKey: { readonly wrapped: Uint8Array }
  readonly destroyKey: { readonly destroyed: boolean }
  readonly openBackend: { readonly handleKey: 'found' | 'made' }
  readonly closeBackend: { readonly closed: boolean }
}

export type OutputOf<I extends Instruction> = Outputs[I['kind']]
