import { createHash } from 'node:crypto'
import { beforeEach, describe, expect, test } from 'vitest'
import { lastOf } from '../../fixtures/chainFindings.ts'
import { createHistory, createSigner, type History, toEncrypted } from '../../fixtures/ledgerHistory.ts'

let history: History
beforeEach(() => {
  history = createHistory()
})

describe('LedgerRecovered (kind 4)', () => {
  beforeEach(() => {
    history.created()
    history.opened('e1')
    history.append([toEncrypted(1)])
  })

  test('goes on after bad and missing messages, then wants an epoch', () => {
    history.appendRaw(Buffer.from('a stranger'))
    history.skip()
    history.skip()
    history.appendRaw(Buffer.from('again'))
    history.skip()
    history.recovered()
    expect(history.state()).toMatchObject({ seq: 9, epoch: 1, gap: undefined, expects: 'recovered' })
    history.append([toEncrypted(2)])
    expect(lastOf(history)).toMatch(/an epoch must be opened first/)
  })

  test('is followed by an epoch and an ordinary life', () => {
    history.appendRaw(Buffer.from('a stranger'))
    history.recovered()
    history.opened('e2')
    history.append([toEncrypted(2)])
    expect(history.state()).toMatchObject({ seq: 7, epoch: 2, gap: undefined })
  })

  test('names the digest of docs/LEDGER.md', () => {
    history.appendRaw(Buffer.from('one'))
    history.skip()
    const sha = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest()
    history.recovered({ digest: sha(Buffer.concat([sha(Buffer.from('one')), Buffer.alloc(32)])) })
    expect(lastOf(history)).toBe('ok')
  })

  test('with nothing to recover has from = to + 1 and the digest of nothing', () => {
    history.recovered({ from: 4, to: 3, digest: createHash('sha256').digest() })
    expect(lastOf(history)).toBe('ok')
  })

  const bends = [
    ['signed by the epoch key', { signer: createSigner('e1') }, /kid is not of the root/],
    [
      'signed by a stranger under the kid of the root',
      { signer: createSigner('x'), kid: createSigner('root').kid },
      /signature is not by the root/,
    ],
    ['in the next epoch', { epoch: 2 }, /head.epoch is 2/],
    ['that begins too late', { from: 5 }, /do not name/],
    ['that ends too early', { to: 3 }, /do not name/],
    ['with another digest', { digest: new Uint8Array(32) }, /digest/],
    ['that goes on from a bad commit', { prev: new Uint8Array(32) }, /head.prev/],
    ['that counts events of bad commits', { first: 9 }, /head.first/],
  ] as const
  test.each(bends)('is refused %s', (_name, bend, reason) => {
    history.appendRaw(Buffer.from('a stranger'))
    history.recovered(bend)
    expect(lastOf(history)).toMatch(reason)
  })

  test('is the only commit that goes on: what follows a bad message is bad as well', () => {
    history.appendRaw(Buffer.from('a stranger'))
    history.append([toEncrypted(2)])
    expect(lastOf(history)).toMatch(/follows 4/)
    history.opened('e2')
    expect(lastOf(history)).toMatch(/follows 4/)
    history.append([toEncrypted(3)], { signer: createSigner('x'), kid: createSigner('e1').kid })
    expect(lastOf(history)).toMatch(/signature is not by/)
  })

  test('may follow another one, and a RootRotated whose epoch it keeps pending', () => {
    history.recovered()
    history.appendRaw(Buffer.from('a stranger'))
    history.recovered()
    expect(lastOf(history)).toBe('ok')
    history.rotated('root 2')
    history.appendRaw(Buffer.from('a stranger'))
    history.recovered()
    expect(history.state()).toMatchObject({ expects: 'epoch', gap: undefined })
    history.opened('e2')
    expect(lastOf(history)).toBe('ok')
  })

  test('covers a refused LedgerRecovered too', () => {
    history.appendRaw(Buffer.from('a stranger'))
    history.recovered({ digest: new Uint8Array(32) })
    history.recovered()
    expect(history.state()).toMatchObject({ seq: 6, gap: undefined })
  })
})
