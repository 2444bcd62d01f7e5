/** What is to be proved: that a commit, and perhaps one of its events, stands in the ledger; that a smaller tree is its beginning. */
export interface ProofQuery {
  readonly seq: number
  /** Place of an event in the commit, from 0. */
  readonly index?: number
  /** Size of the tree; by default the newest checkpoint's, if that covers `seq`, else the whole ledger's. */
  readonly treeSize?: number
  /** A smaller tree that is to be the beginning of this one. */
  readonly fromSize?: number
}

/** The proof (docs/LEDGER.md, "Proofs"). No event's bytes are in it: of events there are only hashes. */
export interface LedgerProof {
  readonly origin: string
  readonly seq: number
  readonly treeSize: number
  readonly root: Uint8Array
  /** Of the commit at `seq`: head, kid and signature. */
  readonly envelope: Uint8Array
  readonly path: readonly Uint8Array[]
  readonly event?: { readonly index: number; readonly leafHash: Uint8Array; readonly path: readonly Uint8Array[] }
  readonly consistency?: {
    readonly fromSize: number
    readonly fromRoot: Uint8Array
    readonly path: readonly Uint8Array[]
  }
  /** The checkpoint note of this tree size, where the service has it. */
  readonly checkpoint?: string
}
