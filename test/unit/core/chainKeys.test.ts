import { beforeEach, describe, expect, test } from 'vitest'
import { startChain } from '../../../src/core/chain.ts'
import { findingsOf, lastOf, SMALL_ORDER } from '../../fixtures/chainFindings.ts'
import {
  createHistory,
  createSigner,
  type History,
  ORIGIN,
  toEncrypted,
  toInternalEvent,
  toKeyCreated,
} from '../../fixtures/ledgerHistory.ts'

let history: History
beforeEach(() => {
  history = createHistory()
})

describe('LedgerCreated (kind 1)', () => {
  test('begins a ledger', () => {
    history.created()
    expect(lastOf(history)).toBe('ok')
    expect(history.state()).toMatchObject({ seq: 1, epoch: 0, events: 1, expects: 'epoch' })
  })

  test.each([
    ['with first 1', { first: 1 }, /head.first/],
    ['with prev not zeros', { prev: new Uint8Array(32).fill(1) }, /head.prev/],
    ['in epoch 1', { epoch: 1 }, /head.epoch is not 0/],
    ['of another origin', { origin: 'other/0123456789abcdef' }, /another ledger/],
    ['with another root key in its data', { rootPublicKey: createSigner('x').publicKey }, /not the pinned one/],
    ['signed by another key', { signer: createSigner('x') }, /kid is not of the root/],
    [
      "signed by another key under the root's kid",
      { signer: createSigner('x'), kid: createSigner('root').kid },
      /signature is not by the root/,
    ],
    ['with another kid', { kid: createSigner('x').kid }, /kid is not of the root/],
    ['on the usage subject', { subject: 'kms.ledger.usage' }, /state change stands on the usage/],
    ['with another seq in its head', { seq: 2 }, /head.seq is 2/],
  ])('is refused %s', (_name, bend, reason) => {
    history.created(bend)
    expect(lastOf(history)).toMatch(reason)
  })

  test('is refused at any other sequence', () => {
    history.skip()
    history.created()
    expect(lastOf(history)).toMatch(/follows 1/)
    const second = createHistory()
    second.created()
    second.created()
    expect(lastOf(second)).toMatch(/elsewhere than at sequence 1/)
  })

  test('cannot be replaced: nothing else begins a ledger', () => {
    const opened = createHistory()
    opened.opened('e')
    expect(lastOf(opened)).toMatch(/before LedgerCreated/)
    const usage = createHistory()
    usage.append([toEncrypted(1)], { signer: usage.root() })
    expect(lastOf(usage)).toMatch(/does not begin with LedgerCreated/)
    const recovered = createHistory()
    recovered.recovered()
    expect(lastOf(recovered)).toMatch(/before LedgerCreated/)
    const rotated = createHistory()
    rotated.rotated('new root')
    expect(lastOf(rotated)).toMatch(/where an epoch must be opened/)
  })

  test.each(SMALL_ORDER)('a pinned root of small order is refused', (rootPublicKey) => {
    expect(() => startChain({ origin: ORIGIN, rootPublicKey })).toThrow()
  })
})

describe('EpochOpened (kind 2)', () => {
  beforeEach(() => {
    history.created()
  })

  test('opens epoch 1 in commit 2, and later ones at any time', () => {
    history.opened('e1')
    expect(history.state()).toMatchObject({ seq: 2, epoch: 1, expects: 'append' })
    history.opened('e2')
    history.append([toEncrypted(1)])
    history.opened('e3')
    expect(findingsOf(history)).toEqual([])
    expect(history.state()).toMatchObject({ seq: 5, epoch: 3 })
  })

  const other = createSigner('other')
  test.each([
    ['two epochs on', { epoch: 2 }, /head.epoch is 2, the last epoch 0/],
    ['in the same epoch', { epoch: 0 }, /head.epoch is 0/],
    ['with a kid in its data that is not of the key', { dataKid: other.kid }, /kid is not of the public key/],
    ['with a kid in its envelope that is not of the key', { kid: other.kid }, /kid is not of the public key/],
    ['signed by another key', { signer: other, kid: createSigner('e').kid }, /not by the new epoch key/],
    ['attested by another key', { attester: other }, /attestation/],
    ['attested for another origin', { attest: { origin: 'other/0123456789abcdef' } }, /attestation/],
    ['attested for another epoch', { attest: { epoch: 7 } }, /attestation/],
    ['attested for another sequence', { attest: { seq: 7 } }, /attestation/],
    ['attested for another history', { attest: { prev: new Uint8Array(32) } }, /attestation/],
    ['attested for another kid', { attest: { kid: other.kid } }, /attestation/],
    ['attested for another key', { attest: { publicKey: other.publicKey } }, /attestation/],
    ['with another prev', { prev: new Uint8Array(32).fill(7) }, /head.prev/],
    ['with another first', { first: 7 }, /head.first/],
  ])('is refused %s', (_name, bend, reason) => {
    history.opened('e', bend)
    expect(lastOf(history)).toMatch(reason)
  })

  test.each(SMALL_ORDER)('is refused with a key of small order', (publicKey) => {
    history.opened('e', { publicKey })
    expect(lastOf(history)).toMatch(/small order/)
  })

  test('is refused beside another event', () => {
    history.opened('e')
    const data = { writer: 'w', kid: 'a'.repeat(32), public_key: new Uint8Array(32), attestation: new Uint8Array(64) }
    history.append([toInternalEvent('EpochOpened', data, 1), toKeyCreated(2)])
    expect(lastOf(history)).toMatch(/does not stand alone/)
  })

  test('is refused with malformed data', () => {
    const data = { writer: 'w', kid: 'a'.repeat(32), public_key: new Uint8Array(31), attestation: new Uint8Array(64) }
    history.append([toInternalEvent('EpochOpened', data, 1)], { signer: createSigner('e') })
    expect(lastOf(history)).toMatch(/data of EpochOpened are malformed/)
  })
})

describe('RootRotated (kind 3)', () => {
  beforeEach(() => {
    history.created()
    history.opened('e1')
  })

  test('hands over to a new root, which attests the next epoch', () => {
    history.rotated('root 2')
    expect(history.state()).toMatchObject({ epoch: 1, expects: 'epoch' })
    history.opened('e2')
    history.append([toEncrypted(1)])
    expect(findingsOf(history)).toEqual([])
  })

  test('ends the right of the old root to attest', () => {
    const old = history.root()
    history.rotated('root 2')
    history.opened('e2', { attester: old })
    expect(lastOf(history)).toMatch(/attestation/)
  })

  test('is followed by nothing but an epoch', () => {
    history.rotated('root 2')
    history.append([toEncrypted(1)])
    expect(lastOf(history)).toMatch(/an epoch must be opened first/)
    history = createHistory()
    history.created()
    history.opened('e1')
    history.rotated('root 2')
    history.rotated('root 3')
    expect(lastOf(history)).toMatch(/where an epoch must be opened/)
  })

  const other = createSigner('other')
  test.each([
    ['signed by the epoch key', { signer: createSigner('e1') }, /kid is not of the root/],
    ['in another epoch', { epoch: 2 }, /head.epoch is 2/],
    ['without agreement of the new root', { publicKey: other.publicKey }, /signature_new/],
    ['agreed for another origin', { attest: { origin: 'other/0123456789abcdef' } }, /signature_new/],
    ['agreed for another sequence', { attest: { seq: 9 } }, /signature_new/],
    ['agreed for another history', { attest: { prev: new Uint8Array(32) } }, /signature_new/],
    ['agreed for another key', { attest: { publicKey: other.publicKey } }, /signature_new/],
  ])('is refused %s', (_name, bend, reason) => {
    history.rotated('root 2', bend)
    expect(lastOf(history)).toMatch(reason)
  })

  test.each(SMALL_ORDER)('is refused with a root of small order', (publicKey) => {
    history.rotated('root 2', { publicKey })
    expect(lastOf(history)).toMatch(/small order/)
  })
})
