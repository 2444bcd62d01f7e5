import type { Checkpoint } from '../../core/checkpoint.ts'
import type { NoteKey, NoteSignature, SignedNote } from '../../core/signedNote.ts'
import type { TreeFile } from '../treeFile.ts'

/** A checkpoint that this process signed, with the cosignatures it has by now. */
export interface SignedCheckpoint {
  readonly checkpoint: Checkpoint
  readonly note: SignedNote
  /** When it was signed, by this process's clock. */
  readonly signedAtMs: number
}

/**
 * What an anchor remembers of the ledger: its size, and a commit hash or a root at that size where it knows one. `note` is set
 * where the root stands in a checkpoint whose signature has still to be compared with the ledger's root keys.
 */
export interface Remembered {
  readonly size: number
  /** Hex hash of the commit at `size`. */
  readonly hash?: string
  readonly root?: Uint8Array
  readonly note?: SignedNote
}

/** What an anchor says when it is asked before the ledger is read. */
export type Recalled =
  | { readonly kind: 'remembers'; readonly what: Remembered }
  | { readonly kind: 'nothing' }
  /** Away, missing or not of use: it neither vouches nor objects. */
  | { readonly kind: 'unanswered'; readonly why: string }

/** What an anchor says to a new checkpoint. */
export type Kept =
  | { readonly kind: 'kept'; readonly cosignatures: readonly NoteSignature[] }
  | { readonly kind: 'unanswered'; readonly why: string }
  /** It has a larger size already: the ledger was rolled back, or another writer has gone on. */
  | { readonly kind: 'ahead'; readonly why: string }
  /** It remembers another history: the ledger was rewritten or forked. */
  | { readonly kind: 'disagrees'; readonly why: string }

/**
 * A place outside the ledger that remembers a checkpoint, so that the ledger can never again be shorter or other without
 * being found out. Nothing throws, and each answer comes within the signal's time.
 */
export interface Anchor {
  /** For people: logs, faults, health. */
  readonly name: string
  /** Set for a witness, whose signature others believe too: the key it cosigns by. */
  readonly witness?: NoteKey
  /** What it remembers. Where it can only be asked with a checkpoint, `last` is the newest one known. */
  recall(last: SignedNote | undefined, signal: AbortSignal): Promise<Recalled>
  /** Hands it a checkpoint; `tree` proves that it goes on from what the anchor has. */
  keep(signed: SignedCheckpoint, tree: Pick<TreeFile, 'consistency'>, signal: AbortSignal): Promise<Kept>
}
