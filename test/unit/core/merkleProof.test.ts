import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isIncluded, toInclusionPath, toLeafHash, toMerkleRoot } from '../../../src/core/merkle.ts'
import { isConsistent, planConsistency, planInclusion } from '../../../src/core/merkleProof.ts'
import { createTreeOfLeaves } from '../../fixtures/treeOfLeaves.ts'

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
const unhex = (text: string): Uint8Array => Buffer.from(text, 'hex')

/** The leaves and the published roots and proofs of the Certificate Transparency test data. */
const CT_LEAVES = ['', '00', '10', '2021', '3031', '40414243', '5051525354555657', '606162636465666768696a6b6c6d6e6f']
const CT_ROOTS = [
  'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
  '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
  '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
  'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
  '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
]
const NODES = {
  leaf0: '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  leaf1: '96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7',
  leaf4: 'bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b',
  to1: 'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  from2to3: '5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e',
  from4to5: '0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a',
  from6to7: 'ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0',
  to3: 'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  from4to7: '6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4',
}
const CT = createTreeOfLeaves(CT_LEAVES.map((leaf) => toLeafHash(unhex(leaf))))

describe('proofs of the ledger’s Merkle tree', () => {
  test('the published roots of Certificate Transparency', () => {
    expect(CT_ROOTS.map((_, size) => hex(CT.root(size)))).toEqual(CT_ROOTS)
  })

  test.each([
    { index: 0, size: 1, path: [] },
    { index: 0, size: 8, path: [NODES.leaf1, NODES.from2to3, NODES.from4to7] },
    { index: 5, size: 8, path: [NODES.leaf4, NODES.from6to7, NODES.to3] },
    { index: 2, size: 3, path: [NODES.to1] },
    { index: 1, size: 5, path: [NODES.leaf0, NODES.from2to3, NODES.leaf4] },
  ])('the published inclusion proof of leaf $index in $size', ({ index, size, path }) => {
    expect(CT.inclusion(index, size).map(hex)).toEqual(path)
  })

  test.each([
    { oldSize: 1, size: 1, path: [] },
    { oldSize: 1, size: 8, path: [NODES.leaf1, NODES.from2to3, NODES.from4to7] },
    { oldSize: 6, size: 8, path: [NODES.from4to5, NODES.from6to7, NODES.to3] },
    { oldSize: 2, size: 5, path: [NODES.from2to3, NODES.leaf4] },
  ])('the published consistency proof from $oldSize to $size', ({ oldSize, size, path }) => {
    expect(CT.consistency(oldSize, size).map(hex)).toEqual(path)
  })

  test('a published witness request verifies, and with another old root it does not', () => {
    const proof = {
      oldSize: 5,
      oldRoot: Buffer.from('41smjBUiAU70EtKlT6lIOIYtRTYxYXsDB+XHfcvu/BE=', 'base64'),
      size: 8,
      root: Buffer.from('V8K9aklZ4EPB+RMOk1/8VsJUdFZR77GDtZUQq84vSbo=', 'base64'),
      path: [
        'b9e1d62618f7fee8034e4c5010f727ab24d8e4705cb296c374bf2025a87a10d2',
        'aac66cd7a79ce4012d80762fe8eec3a77f22d1ca4145c3f4cee022e7efcd599d',
        '89d0f753f66a290c483b39cd5e9eafb12021293395fad3d4a2ad053cfbcfdc9e',
        '29e40bb79c966f4c6fe96aff6f30acfce5f3e8d84c02215175d6e018a5dee833',
      ].map(unhex),
    }
    expect(isConsistent(proof)).toBe(true)
    expect(isConsistent({ ...proof, oldRoot: proof.root })).toBe(false)
  })

  test('every leaf of every size up to 40 has the path that its leaves give, and it verifies', () => {
    const leaves = Array.from({ length: 40 }, (_, index) => Buffer.from(`leaf ${index}`))
    const tree = createTreeOfLeaves(leaves.map((leaf) => toLeafHash(leaf)))
    for (let size = 1; size <= leaves.length; size++) {
      const some = leaves.slice(0, size)
      expect(hex(tree.root(size))).toBe(hex(toMerkleRoot(some)))
      for (const [index, leaf] of some.entries()) {
        const path = tree.inclusion(index, size)
        expect(path.map(hex)).toEqual(toInclusionPath(some, index).map(hex))
        expect(isIncluded({ leafHash: toLeafHash(leaf), index, size, path, root: tree.root(size) })).toBe(true)
      }
    }
  })

  test('every two sizes up to 300 have a consistency proof that verifies, and no other two roots fit it', () => {
    const tree = createTreeOfLeaves(Array.from({ length: 300 }, (_, index) => toLeafHash(Buffer.of(index % 256))))
    const size = fc.integer({ min: 0, max: 300 })
    fc.assert(
      fc.property(size, size, fc.nat(), fc.integer({ min: 1, max: 255 }), (one, other, place, change) => {
        const [oldSize, whole] = one < other ? [one, other] : [other, one]
        const path = tree.consistency(oldSize, whole)
        const proof = { oldSize, oldRoot: tree.root(oldSize), size: whole, root: tree.root(whole), path }
        expect(isConsistent(proof)).toBe(true)
        expect(isConsistent({ ...proof, path: [...path, proof.root] })).toBe(false)
        // From the empty tree everything is consistent, whatever the roots: there is nothing to prove.
        if (oldSize === 0) return
        const parts = [proof.oldRoot, proof.root, ...path].map((part) => new Uint8Array(part))
        const changed = parts[place % parts.length]
        if (changed === undefined) return
        const at = place % 32
        changed[at] = (changed[at] ?? 0) ^ change
        const [oldRoot, root, ...nodes] = parts
        if (oldRoot === undefined || root === undefined) return
        // Equal sizes leave one root to compare with the other.
        expect(isConsistent({ ...proof, oldRoot, root, path: nodes })).toBe(false)
        if (path.length > 0) expect(isConsistent({ ...proof, path: path.slice(1) })).toBe(false)
      }),
      { numRuns: 500 },
    )
  })

  test('sizes that no tree has prove nothing', () => {
    const root = CT.root(8)
    for (const [oldSize, size] of [
      [-1, 8],
      [9, 8],
      [0.5, 8],
      [1, Number.NaN],
    ] as const)
      expect(isConsistent({ oldSize, oldRoot: root, size, root, path: [] })).toBe(false)
  })

  test('a plan for a tree of 2^52 leaves has the length of its height', () => {
    const size = 2 ** 52
    expect(planInclusion(size - 1, size)).toHaveLength(52)
    expect(planConsistency(size / 2, size)).toEqual([[{ level: 51, index: 1 }]])
    expect(() => planInclusion(size, size)).toThrow()
    expect(() => planConsistency(size + 1, size)).toThrow()
  })
})
