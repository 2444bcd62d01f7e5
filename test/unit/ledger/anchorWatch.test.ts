import { describe, expect, it } from 'vitest'
import { toCheckpointText } from '../../../src/core/checkpoint.ts'
import { rootOf } from '../../../src/core/compactRange.ts'
import { parseVerifyKey } from '../../../src/core/ed25519.ts'
import { type SignedNote, toNoteSignature } from '../../../src/core/signedNote.ts'
import { createAnchorWatch, type NamedMemory } from '../../../src/ledger/anchors/watch.ts'
import type { Tip } from '../../../src/ledger/tip.ts'
import { unwrap } from '../../fixtures/ledgerEntries.ts'
import { createSampleHistory, createSigner, type History, ORIGIN, toEncrypted } from '../../fixtures/ledgerHistory.ts'
import { readTips } from '../../fixtures/tips.ts'

/** What a start finds, that has read the history and was told these memories. */
const judge = (tips: readonly Tip[], ...memories: readonly Omit<NamedMemory, 'name'>[]): string | undefined => {
  const watch = createAnchorWatch(memories.map((memory, at) => ({ ...memory, name: `anchor ${at}` })))
  for (const [at, tip] of tips.entries()) {
    const before = tips[at - 1]
    if (before !== undefined) watch.see(before, tip)
  }
  const end = tips.at(-1)
  return end && watch.judge(end)?.kind
}
const rootAt = (tips: readonly Tip[], size: number): Uint8Array => {
  const tip = tips.find(({ tree }) => tree.range.size === size)
  if (tip === undefined) throw new Error(`no tip of size ${size}`)
  return rootOf(tip.tree.range)
}
const signedNote = (size: number, root: Uint8Array, by: string): SignedNote => {
  const signer = createSigner(by)
  const text = toCheckpointText({ origin: ORIGIN, size, root })
  const key = { name: ORIGIN, type: 'ed25519' as const, key: unwrap(parseVerifyKey(signer.publicKey)) }
  return { text, signatures: [toNoteSignature(key, signer.sign(Buffer.from(text)))] }
}
/** Two roots, and a gap of a message and a hole that was recovered: sequences 10 and 11. */
const createTour = (lost: { size: number; hash: string }[] = []): History => {
  const history = createSampleHistory(3)
  history.rotated('root 2')
  history.opened('epoch-3')
  history.append([toEncrypted(500)])
  history.appendRaw(Buffer.from('not a commit'))
  history.skip()
  history.recovered({ lost })
  history.opened('epoch-4')
  return history
}

describe('what anchors remember', () => {
  const tips = readTips(createTour())
  const end = tips.at(-1)?.view.at.seq ?? 0

  it('is met at each size, by hash and by root', () => {
    for (const { view, tree } of tips.slice(1)) {
      const { seq: size, hash } = view.at
      if (tree.range.size === size)
        expect(judge(tips, { size, hash }, { size, root: rootOf(tree.range) })).toBeUndefined()
    }
  })

  it('is not met by another hash or root, nor beyond the end', () => {
    expect(judge(tips, { size: 4, hash: 'ab'.repeat(32) })).toBe('anchor_disagrees')
    expect(judge(tips, { size: 4, root: new Uint8Array(32) })).toBe('anchor_disagrees')
    expect(judge(tips, { size: 4, root: rootAt(tips, 5) })).toBe('anchor_disagrees')
    expect(judge(tips, { size: end + 1 })).toBe('shorter_than_anchor')
    expect(judge(tips, { size: end })).toBeUndefined()
  })

  it('at a size within a gap that was recovered is a root, and never a hash', () => {
    const [before, after] = [tips.find(({ view }) => view.at.seq === 9), tips.find(({ view }) => view.at.seq === 12)]
    if (before === undefined || after === undefined) throw new Error('the tour has changed')
    expect(after.tree.added).toHaveLength(3)
    expect(judge(tips, { size: 10, hash: before.view.at.hash })).toBe('anchor_disagrees')
    expect(judge(tips, { size: 10, root: rootAt(tips, 9) })).toBe('anchor_disagrees')
    expect(judge(tips, { size: 12, root: rootAt(tips, 12) })).toBeUndefined()
  })

  it('in a checkpoint is believed only by the root key that was in force at its size', () => {
    const memoryOf = (size: number, by: string) => {
      const root = rootAt(tips, size)
      return { size, root, note: signedNote(size, root, by) }
    }
    expect(judge(tips, memoryOf(6, 'root'))).toBeUndefined()
    expect(judge(tips, memoryOf(6, 'root 2'))).toBe('anchor_disagrees')
    expect(judge(tips, memoryOf(9, 'root 2'))).toBeUndefined()
    expect(judge(tips, memoryOf(9, 'root'))).toBe('anchor_disagrees')
    expect(judge(tips, memoryOf(9, 'stranger'))).toBe('anchor_disagrees')
  })

  it('does not count any more once a recovery has given it up, and only that', () => {
    const hash = 'ab'.repeat(32)
    const recovered = readTips(
      createTour([
        { size: 4, hash },
        { size: 99, hash: '0'.repeat(64) },
      ]),
    )
    expect(judge(recovered, { size: 4, hash })).toBeUndefined()
    expect(judge(recovered, { size: 4, root: Buffer.from(hash, 'hex') })).toBeUndefined()
    expect(judge(recovered, { size: 4, hash: 'cd'.repeat(32) })).toBe('anchor_disagrees')
    expect(judge(recovered, { size: 5, hash })).toBe('anchor_disagrees')
    // A witness tells its size alone.
    expect(judge(recovered, { size: 99 })).toBeUndefined()
    expect(judge(recovered, { size: 99, hash })).toBe('shorter_than_anchor')
    expect(judge(recovered, { size: 98 })).toBe('shorter_than_anchor')
  })
})
