import { reachedBy, startChain, stepChain } from '../../core/chain.ts'
import type { ChainState, Pin, Step } from '../../core/chainState.ts'
import { decodeCommit } from '../../core/commit.ts'
import { rootOf } from '../../core/compactRange.ts'
import type { VerifyKey } from '../../core/ed25519.ts'
import { isIncluded, toLeafHash } from '../../core/merkle.ts'
import { isConsistent } from '../../core/merkleProof.ts'
import { ok, type Result } from '../../core/result.ts'
import type { SnapshotManifest } from '../../core/snapshot.ts'
import type { NamedMemory } from '../anchors/watch.ts'
import type { CommitStream, StoredMessage } from '../commitStream.ts'
import type { Tip } from '../tip.ts'
import type { TreeFile } from '../treeFile.ts'

type Good = Extract<Step, { ok: true }>

/** The keys that the ledger names for a snapshot, and the commit at its sequence. */
export interface SnapshotEvidence {
  /** Every root key up to the snapshot, as a tip has them. */
  readonly roots: Tip['roots']
  /** The step to the snapshot's commit. */
  readonly last: Good
  /** The epoch's, attested by the root in force. */
  readonly epochKey: VerifyKey
  /** The commits that were read for this; all must stand in the snapshot's tree. */
  readonly leaves: readonly Leaf[]
}

export interface Leaf {
  readonly seq: number
  readonly hash: Uint8Array
}

type Read = Result<Good, string>

export interface EvidenceOptions {
  readonly stream: CommitStream
  /** What was before is in no stream any more: its commits are those that the manifest carries. */
  readonly firstSeq: number
  readonly pin: Pin
}

/**
 * Reads from the ledger who signed: the commits that rotated the root, from the pinned key on, the one that opened the epoch,
 * attested by the root in force, and the commit at the snapshot's sequence, signed by that epoch's key. Each is judged by the
 * rules of the chain, given the place it claims; that they stand in one chain is for {@link standsIn} to say.
 */
export const readEvidence = async (
  { stream, firstSeq, pin }: EvidenceOptions,
  manifest: SnapshotManifest,
): Promise<Result<SnapshotEvidence, string>> => {
  const start = startChain(pin)
  let root = start.root
  const roots: Tip['roots'][number][] = [{ fromSize: 0, key: root }]
  const leaves: Leaf[] = []
  const messages = new Map<number, Uint8Array>()
  const carried = listCarried(manifest)
  const read = async (seq: number, toBefore: (commitEpoch: number) => Partial<ChainState>): Promise<Read> => {
    const message = seq < firstSeq ? carried.get(seq) : await readFrom(stream, seq)
    if (message === undefined) return wrong(`commit ${seq} cannot be read`)
    const commit = decodeCommit(message.payload)
    if (!commit.ok) return wrong(`sequence ${seq} is no commit`)
    const { prev, first, epoch } = commit.value.head
    const before: ChainState = {
      ...{ ...start, root, seq: seq - 1, hash: prev, events: first, epoch, expects: 'append' },
      ...toBefore(epoch),
    }
    const step = stepChain(before, message, { signatures: 'all' })
    if (!step.ok || reachedBy(step.state) !== seq) return wrong(`commit ${seq} is not what it should be`)
    leaves.push({ seq, hash: toLeafHash(commit.value.envelope) })
    messages.set(seq, message.payload)
    return ok(step)
  }
  for (const seq of manifest.rotated) {
    const step = await read(seq, () => ({}))
    if (!step.ok) return step
    if (step.value.event?.type !== 'RootRotated') return wrong(`commit ${seq} rotates no root`)
    root = step.value.state.root
    const message = messages.get(seq)
    roots.push({ fromSize: seq, key: root, ...(message && { message: Uint8Array.from(message) }) })
  }
  const opening = await read(manifest.opened, (epoch) => ({ epoch: epoch - 1 }))
  if (!opening.ok) return opening
  const { epochKey } = opening.value.state
  if (opening.value.event?.type !== 'EpochOpened' || epochKey?.kid !== manifest.kid)
    return wrong(`commit ${manifest.opened} does not open the epoch of its key`)
  if (manifest.opened === manifest.seq) return ok({ roots, last: opening.value, epochKey, leaves })
  const last = await read(manifest.seq, () => ({ epochKey }))
  // A commit that another key signed would be no witness that this key was in force there.
  if (last.ok && last.value.commit.kid !== manifest.kid) return wrong(`commit ${manifest.seq} is signed by another key`)
  return last.ok ? ok({ roots, last: last.value, epochKey, leaves }) : last
}

const readFrom = async (stream: CommitStream, seq: number): Promise<StoredMessage | undefined> => {
  const back = await stream.readBack(seq)
  if (back.kind === 'unanswered') throw new Error(back.why)
  return back.kind === 'found' ? back.message : undefined
}

/** Commits that the manifest carries, by the sequence that each claims: they are judged as if the stream had given them. */
const listCarried = ({ commits }: SnapshotManifest): ReadonlyMap<number, StoredMessage> => {
  const carried = new Map<number, StoredMessage>()
  for (const text of commits) {
    const payload = Uint8Array.from(Buffer.from(text, 'base64'))
    const commit = decodeCommit(payload)
    if (!commit.ok) continue
    const { seq, subject } = commit.value.head
    carried.set(seq, { seq, subject, payload })
  }
  return carried
}

const wrong = (error: string): { readonly ok: false; readonly error: string } => ({ ok: false, error })

/** Whether a leaf stands in the tree of this tip; `tree` proves it and is not believed. */
export const standsIn = ({ tree: { range } }: Pick<Tip, 'tree'>, tree: TreeFile, { seq, hash }: Leaf): boolean => {
  const { size } = range
  if (seq < 1 || seq > size) return false
  const path = tree.inclusion(seq - 1, size)
  return isIncluded({ leafHash: hash, index: seq - 1, size, root: rootOf(range), path })
}

/** Whether what an anchor remembers, of a size up to the tip's, was before the tip; `tree` proves it and is not believed. */
export const wasBefore = async (
  memory: NamedMemory,
  tip: Tip,
  { tree, stream }: { readonly tree: TreeFile; readonly stream: CommitStream },
): Promise<boolean> => {
  const { range } = tip.tree
  if (memory.root !== undefined) {
    const path = tree.consistency(memory.size, range.size)
    const proof = { oldSize: memory.size, oldRoot: memory.root, size: range.size, root: rootOf(range), path }
    if (!isConsistent(proof)) return false
  }
  if (memory.hash === undefined) return true
  // The commit itself may be in no stream any more.
  if (memory.size === tip.view.at.seq) return memory.hash === tip.view.at.hash
  const back = await stream.readBack(memory.size)
  const commit = back.kind === 'found' ? decodeCommit(back.message.payload) : undefined
  if (commit?.ok !== true || Buffer.from(commit.value.hash).toString('hex') !== memory.hash) return false
  return standsIn(tip, tree, { seq: memory.size, hash: toLeafHash(commit.value.envelope) })
}
