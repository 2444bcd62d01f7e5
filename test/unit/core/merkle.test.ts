import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { isIncluded, toInclusionPath, toLeafHash, toMerkleRoot } from '../../../src/core/merkle.ts'

const sha = (...parts: Uint8Array[]): Buffer => createHash('sha256').update(Buffer.concat(parts)).digest()

/** RFC 6962 §2.1 by its own recursive words, as the second implementation. */
const rootByTheBook = (leaves: readonly Uint8Array[]): Buffer => {
  const [only] = leaves
  if (only === undefined) return sha()
  if (leaves.length === 1) return sha(Buffer.of(0), only)
  let split = 1
  while (split * 2 < leaves.length) split *= 2
  return sha(Buffer.of(1), rootByTheBook(leaves.slice(0, split)), rootByTheBook(leaves.slice(split)))
}

const leavesOf = (count: number): Uint8Array[] =>
  Array.from({ length: count }, (_, index) => Buffer.from(`leaf ${index}`))
const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

describe('the Merkle tree of a commit', () => {
  test('has the roots of RFC 6962 for 0 to 70 leaves and for 256', () => {
    for (const count of [...Array(71).keys(), 256])
      expect(hexOf(toMerkleRoot(leavesOf(count)))).toBe(hexOf(rootByTheBook(leavesOf(count))))
  })

  test('has the known roots of the Certificate Transparency test leaves', () => {
    const leaves = [
      '',
      '00',
      '10',
      '2021',
      '3031',
      '40414243',
      '5051525354555657',
      '606162636465666768696a6b6c6d6e6f',
    ].map((text) => Buffer.from(text, 'hex'))
    expect(hexOf(toMerkleRoot(leaves))).toBe('5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328')
    expect(hexOf(toMerkleRoot([]))).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855')
  })

  test('proves each leaf, and no other leaf, place, size, path or root', () => {
    for (const size of [1, 2, 3, 5, 8, 13, 64, 100]) {
      const leaves = leavesOf(size)
      const root = toMerkleRoot(leaves)
      for (const [index, leaf] of leaves.entries()) {
        const proof = { leafHash: toLeafHash(leaf), index, size, path: toInclusionPath(leaves, index), root }
        expect(isIncluded(proof)).toBe(true)
        expect(isIncluded({ ...proof, leafHash: toLeafHash(Buffer.from('other')) })).toBe(false)
        expect(isIncluded({ ...proof, index: index + 1 })).toBe(false)
        expect(isIncluded({ ...proof, index: -1 })).toBe(false)
        expect(isIncluded({ ...proof, path: [...proof.path, root] })).toBe(false)
        if (proof.path.length > 0) expect(isIncluded({ ...proof, path: proof.path.slice(1) })).toBe(false)
        expect(isIncluded({ ...proof, root: toLeafHash(root) })).toBe(false)
      }
    }
  })
})
