import { createHash } from 'node:crypto'
import { appendFile, mkdtemp, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { isIncluded, toLeafHash } from '../../../src/core/merkle.ts'
import { isConsistent } from '../../../src/core/merkleProof.ts'
import { EMPTY_GROWTH, type Growth, growTree, skipLeaves } from '../../../src/ledger/growth.ts'
import { openTreeFile } from '../../../src/ledger/treeFile.ts'
import { createTreeOfLeaves } from '../../fixtures/treeOfLeaves.ts'

let folder: string
let path: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kms-tree-'))
  path = join(folder, 'tree')
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const ORIGIN = 'test/0123456789abcdef'
const leafOf = (n: number, kind = 'leaf') => toLeafHash(Buffer.from(`${kind} ${n}`))
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')

/** The steps to a tree of `count` leaves. */
const growTo = (count: number, leaf = leafOf): readonly Growth[] => {
  const steps: Growth[] = []
  for (let n = 0; n < count; n += 1) steps.push(growTree(steps.at(-1) ?? EMPTY_GROWTH, undefined, leaf(n)))
  return steps
}
const fill = async (count: number, leaf = leafOf): Promise<void> => {
  const tree = openTreeFile(path, ORIGIN)
  for (const step of growTo(count, leaf)) tree.put(step)
  await tree.close()
}

describe('the tree file', () => {
  it('takes 64 bytes a commit and a header, and its nodes give the roots and proofs of the leaves', async () => {
    await fill(100)
    // Of n leaves every perfect subtree: 2n less the ones in n's binary form.
    expect((await stat(path)).size).toBe(32 + 32 * (2 * 100 - 3))
    const tree = openTreeFile(path, ORIGIN)
    for (const step of growTo(100)) tree.put(step)
    const reference = createTreeOfLeaves(Array.from({ length: 100 }, (_, n) => leafOf(n)))
    for (let size = 1; size <= 100; size += 7) {
      const root = tree.root(size)
      expect(hex(root)).toBe(hex(reference.root(size)))
      for (let index = 0; index < size; index += 5)
        expect(isIncluded({ leafHash: leafOf(index), index, size, root, path: tree.inclusion(index, size) })).toBe(true)
      const proof = { oldSize: size, oldRoot: root, size: 100, root: tree.root(100), path: tree.consistency(size, 100) }
      expect(isConsistent(proof)).toBe(true)
    }
    await tree.close()
  })

  it('serves what is not on the disk yet, and not a size beyond what was put', async () => {
    const tree = openTreeFile(path, ORIGIN)
    for (const step of growTo(9)) tree.put(step)
    const reference = createTreeOfLeaves(Array.from({ length: 9 }, (_, n) => leafOf(n)))
    expect(hex(tree.root(9))).toBe(hex(reference.root(9)))
    expect((await stat(path)).size).toBe(32)
    await tree.flush()
    expect((await stat(path)).size).toBe(32 + 32 * (18 - 2))
    expect(hex(tree.root(9))).toBe(hex(reference.root(9)))
    expect(() => tree.root(10)).toThrow()
    expect(() => tree.consistency(3, 10)).toThrow()
    await tree.close()
  })

  it('believes nothing in the file before the ledger was read that far', async () => {
    await fill(10)
    const tree = openTreeFile(path, ORIGIN)
    expect(tree.size).toBe(0)
    expect(() => tree.root(1)).toThrow()
    await tree.close()
  })

  it('is the same file after a restart, torn, lengthened or bent at any byte', async () => {
    await fill(70)
    const expected = await readFile(path)
    await rm(path)
    await fill(64)
    const whole = await readFile(path)
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom('cut', 'bent', 'longer'),
        fc.nat({ max: whole.length - 1 }),
        fc.integer({ min: 1, max: 255 }),
        async (kind, at, change) => {
          const bytes = Buffer.from(whole)
          bytes[at] = (bytes[at] ?? 0) ^ change
          await writeFile(path, kind === 'bent' ? bytes : whole)
          if (kind === 'cut') await truncate(path, at)
          if (kind === 'longer') await appendFile(path, bytes.subarray(0, at))
          const tree = openTreeFile(path, ORIGIN)
          for (const step of growTo(70)) tree.put(step)
          await tree.close()
          return (await readFile(path)).equals(expected)
        },
      ),
      { numRuns: 60 },
    )
  })

  it('begins anew for another ledger, and where the ledger went on otherwise', async () => {
    await fill(20)
    const other = openTreeFile(path, 'other/0123456789abcdef')
    for (const step of growTo(2)) other.put(step)
    await other.close()
    expect((await stat(path)).size).toBe(32 + 32 * 3)
    await rm(path)
    await fill(20)
    const forked = (n: number) => leafOf(n, n < 13 ? 'leaf' : 'other leaf')
    await fill(16, forked)
    const file = await readFile(path)
    await rm(path)
    await fill(16, forked)
    expect(file.equals(await readFile(path))).toBe(true)
  })

  it('takes the leaves of a gap that was recovered, missing ones and others, before the commit that names them', async () => {
    const before = growTo(3).at(-1) ?? EMPTY_GROWTH
    const junk = Buffer.from('junk')
    const gap = skipLeaves(skipLeaves(undefined, { missing: 2, payload: junk }), { missing: 1 })
    const tree = openTreeFile(path, ORIGIN)
    for (const step of growTo(3)) tree.put(step)
    tree.put(growTree(before, gap, leafOf(7)))
    const missing = toLeafHash(Buffer.alloc(32))
    const bad = toLeafHash(createHash('sha256').update(junk).digest())
    const leaves = [leafOf(0), leafOf(1), leafOf(2), missing, missing, bad, missing, leafOf(7)]
    expect(tree.size).toBe(8)
    expect(hex(tree.root(8))).toBe(hex(createTreeOfLeaves(leaves).root(8)))
    await tree.close()
  })
})
