import type { Checkpoint } from './checkpoint.ts'
import type { Result } from './result.ts'

/**
 * The root keys of a ledger, as its own backend holds them. A root is named by its raw public key: the one in force is the
 * one that the chain says, whatever else is on the token.
 */
export interface HsmRoots {
  /**
   * Ed25519 signature by this root of a message of the ledger, which begins with a label `chatelaine/…/v1` ‖ 00;
   * INVALID_REQUEST for any other, so that no checkpoint can be signed this way. HSM_UNAVAILABLE if the token does not hold it.
   */
  signAsRoot(
    backend: string,
    signed: { readonly root: Uint8Array; readonly message: Uint8Array },
    signal: AbortSignal,
  ): Promise<Result<Uint8Array>>
  /** Ed25519 signature by this root of a checkpoint's text, which the host makes itself; INVALID_REQUEST for another ledger's. */
  signCheckpoint(
    backend: string,
    signed: { readonly root: Uint8Array; readonly checkpoint: Checkpoint },
    signal: AbortSignal,
  ): Promise<Result<Uint8Array>>
  /** The raw public keys of all finished roots of this ledger on the token, in no order. */
  listRoots(backend: string, signal: AbortSignal): Promise<Result<readonly Uint8Array[]>>
  /**
   * A root to come: one that is on the token, has always been inside it and is none of `known`, or else a new one. So a
   * rotation that was interrupted goes on with the root it made, which a commit in doubt may name already. Gives its raw public key.
   */
  createNextRoot(backend: string, known: readonly Uint8Array[], signal: AbortSignal): Promise<Result<Uint8Array>>
  /** Destroys one root; false if the token does not hold it. That it is not the one in force is the caller's to know. */
  destroyRoot(backend: string, root: Uint8Array, signal: AbortSignal): Promise<Result<boolean>>
}
