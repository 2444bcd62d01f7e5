import type { ReplyBody } from '../../schemas/registry.ts'
import { type Checkpoint, openCheckpoint } from '../core/checkpoint.ts'
import { decodeEnvelope } from '../core/commit.ts'
import { isIncluded, toLeafHash } from '../core/merkle.ts'
import { isConsistent } from '../core/merkleProof.ts'
import { ok, type Result } from '../core/result.ts'
import { type NoteKey, parseNoteKey } from '../core/signedNote.ts'

/** Whom to believe: the ledger's vkey, as pinned, and the keys of witnesses. */
export interface ProofTrust {
  /** One line, `<origin>+<key id>+<base64>`; after a rotation of the root key, those of the later roots as well. */
  readonly vkeys: readonly string[]
  /** Verifier keys of witnesses (type 04). */
  readonly witnessKeys?: readonly string[]
  /** How many of them must have cosigned. */
  readonly witnessesMin?: number
}

/** A checkpoint note that was verified. */
export interface TrustedCheckpoint extends Checkpoint {
  /** Names of the witnesses that cosigned it. */
  readonly witnesses: readonly string[]
}

/** Verifies a checkpoint note; says in words what is wrong. */
export const verifyCheckpoint = (note: string, trust: ProofTrust): Result<TrustedCheckpoint, string> => {
  const ledgerKeys = parseKeys(trust.vkeys)
  const witnessKeys = parseKeys(trust.witnessKeys ?? [])
  if (!ledgerKeys.ok) return ledgerKeys
  if (!witnessKeys.ok) return witnessKeys
  const [first] = ledgerKeys.value
  if (first === undefined) return bad('there is no vkey to believe')
  const opened = openCheckpoint(Buffer.from(note), {
    origin: first.name,
    ledgerKeys: ledgerKeys.value,
    witnessKeys: witnessKeys.value,
  })
  if (!opened.ok) return opened
  const witnesses = opened.value.cosignedBy.map(({ key }) => key.name)
  const { witnessesMin = 0 } = trust
  return witnesses.length >= witnessesMin
    ? ok({ ...opened.value.checkpoint, witnesses })
    : bad(`the checkpoint has ${witnesses.length} cosignatures, not ${witnessesMin}`)
}

/** A reply to GetLedgerProof. */
export type ProofReply = Omit<ReplyBody<'GetLedgerProof'>, 'receipt'>

/** A receipt, as every reply has it. */
export interface KeptReceipt {
  readonly seq: number
  readonly index: number
  readonly hash: string
}

/**
 * Whether a proof shows that the operation of a receipt stands in the ledger of a checkpoint: the commit is the receipt's, it is
 * a leaf of the checkpoint's tree, and it has such an event. Says in words what is wrong. The checkpoint must be verified,
 * and of the proof's `tree_size`.
 */
export const verifyProof = (
  proof: ProofReply,
  receipt: KeptReceipt,
  checkpoint: Checkpoint,
): Result<{ readonly timeMs: number }, string> => {
  if (proof.tree_size !== checkpoint.size)
    return bad(`the proof is for size ${proof.tree_size}, not ${checkpoint.size}`)
  const envelope = decodeEnvelope(proof.envelope)
  if (!envelope.ok) return envelope
  const { head, hash } = envelope.value
  if (head.origin !== checkpoint.origin) return bad('the commit is of another ledger')
  if (proof.seq !== receipt.seq || head.seq !== receipt.seq) return bad('the proof is of another sequence')
  if (Buffer.from(hash).toString('hex') !== receipt.hash) return bad('the commit is not the one of the receipt')
  const leafHash = toLeafHash(proof.envelope)
  const { root, size } = checkpoint
  if (!isIncluded({ leafHash, index: receipt.seq - 1, size, path: proof.path, root }))
    return bad('the commit does not stand in the tree of the checkpoint')
  if (receipt.index >= head.count) return bad('the commit has no such event')
  return ok({ timeMs: head.timeMs })
}

/**
 * Whether a proof shows that an event stands in its commit, at the place it names; `event` is its exact bytes, where you have
 * them. Says in words what is wrong. That the commit stands in the ledger is {@link verifyProof}'s to say.
 */
export const verifyEventProof = (proof: ProofReply, event?: Uint8Array): Result<true, string> => {
  const envelope = decodeEnvelope(proof.envelope)
  if (!envelope.ok) return envelope
  if (proof.event === undefined) return bad('the proof is not of an event')
  const { index, leaf_hash: leafHash, path } = proof.event
  const { count, eventsRoot } = envelope.value.head
  if (event !== undefined && !Buffer.from(toLeafHash(event)).equals(leafHash))
    return bad('the proof is of another event')
  return isIncluded({ leafHash, index, size: count, path, root: eventsRoot })
    ? ok(true)
    : bad('the event does not stand in the commit')
}

/**
 * Whether a proof shows that the ledger of an earlier checkpoint is the beginning of that of a later one. If it does not, the
 * ledger was rewritten, or you were shown two. Both must be verified.
 */
export const verifyConsistency = (proof: ProofReply, earlier: Checkpoint, later: Checkpoint): Result<true, string> => {
  const { consistency } = proof
  if (consistency === undefined) return bad('the proof is not of consistency')
  if (consistency.from_size !== earlier.size || proof.tree_size !== later.size)
    return bad('the proof is between other sizes')
  const sizes = { oldSize: earlier.size, oldRoot: earlier.root, size: later.size, root: later.root }
  return isConsistent({ ...sizes, path: consistency.path })
    ? ok(true)
    : bad('the earlier ledger is not the beginning of the later one')
}

const parseKeys = (texts: readonly string[]): Result<readonly NoteKey[], string> => {
  const keys: NoteKey[] = []
  for (const text of texts) {
    const key = parseNoteKey(text.trim())
    if (!key.ok) return key
    keys.push(key.value)
  }
  return ok(keys)
}

const bad = (error: string): { readonly ok: false; readonly error: string } => ({ ok: false, error })
