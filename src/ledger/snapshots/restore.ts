import { createHash } from 'node:crypto'
import { SNAPSHOT_VERSION } from '../../../projections/snapshot.ts'
import { LIMITS } from '../../../schemas/limits.ts'
import { parseChainPosition, toChainPosition } from '../../core/chainPosition.ts'
import type { Pin } from '../../core/chainState.ts'
import { isSignedBy } from '../../core/ed25519.ts'
import type { Telemetry } from '../../core/ports.ts'
import { ok, type Result } from '../../core/result.ts'
import { parseSnapshotManifest, type SnapshotManifest, toSnapshotSigned } from '../../core/snapshot.ts'
import type { AnchorWatch } from '../anchors/watch.ts'
import type { CommitStream } from '../commitStream.ts'
import { describeError } from '../fault.ts'
import { place, type Tip } from '../tip.ts'
import type { TreeFile } from '../treeFile.ts'
import { readEvidence, type SnapshotEvidence, standsIn, wasBefore } from './evidence.ts'
import { SNAPSHOT_NAME } from './keeper.ts'
import { createStateReader, type SnapshotState } from './state.ts'
import type { SnapshotStore } from './store.ts'

export interface RestoreOptions {
  readonly store: SnapshotStore
  readonly stream: CommitStream
  readonly pin: Pin
  /** The stream's last sequence: nothing beyond it can be gone on from. */
  readonly head: number
  /** The first sequence that is in a stream: whoever goes on from before `firstSeq` − 1 misses some. */
  readonly firstSeq: number
  /** Told of the memories that the snapshot fits; one that it does not fit spoils it. */
  readonly watch: AnchorWatch
  /** Of this machine, compared with the ledger when it was written. Where it is used it is resumed. */
  readonly tree: TreeFile | undefined
  readonly telemetry: Telemetry
}

/**
 * The tip of the newest snapshot that holds, or nothing: then the ledger is read from its beginning, which is always
 * right. Why a snapshot is ignored stands in the log. Never throws.
 *
 * What makes one hold: the commit at its sequence is the one it names, signed by the key that signed the snapshot; that key
 * was attested by the root, from the pinned one on; these commits stand in the tree of the state, and that tree is the one
 * that this machine has kept; and everything that an anchor remembers lies on the way to it, or beyond.
 */
export const restoreTip = async (options: RestoreOptions, signal: AbortSignal): Promise<Tip | undefined> => {
  const { telemetry, tree } = options
  // A storage that has just started may not answer yet, and the whole ledger takes longer than asking again.
  for (let attempt = 1; attempt <= LIMITS.snapshotReadAttemptsMax && !signal.aborted; attempt += 1)
    try {
      return await restoreNewest(options, signal)
    } catch (error) {
      tree?.restart()
      telemetry.log('warn', 'the snapshots cannot be read', { why: describeError(error), attempt })
    }
  return undefined
}

const restoreNewest = async (options: RestoreOptions, signal: AbortSignal): Promise<Tip | undefined> => {
  const { telemetry, tree } = options
  for (const { slot, manifest } of await listManifests(options)) {
    if (signal.aborted) return undefined
    const restored = await restoreFrom(options, slot, manifest)
    if (restored.ok) return restored.value
    tree?.restart()
    telemetry.log('warn', 'a snapshot is ignored', { seq: manifest.seq, why: restored.error })
  }
  return undefined
}

interface Stored {
  readonly slot: number
  readonly manifest: SnapshotManifest
}

/** The newest first. */
const listManifests = async ({ store, telemetry }: RestoreOptions): Promise<readonly Stored[]> => {
  const found: Stored[] = []
  for (let slot = 0; slot < LIMITS.snapshotsKept; slot += 1) {
    const text = await store.manifest(slot)
    if (text === undefined) continue
    const manifest = parseSnapshotManifest(text)
    if (manifest.ok) found.push({ slot, manifest: manifest.value })
    else telemetry.log('warn', 'a snapshot is ignored', { slot, why: `its manifest is none: ${manifest.error}` })
  }
  return found.sort((a, b) => b.manifest.seq - a.manifest.seq)
}

const wrong = (error: string): { readonly ok: false; readonly error: string } => ({ ok: false, error })

const restoreFrom = async (
  options: RestoreOptions,
  slot: number,
  manifest: SnapshotManifest,
): Promise<Result<Tip, string>> => {
  const misfit = findMisfit(options, manifest)
  if (misfit !== undefined) return wrong(misfit)
  const evidence = await readEvidence(options, manifest)
  if (!evidence.ok) return evidence
  const { epochKey, last } = evidence.value
  if (Buffer.from(last.state.hash).toString('hex') !== manifest.hash)
    return wrong('the ledger has another commit at its sequence')
  if (!isSignedBy(epochKey, toSnapshotSigned(manifest), Buffer.from(manifest.signature, 'hex')))
    return wrong('it is not signed by the key of its epoch')
  // Nothing is parsed that was not signed.
  const state = await readState(options.store, slot, manifest)
  if (!state.ok) return state
  const tip = toTip(options.pin, evidence.value, state.value)
  return tip.ok ? compare(options, tip.value, evidence.value) : tip
}

/** What can be told without reading anything else. */
const findMisfit = ({ pin, head, firstSeq }: RestoreOptions, manifest: SnapshotManifest): string | undefined => {
  const { origin, name, version, seq, opened, rotated, bytes, pieces } = manifest
  if (origin !== pin.origin) return 'it is of another ledger'
  if (name !== SNAPSHOT_NAME || version !== SNAPSHOT_VERSION) return `it is ${name} of version ${version}, not ours`
  if (seq > head) return `the ledger ends at ${head}`
  if (seq + 1 < firstSeq) return `the streams begin at ${firstSeq}`
  if (opened > seq || rotated.some((at, index) => at >= opened || at <= (rotated[index - 1] ?? 0)))
    return 'the commits it names are not in order'
  return bytes > LIMITS.snapshotBytesMax || pieces > bytes ? 'it is too large' : undefined
}

const readState = async (
  store: SnapshotStore,
  slot: number,
  { state_sha256, pieces, bytes }: SnapshotManifest,
): Promise<Result<SnapshotState, string>> => {
  const sha256 = createHash('sha256')
  const found: Uint8Array[] = []
  let length = 0
  for (let index = 0; index < pieces; index += 1) {
    const piece = await store.piece(slot, index)
    if (piece === undefined) return wrong(`piece ${index} of its state is missing`)
    sha256.update(piece)
    length += piece.length
    if (length > bytes) return wrong('its state is longer than it says')
    found.push(piece)
  }
  if (length !== bytes || sha256.digest('hex') !== state_sha256)
    return wrong('its state is not the one that was signed')
  const reader = createStateReader()
  for (const piece of found) {
    const added = reader.add(piece)
    if (!added.ok) return added
  }
  return reader.finish()
}

/** The chain as the commit at the snapshot's sequence makes it, with the state that was signed for that place. */
const toTip = (pin: Pin, { roots, last }: SnapshotEvidence, state: SnapshotState): Result<Tip, string> => {
  const position = parseChainPosition(state.position, pin)
  if (!position.ok) return position
  // A commit that the manifest carries does not say in which stream it stood.
  const chain = { ...last.state, stream: last.state.stream ?? position.value.stream }
  if (JSON.stringify(toChainPosition(position.value)) !== JSON.stringify(toChainPosition(chain)))
    return wrong('its place in the chain is not that of its commit')
  if (state.range.size !== last.state.seq) return wrong('its tree has another size')
  const at = { origin: pin.origin, epoch: 0, seq: 0, hash: '', timeMs: 0 }
  return ok({
    chain,
    view: place({ at, ...state.folded }, chain, last.commit.head.timeMs),
    tree: { range: state.range, added: [] },
    roots,
    lost: state.lost,
  })
}

/** Holds the tip against what this machine and its anchors have kept. */
const compare = async (
  { tree, watch, stream }: RestoreOptions,
  tip: Tip,
  { leaves }: SnapshotEvidence,
): Promise<Result<Tip, string>> => {
  if (tree === undefined || !tree.resume(tip.tree.range))
    return wrong('the tree file of this machine does not reach it, or is of another history')
  if (!leaves.every((leaf) => standsIn(tip, tree, leaf))) return wrong('its tree is not that of its ledger')
  const isMet = await watch.meetEarlier(tip, (memory) => wasBefore(memory, tip, { tree, stream }))
  return isMet ? ok(tip) : wrong('an anchor remembers something else')
}
