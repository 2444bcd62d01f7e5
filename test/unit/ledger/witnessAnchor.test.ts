import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { toCheckpointText } from '../../../src/core/checkpoint.ts'
import { parseVerifyKey } from '../../../src/core/ed25519.ts'
import { toLeafHash } from '../../../src/core/merkle.ts'
import { formatSignatures, type NoteKey, toNoteSignature, verifyNote } from '../../../src/core/signedNote.ts'
import type { SignedCheckpoint } from '../../../src/ledger/anchors/anchor.ts'
import { createWitnessAnchor } from '../../../src/ledger/anchors/witnessAnchor.ts'
import { unwrap } from '../../fixtures/ledgerEntries.ts'
import { createSigner, ORIGIN } from '../../fixtures/ledgerHistory.ts'
import { createTreeOfLeaves } from '../../fixtures/treeOfLeaves.ts'
import { startWitness, type TestWitness } from '../../fixtures/witness.ts'

const root = createSigner('root')
const logKey: NoteKey = { name: ORIGIN, type: 'ed25519', key: unwrap(parseVerifyKey(root.publicKey)) }
const treeOf = (kind: string) =>
  createTreeOfLeaves(Array.from({ length: 40 }, (_, n) => toLeafHash(Buffer.from(`${kind} ${n}`))))
const tree = treeOf('leaf')
const fork = treeOf('other leaf')

const signed = (size: number, of = tree, by = root): SignedCheckpoint => {
  const checkpoint = { origin: ORIGIN, size, root: of.root(size) }
  const text = toCheckpointText(checkpoint)
  return {
    checkpoint,
    note: { text, signatures: [toNoteSignature(logKey, by.sign(Buffer.from(text)))] },
    signedAtMs: 0,
  }
}

let witness: TestWitness
beforeEach(async () => {
  witness = await startWitness({ logs: new Map([[ORIGIN, logKey]]) })
})
afterEach(() => witness[Symbol.asyncDispose]())
const soon = () => AbortSignal.timeout(5_000)
const connect = () => createWitnessAnchor(witness.url, witness.key)

describe('a witness', () => {
  it('cosigns one checkpoint after the other, each with one request, and the cosignatures verify', async () => {
    const anchor = connect()
    for (const size of [1, 7, 8, 31, 40]) {
      const { note, ...rest } = signed(size)
      const kept = await anchor.keep({ note, ...rest }, tree, soon())
      if (kept.kind !== 'kept') throw new Error(kept.why)
      const cosigned = { ...note, signatures: [...note.signatures, ...kept.cosignatures] }
      expect(unwrap(verifyNote(cosigned, [witness.key]))).toMatchObject([{ key: { name: witness.key.name } }])
    }
    expect(witness.answers).toEqual([200, 200, 200, 200, 200])
    expect(witness.state.get(ORIGIN)?.size).toBe(40)
  })

  it('cosigns the same checkpoint again', async () => {
    const anchor = connect()
    for (let n = 0; n < 2; n += 1) expect((await anchor.keep(signed(9), tree, soon())).kind).toBe('kept')
    expect(witness.answers).toEqual([200, 200])
  })

  it('that has seen more than this process knows of is asked once more, from there', async () => {
    await connect().keep(signed(12), tree, soon())
    expect((await connect().keep(signed(20), tree, soon())).kind).toBe('kept')
    expect(witness.answers).toEqual([200, 409, 200])
  })

  it('tells what it has seen to who shows a checkpoint, and nothing before there is one', async () => {
    const first = connect()
    expect(await first.recall(undefined, soon())).toEqual({ kind: 'nothing' })
    await first.keep(signed(12), tree, soon())
    const second = connect()
    expect(await second.recall(signed(5).note, soon())).toEqual({ kind: 'remembers', what: { size: 12 } })
    expect((await second.keep(signed(20), tree, soon())).kind).toBe('kept')
    expect(witness.answers).toEqual([200, 409, 200])
  })

  it('that forgot everything takes the checkpoint it is shown as its first', async () => {
    expect(await connect().recall(signed(5).note, soon())).toEqual({ kind: 'remembers', what: { size: 5 } })
  })

  it('says when the ledger was rolled back', async () => {
    await connect().keep(signed(30), tree, soon())
    const anchor = connect()
    expect(await anchor.keep(signed(20), tree, soon())).toMatchObject({ kind: 'ahead' })
    expect(await anchor.keep(signed(21), tree, soon())).toMatchObject({ kind: 'ahead' })
    expect(witness.answers).toEqual([200, 409])
  })

  it('does not cosign another history that goes on from what it has seen, nor another root at the same size', async () => {
    await connect().keep(signed(20), tree, soon())
    expect(await connect().keep(signed(30, fork), fork, soon())).toMatchObject({ kind: 'disagrees' })
    expect(await connect().keep(signed(20, fork), fork, soon())).toMatchObject({ kind: 'disagrees' })
    expect(witness.answers).toEqual([200, 409, 422, 409, 409])
    expect(Buffer.from(witness.state.get(ORIGIN)?.root ?? []).equals(tree.root(20))).toBe(true)
  })

  it('lets only one of two histories pass when they are submitted at once', async () => {
    const kept = await Promise.all([
      connect().keep(signed(10), tree, soon()),
      connect().keep(signed(11, fork), fork, soon()),
    ])
    expect(kept.filter(({ kind }) => kind === 'kept')).toHaveLength(1)
    expect(kept.some(({ kind }) => kind === 'ahead' || kind === 'disagrees')).toBe(true)
  })

  it('answers two processes of one ledger that submit at once, and keeps the larger', async () => {
    const kept = await Promise.all([10, 25].map((size) => connect().keep(signed(size), tree, soon())))
    expect(kept.some(({ kind }) => kind === 'kept')).toBe(true)
    expect(witness.state.get(ORIGIN)?.size).toBe(25)
  })

  it.each([
    ['does not know the ledger', () => ({ status: 404, body: '' })],
    ['was told another root key', () => ({ status: 403, body: '' })],
    ['fails', () => ({ status: 500, body: '' })],
    ['answers no signature', () => ({ status: 200, body: '' })],
    ['answers a signature that does not hold', () => ({ status: 200, body: bent(witness) })],
    ['answers with another’s signature', () => ({ status: 200, body: bent(witness, 'stranger.example') })],
    ['redirects', () => ({ status: 302, body: '' })],
    ['answers without end', () => ({ status: 200, body: 'x'.repeat(200_000) })],
  ])('that %s vouches for nothing and accuses nobody', async (_what, answer) => {
    witness.failing = answer()
    expect(await connect().keep(signed(5), tree, soon())).toMatchObject({ kind: 'unanswered' })
    expect(await connect().recall(signed(5).note, soon())).toMatchObject({ kind: 'unanswered' })
  })

  it('that tells a size without end, again and again, is asked twice at most', async () => {
    witness.failing = { status: 409, body: '3\n', type: 'text/x.tlog.size' }
    expect(await connect().keep(signed(5), tree, soon())).toMatchObject({ kind: 'unanswered' })
    expect(witness.answers).toEqual([409, 409])
  })

  it('that does not answer is given up when the time is over', async () => {
    witness.silent = true
    expect(await connect().keep(signed(5), tree, AbortSignal.timeout(100))).toMatchObject({ kind: 'unanswered' })
  })
})

const bent = ({ key }: TestWitness, name = key.name): string =>
  formatSignatures([{ name, keyId: '00000000', signature: new Uint8Array(72) }])
