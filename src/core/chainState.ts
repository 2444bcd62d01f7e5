import type { Commit, Head } from './commit.ts'
import type { VerifyKey } from './ed25519.ts'
import type { Gap } from './gap.ts'
import type { LedgerEvent } from './ledgerEvents.ts'

/** What a reader trusts beforehand: the ledger's name and the root public key of its genesis (raw, 32 bytes). */
export interface Pin {
  readonly origin: string
  readonly rootPublicKey: Uint8Array
}

/** One message as stored. `stream` is absent where the reader knows only one stream. */
export interface LedgerMessage {
  readonly seq: number
  readonly subject: string
  readonly payload: Uint8Array
  readonly stream?: string
}

/** A ledger as far as it was read: an immutable value of constant size. */
export interface ChainState {
  readonly origin: string
  /** The root in force: the pinned one until a `RootRotated`. */
  readonly root: VerifyKey
  /** Sequence, hash and stream of the last valid commit; 0, zeros and nothing before genesis. */
  readonly seq: number
  readonly hash: Uint8Array
  readonly stream: string | undefined
  /** Events up to here: the next commit's `first`. */
  readonly events: number
  readonly epoch: number
  /** The key of the latest `EpochOpened`. */
  readonly epochKey: VerifyKey | undefined
  /**
   * What the next commit may be: `genesis` LedgerCreated; `append` an ordinary commit or anything special; `epoch` only
   * an EpochOpened (after LedgerCreated and RootRotated); `recovered` anything special. A LedgerRecovered is possible in all but the first.
   */
  readonly expects: 'genesis' | 'append' | 'epoch' | 'recovered'
  /** Where the ledger goes on after a `LedgerRolled`. */
  readonly nextStream: string | undefined
  /** Sequences after the last valid commit without a valid commit; only a `LedgerRecovered` that names them goes on. */
  readonly gap: Gap | undefined
  /** With fast signatures: the last commit, not checked yet, and the chain before it. */
  readonly unchecked:
    | { readonly message: LedgerMessage; readonly commit: Commit; readonly before: ChainState }
    | undefined
}

/**
 * Something wrong at a sequence. `consequence`: wrong only because it follows another finding. `lasting`: no
 * `LedgerRecovered` can cure it, since it is about the order in which messages were handed over.
 */
export interface Finding {
  readonly seq: number
  readonly reason: string
  readonly kind: 'own' | 'consequence' | 'lasting'
}

/** One step. `findings` of a good step are about sequences before it, and are those that its LedgerRecovered names. */
export type Step =
  | {
      readonly ok: true
      readonly state: ChainState
      readonly commit: Commit
      /** The parsed event if it is one of the ledger's own. */
      readonly event: LedgerEvent | undefined
      readonly findings: readonly Finding[]
    }
  | { readonly ok: false; readonly state: ChainState; readonly findings: readonly Finding[] }

/** What a head says about the commit's place in the chain. */
export type PlacedHead = Omit<Head, 'timeMs' | 'eventsRoot'>

/** What somebody else found in a message: an ordinary commit, well-formed, its events as its head says, and signed. */
export interface VouchedCommit extends Pick<Commit, 'kid' | 'hash'> {
  readonly head: PlacedHead
  /** The raw public key that the signature is by. */
  readonly signedBy: Uint8Array
}

/** `fast` leaves out the signatures of ordinary commits, except the last one before a special commit, a gap or the end. */
export interface StepOptions {
  readonly signatures: 'all' | 'fast'
}
