import { parseCheckpointText } from '../core/checkpoint.ts'
import { ok, type Result } from '../core/result.ts'
import { type NoteKey, parseNote } from '../core/signedNote.ts'

/** A place outside the ledger that remembers the commit hash at a sequence. */
export interface NamedAnchor {
  /** How the verdict names it: `head file`, `--anchor`, `receipt`. */
  readonly name: string
  readonly size: number
  /** Hex. */
  readonly hash: string
  /** A receipt's place in its commit; the commit must have such an event. */
  readonly index?: number
  /** For a checkpoint, whose `hash` is the root of the tree at its size. */
  readonly checkpoint?: CheckpointAnchor
}

/** What makes a checkpoint count, once its size is reached and the root key that is in force there is known. */
export interface CheckpointAnchor {
  /** The signed note. */
  readonly bytes: Uint8Array
  /** Witnesses who must have cosigned it before it vouches for the ledger's end. */
  readonly witnessKeys: readonly NoteKey[]
  /** A segment's own, which lies where the segment lies: it is compared, and vouches for no end. */
  readonly isOfArchive: boolean
}

/** Reads a checkpoint of the ledger `origin`. Its signatures are judged when its size is reached. */
export const parseCheckpointAnchor = (
  bytes: Uint8Array,
  from: {
    readonly name: string
    readonly origin: string
    readonly witnessKeys: readonly NoteKey[]
    readonly isOfArchive: boolean
  },
): Result<NamedAnchor, string> => {
  const note = parseNote(bytes)
  if (!note.ok) return note
  const checkpoint = parseCheckpointText(note.value.text)
  if (!checkpoint.ok) return checkpoint
  const { origin, size, root } = checkpoint.value
  if (origin !== from.origin) return bad(`the checkpoint is of another ledger than ${from.origin}`)
  if (size === 0) return bad('a checkpoint of size 0 says nothing')
  const { name, witnessKeys, isOfArchive } = from
  return ok({ name, size, hash: Buffer.from(root).toString('hex'), checkpoint: { bytes, witnessKeys, isOfArchive } })
}

/** The head file's JSON `{v: 1, origin, size, hash}`. Refuses another ledger's. */
export const parseHeadFile = (text: string, origin: string): Result<NamedAnchor, string> => {
  const head = parseObject(text)
  if (head?.['v'] !== 1) return bad('the head file is not {"v":1,"origin","size","hash"}')
  if (head['origin'] !== origin) return bad('the head file is of another ledger')
  return toAnchor('head file', head['size'], head['hash'])
}

/** `--anchor size:hash`. */
export const parseAnchorFlag = (text: string): Result<NamedAnchor, string> => {
  const [, size, hash] = /^([1-9][0-9]{0,15}):([0-9a-f]{64})$/.exec(text) ?? []
  return size === undefined ? bad('an anchor is size:hash, the hash in hex') : toAnchor('--anchor', Number(size), hash)
}

/** A receipt's JSON `{seq, index, hash}`; other members are ignored, so a whole saved `receipt` object does. */
export const parseReceipt = (text: string): Result<NamedAnchor, string> => {
  const receipt = parseObject(text)
  const index = receipt?.['index']
  if (!isInteger(index, 0)) return bad('a receipt is {"seq","index","hash"}')
  const anchor = toAnchor('receipt', receipt?.['seq'], receipt?.['hash'])
  return anchor.ok ? ok({ ...anchor.value, index }) : anchor
}

const bad = (error: string): { readonly ok: false; readonly error: string } => ({ ok: false, error })

const toAnchor = (name: string, size: unknown, hash: unknown): Result<NamedAnchor, string> =>
  isInteger(size, 1) && typeof hash === 'string' && /^[0-9a-f]{64}$/.test(hash)
    ? ok({ name, size, hash })
    : bad(`${name}: the size must be a sequence and the hash 64 lowercase hex digits`)

const isInteger = (value: unknown, min: number): value is number => Number.isSafeInteger(value) && Number(value) >= min

const parseObject = (text: string): Readonly<Record<string, unknown>> | undefined => {
  try {
    const value: unknown = JSON.parse(text)
    return isObject(value) ? value : undefined
  } catch {
    return undefined
  }
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null
