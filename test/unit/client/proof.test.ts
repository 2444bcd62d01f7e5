import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type KeptReceipt,
  type ProofReply,
  verifyCheckpoint,
  verifyConsistency,
  verifyEventProof,
  verifyProof,
} from '../../../src/client/proof.ts'
import { toCheckpointText } from '../../../src/core/checkpoint.ts'
import { decodeCommit } from '../../../src/core/commit.ts'
import { parseVerifyKey } from '../../../src/core/ed25519.ts'
import { toLeafHash } from '../../../src/core/merkle.ts'
import {
  formatNote,
  formatNoteKey,
  type NoteKey,
  toCosignature,
  toCosignedBytes,
  toNoteSignature,
} from '../../../src/core/signedNote.ts'
import { prove } from '../../../src/ledger/prove.ts'
import { unwrap } from '../../fixtures/ledgerEntries.ts'
import { createSampleHistory, createSigner, type History, ORIGIN, toEncrypted } from '../../fixtures/ledgerHistory.ts'
import { createTreeOfLeaves } from '../../fixtures/treeOfLeaves.ts'

const rootSigner = createSigner('root')
const log: NoteKey = { name: ORIGIN, type: 'ed25519', key: unwrap(parseVerifyKey(rootSigner.publicKey)) }
const witnessSigner = createSigner('witness')
const witness: NoteKey = {
  name: 'witness.example/w',
  type: 'cosignature',
  key: unwrap(parseVerifyKey(witnessSigner.publicKey)),
}
const trust = { vkeys: [formatNoteKey(log)], witnessKeys: [formatNoteKey(witness)], witnessesMin: 1 }

const commitsOf = ({ messages }: History) => messages.map(({ payload }) => unwrap(decodeCommit(payload)))
const treeOf = (history: History) => createTreeOfLeaves(commitsOf(history).map(({ envelope }) => toLeafHash(envelope)))

const noteOf = (history: History, size: number): string => {
  const text = toCheckpointText({ origin: ORIGIN, size, root: treeOf(history).root(size) })
  const signatures = [
    toNoteSignature(log, rootSigner.sign(Buffer.from(text))),
    toCosignature(witness, 1_000, witnessSigner.sign(toCosignedBytes(text, 1_000))),
  ]
  return formatNote({ text, signatures })
}
const checkpointOf = (history: History, size: number) => unwrap(verifyCheckpoint(noteOf(history, size), trust))

const proofOf = async (
  history: History,
  query: { seq: number; index?: number; treeSize?: number; fromSize?: number },
): Promise<ProofReply> => {
  const made = unwrap(
    await prove(query, {
      origin: ORIGIN,
      tree: treeOf(history),
      latest: undefined,
      readBack: async (seq) => {
        const message = history.messages[seq - 1]
        return message === undefined ? { kind: 'absent' } : { kind: 'found', message }
      },
    }),
  )
  const { event, consistency } = made
  return {
    ...{ origin: made.origin, seq: made.seq, tree_size: made.treeSize, root: made.root, envelope: made.envelope },
    path: [...made.path],
    ...(event === undefined ? {} : { event: { ...event, leaf_hash: event.leafHash, path: [...event.path] } }),
    ...(consistency === undefined
      ? {}
      : {
          consistency: {
            from_size: consistency.fromSize,
            from_root: consistency.fromRoot,
            path: [...consistency.path],
          },
        }),
  }
}
const receiptOf = (history: History, seq: number, index = 0): KeptReceipt => {
  const commit = commitsOf(history)[seq - 1]
  if (commit === undefined) throw new Error('no such commit')
  return { seq, index, hash: Buffer.from(commit.hash).toString('hex') }
}

/** Some commits, the last of three events. */
const createHistory = (): History => {
  const history = createSampleHistory(6)
  history.append([toEncrypted(1), toEncrypted(2), toEncrypted(3)])
  return history
}

describe('a proof', () => {
  const history = createHistory()
  const size = history.messages.length

  it('upgrades the receipt of each commit, at each later size', async () => {
    for (let treeSize = 1; treeSize <= size; treeSize += 1)
      for (let seq = 1; seq <= treeSize; seq += 1) {
        const proof = await proofOf(history, { seq, treeSize })
        expect(verifyProof(proof, receiptOf(history, seq), checkpointOf(history, treeSize)).ok).toBe(true)
      }
  })

  it('shows each event of a commit, and no other bytes at its place', async () => {
    const events = commitsOf(history)[size - 1]?.events ?? []
    expect(events).toHaveLength(3)
    for (const [index, { bytes }] of events.entries()) {
      const proof = await proofOf(history, { seq: size, index })
      expect(verifyEventProof(proof).ok).toBe(true)
      expect(verifyEventProof(proof, bytes).ok).toBe(true)
      expect(verifyEventProof(proof, events[(index + 1) % 3]?.bytes).ok).toBe(false)
    }
  })

  it('shows that an earlier checkpoint is the beginning of a later one', async () => {
    for (let fromSize = 1; fromSize <= size; fromSize += 1) {
      const proof = await proofOf(history, { seq: 1, treeSize: size, fromSize })
      expect(verifyConsistency(proof, checkpointOf(history, fromSize), checkpointOf(history, size)).ok).toBe(true)
    }
  })

  it('with any byte changed shows nothing', async () => {
    const seq = size - 1
    const whole = await proofOf(history, { seq, index: 0, treeSize: size, fromSize: 3 })
    const [checkpoint, earlier] = [checkpointOf(history, size), checkpointOf(history, 3)]
    const receipt = receiptOf(history, seq)
    const holds = (proof: ProofReply) =>
      verifyProof(proof, receipt, checkpoint).ok &&
      verifyEventProof(proof).ok &&
      verifyConsistency(proof, earlier, checkpoint).ok
    expect(holds(whole)).toBe(true)
    fc.assert(
      fc.property(fc.nat(), fc.nat(), fc.integer({ min: 1, max: 255 }), (part, place, change) => {
        const proof = structuredClone(whole)
        const parts = [proof.envelope, ...proof.path, ...(proof.event?.path ?? []), ...(proof.consistency?.path ?? [])]
        if (proof.event !== undefined) parts.push(proof.event.leaf_hash)
        const bytes = parts[part % parts.length]
        if (bytes === undefined) return
        const at = place % bytes.length
        bytes[at] = (bytes[at] ?? 0) ^ change
        expect(holds(proof)).toBe(false)
      }),
      { numRuns: 300 },
    )
  })

  it('is not believed for another sequence, event, size or ledger than it is of', async () => {
    const proof = await proofOf(history, { seq: 4, treeSize: size, fromSize: 3 })
    const checkpoint = checkpointOf(history, size)
    const receipt = receiptOf(history, 4)
    const errorOf = (kept: KeptReceipt, of = checkpoint) => verifyProof(proof, kept, of)
    expect(errorOf({ ...receipt, seq: 5 })).toMatchObject({ ok: false, error: 'the proof is of another sequence' })
    expect(errorOf({ ...receipt, index: 200 })).toMatchObject({ ok: false, error: 'the commit has no such event' })
    expect(errorOf({ ...receipt, hash: 'ab'.repeat(32) })).toMatchObject({ ok: false })
    expect(errorOf(receipt, checkpointOf(history, 5))).toMatchObject({ ok: false })
    expect(errorOf(receipt, { ...checkpoint, origin: 'other/0123456789abcdef' })).toMatchObject({ ok: false })
    expect(verifyConsistency(proof, checkpointOf(history, 4), checkpoint)).toMatchObject({ ok: false })
    expect(verifyEventProof(proof)).toMatchObject({ ok: false })
  })
})

describe('a kept receipt', () => {
  it('shows that a ledger was cut and grew again: no proof fits both it and any later checkpoint', async () => {
    const before = createHistory()
    const seq = before.messages.length
    const receipt = receiptOf(before, seq)
    const early = checkpointOf(before, seq)
    // The tail is cut off, and other commits take its place, signed by the same keys.
    const after = createSampleHistory(6)
    for (let n = 10; n < 14; n += 1) after.append([toEncrypted(n)])
    const size = after.messages.length
    const proof = await proofOf(after, { seq, treeSize: size, fromSize: seq })
    const late = checkpointOf(after, size)
    expect(verifyProof(proof, receipt, late)).toMatchObject({ error: 'the commit is not the one of the receipt' })
    expect(verifyConsistency(proof, early, late)).toMatchObject({
      error: 'the earlier ledger is not the beginning of the later one',
    })
    // The envelope of the receipt, had the service kept it, does not stand in the new tree either.
    const [old] = [commitsOf(before)[seq - 1]]
    if (old === undefined) throw new Error('no commit')
    expect(verifyProof({ ...proof, envelope: old.envelope }, receipt, late)).toMatchObject({
      error: 'the commit does not stand in the tree of the checkpoint',
    })
  })
})

describe('a checkpoint', () => {
  const history = createHistory()
  it('is believed with the pinned key and enough witnesses', () => {
    expect(checkpointOf(history, 5)).toMatchObject({ origin: ORIGIN, size: 5, witnesses: [witness.name] })
    expect(verifyCheckpoint(noteOf(history, 5), { ...trust, witnessesMin: 2 }).ok).toBe(false)
    const stranger = { ...log, key: unwrap(parseVerifyKey(createSigner('stranger').publicKey)) }
    expect(verifyCheckpoint(noteOf(history, 5), { vkeys: [formatNoteKey(stranger)] }).ok).toBe(false)
    expect(verifyCheckpoint(noteOf(history, 5), { vkeys: [] }).ok).toBe(false)
    expect(verifyCheckpoint(noteOf(history, 5), { vkeys: ['x'] }).ok).toBe(false)
  })
})
