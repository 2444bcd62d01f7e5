import { must, ok, type Result } from './result.ts'
import { type NoteKey, parseNote, type SignedNote, type VerifiedSignature, verifyNote } from './signedNote.ts'

/** The ledger's Merkle tree at a size (C2SP tlog-checkpoint). */
export interface Checkpoint {
  readonly origin: string
  /** Leaves, which is the sequence of the last commit in it. */
  readonly size: number
  /** RFC 6962 root, 32 bytes. */
  readonly root: Uint8Array
}

/** A checkpoint and what vouches for it. */
export interface OpenedCheckpoint {
  readonly checkpoint: Checkpoint
  readonly note: SignedNote
  /** Verified signatures by the keys that were given: first of the ledger, then of witnesses. */
  readonly signedBy: readonly VerifiedSignature[]
  readonly cosignedBy: readonly VerifiedSignature[]
}

/** The text of a checkpoint: origin, size, base64 root, a line each, and nothing else. */
export const toCheckpointText = ({ origin, size, root }: Checkpoint): string => {
  must(root.length === 32 && Number.isSafeInteger(size) && size >= 0, 'a checkpoint has a size and a root of 32 bytes')
  return `${origin}\n${size}\n${Buffer.from(root).toString('base64')}\n`
}

/**
 * Reads a checkpoint's text; says in words what is wrong. Extension lines, which this ledger never writes, are covered by
 * the signature and otherwise ignored, as the specification has it.
 */
export const parseCheckpointText = (text: string): Result<Checkpoint, string> => {
  const lines = text.split('\n')
  const [origin, sizeText, rootText] = lines
  if (lines.pop() !== '' || lines.length < 3 || lines.some((line) => line === ''))
    return bad('a checkpoint is origin, size and root, a line each, and no empty line')
  const size = SIZE_PATTERN.test(sizeText ?? '') ? Number(sizeText) : Number.NaN
  if (!Number.isSafeInteger(size))
    return bad('the size of the checkpoint is not a decimal number without leading zeros')
  const root = Buffer.from(rootText ?? '', 'base64')
  if (root.length !== 32 || root.toString('base64') !== rootText)
    return bad('the root of the checkpoint is not 32 bytes')
  return ok({ origin: origin ?? '', size, root: new Uint8Array(root) })
}

/**
 * Reads a checkpoint note and verifies it: it must be of `origin` and signed by one of `ledgerKeys`; witnesses may be
 * missing, but a signature of a known one that does not verify spoils it.
 */
export const openCheckpoint = (
  bytes: Uint8Array,
  trust: {
    readonly origin: string
    readonly ledgerKeys: readonly NoteKey[]
    readonly witnessKeys?: readonly NoteKey[]
  },
): Result<OpenedCheckpoint, string> => {
  const note = parseNote(bytes)
  if (!note.ok) return note
  const checkpoint = parseCheckpointText(note.value.text)
  if (!checkpoint.ok) return checkpoint
  if (checkpoint.value.origin !== trust.origin) return bad(`the checkpoint is of another ledger than ${trust.origin}`)
  const verified = verifyNote(note.value, [...trust.ledgerKeys, ...(trust.witnessKeys ?? [])])
  if (!verified.ok) return verified
  const signedBy = verified.value.filter(({ key }) => trust.ledgerKeys.includes(key))
  const cosignedBy = verified.value.filter(({ key }) => !trust.ledgerKeys.includes(key))
  if (signedBy.length === 0) return bad('the checkpoint is not signed by the root key of the ledger')
  return ok({ checkpoint: checkpoint.value, note: note.value, signedBy, cosignedBy })
}

const SIZE_PATTERN = /^(0|[1-9][0-9]{0,15})$/

const bad = (error: string): { readonly ok: false; readonly error: string } => ({ ok: false, error })
