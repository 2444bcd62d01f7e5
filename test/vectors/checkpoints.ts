import { toCheckpointText } from '../../src/core/checkpoint.ts'
import { decodeCommit } from '../../src/core/commit.ts'
import { parseVerifyKey } from '../../src/core/ed25519.ts'
import { toGapLeafHash } from '../../src/core/gap.ts'
import { toLeafHash } from '../../src/core/merkle.ts'
import { must } from '../../src/core/result.ts'
import {
  formatNote,
  formatNoteKey,
  type NoteKey,
  toCosignature,
  toCosignedBytes,
  toNoteSignature,
} from '../../src/core/signedNote.ts'
import { createSigner, type History, ORIGIN } from '../fixtures/ledgerHistory.ts'
import { createTreeOfLeaves } from '../fixtures/treeOfLeaves.ts'

const WITNESS = 'witness.example/w1'
const TIME_SECONDS = 1_767_225_600

/** Checkpoints of a whole history with a recovered gap: tree, notes by the root in force, a cosignature, proofs. */
export const toCheckpoints = (history: History) => {
  const leaves = toLeaves(history)
  const tree = createTreeOfLeaves(leaves.map(({ hash }) => hash))
  const { size } = tree
  const witness = toKey('witness', WITNESS, 'cosignature')
  return {
    witness_vkey: formatNoteKey(witness.key),
    leaves: leaves.map(({ seq, data, hash }) => ({ seq, ...data, leaf_hash: hex(hash) })),
    roots: Array.from({ length: size + 1 }, (_, at) => ({ size: at, root: hex(tree.root(at)) })),
    checkpoints: [
      { size: 6, root: 'root' },
      { size, root: 'root 2' },
    ].map(({ size: at, root }) => {
      const text = toCheckpointText({ origin: ORIGIN, size: at, root: tree.root(at) })
      const log = toKey(root, ORIGIN, 'ed25519')
      const signature = toNoteSignature(log.key, log.sign(Buffer.from(text)))
      const cosignature = toCosignature(witness.key, TIME_SECONDS, witness.sign(toCosignedBytes(text, TIME_SECONDS)))
      return { size: at, signed_by: root, text, note: formatNote({ text, signatures: [signature, cosignature] }) }
    }),
    inclusion: [0, 6, size - 1].map((index) => ({ seq: index + 1, size, path: tree.inclusion(index, size).map(hex) })),
    consistency: [1, 7, 8, size].map((from) => ({
      from_size: from,
      size,
      path: tree.consistency(from, size).map(hex),
    })),
  }
}

/** Leaf i is sequence i + 1: an envelope, or what entered the digest of the `LedgerRecovered` that names the sequence. */
const toLeaves = ({ messages }: History) => {
  const leaves: { seq: number; data: object; hash: Uint8Array }[] = []
  for (const { seq, payload } of messages) {
    for (let missing = leaves.length + 1; missing < seq; missing++)
      leaves.push({ seq: missing, data: { recovered: 'missing' }, hash: toGapLeafHash() })
    const commit = decodeCommit(payload)
    leaves.push(
      commit.ok
        ? { seq, data: {}, hash: toLeafHash(commit.value.envelope) }
        : { seq, data: { recovered: 'SHA-256 of the message' }, hash: toGapLeafHash(payload) },
    )
  }
  return leaves
}

const toKey = (signer: string, name: string, type: NoteKey['type']) => {
  const { publicKey, sign } = createSigner(signer)
  const key = parseVerifyKey(publicKey)
  must(key.ok, 'a public key of a vector is not usable')
  return { key: { name, type, key: key.value }, sign }
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
