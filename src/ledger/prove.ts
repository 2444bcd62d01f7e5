import { decodeCommit } from '../core/commit.ts'
import type { LedgerProof, ProofQuery } from '../core/ledgerProof.ts'
import { isIncluded, toInclusionPath, toLeafHash } from '../core/merkle.ts'
import { fail, must, ok, type Result } from '../core/result.ts'
import { formatNote } from '../core/signedNote.ts'
import type { SignedCheckpoint } from './anchors/anchor.ts'
import type { ReadBack } from './commitStream.ts'
import type { TreeFile } from './treeFile.ts'

/** Where proofs come from. */
export interface ProofSource {
  readonly origin: string
  /** Nothing while there is no tree. */
  readonly tree: Pick<TreeFile, 'size' | 'root' | 'inclusion' | 'consistency'> | undefined
  readonly latest: SignedCheckpoint | undefined
  readBack(seq: number): Promise<ReadBack>
}

/**
 * Makes a proof. INVALID_REQUEST for sizes that do not fit each other or that the ledger has not; NOT_FOUND for a sequence
 * without a commit, or a commit without such an event; LEDGER_UNAVAILABLE if stream or tree file do not answer.
 */
export const prove = async (query: ProofQuery, source: ProofSource): Promise<Result<LedgerProof>> => {
  const { origin, tree, latest } = source
  if (tree === undefined) return fail('LEDGER_UNAVAILABLE', 'there is no tree of the ledger to prove from')
  const { seq } = query
  if (seq > tree.size) return fail('NOT_FOUND', `the ledger has ${tree.size} commits`)
  const sizes = chooseSizes(query, tree.size, latest)
  if (!sizes.ok) return sizes
  const { treeSize, fromSize } = sizes.value
  const back = await source.readBack(seq)
  if (back.kind === 'unanswered') return fail('LEDGER_UNAVAILABLE', 'the stream of the ledger does not answer')
  const commit = back.kind === 'found' ? decodeCommit(back.message.payload) : undefined
  if (!commit?.ok) return fail('NOT_FOUND', 'seq: no commit stands there; the ledger was recovered over it')
  const { envelope, events } = commit.value
  const leafHash = toLeafHash(envelope)
  const [root, path] = [tree.root(treeSize), tree.inclusion(seq - 1, treeSize)]
  must(
    isIncluded({ leafHash, index: seq - 1, size: treeSize, path, root }),
    'the message in the stream is not the one that entered the tree',
  )
  const bytes = query.index === undefined ? undefined : events[query.index]?.bytes
  if (query.index !== undefined && bytes === undefined)
    return fail('NOT_FOUND', `index: the commit has ${events.length} events`)
  return ok({
    ...{ origin, seq, treeSize, root, envelope, path },
    ...(query.index === undefined || bytes === undefined
      ? {}
      : {
          event: toEventProof(
            events.map((event) => event.bytes),
            query.index,
            bytes,
          ),
        }),
    ...(fromSize === undefined
      ? {}
      : { consistency: { fromSize, fromRoot: tree.root(fromSize), path: tree.consistency(fromSize, treeSize) } }),
    ...(latest?.checkpoint.size === treeSize ? { checkpoint: formatNote(latest.note) } : {}),
  })
}

interface Sizes {
  readonly treeSize: number
  readonly fromSize: number | undefined
}

const chooseSizes = (
  { seq, treeSize, fromSize }: ProofQuery,
  size: number,
  latest: SignedCheckpoint | undefined,
): Result<Sizes> => {
  const signed = latest?.checkpoint.size ?? 0
  const chosen = treeSize ?? (signed >= Math.max(seq, fromSize ?? 0) ? signed : size)
  if (chosen > size) return fail('INVALID_REQUEST', `tree_size: the ledger has ${size} commits`)
  if (chosen < seq) return fail('INVALID_REQUEST', 'tree_size: must not be below seq')
  if (fromSize !== undefined && fromSize > chosen)
    return fail('INVALID_REQUEST', 'from_size: must not be above tree_size')
  return ok({ treeSize: chosen, fromSize })
}

const toEventProof = (events: readonly Uint8Array[], index: number, bytes: Uint8Array) => ({
  index,
  leafHash: toLeafHash(bytes),
  path: toInclusionPath(events, index),
})
