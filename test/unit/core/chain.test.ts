import { createHash } from 'node:crypto'
import { beforeEach, describe, expect, test } from 'vitest'
import { extendChain, startChain, stepChain } from '../../../src/core/chain.ts'
import type { Finding } from '../../../src/core/chainState.ts'
import { encodeCommit, encodeEvent } from '../../../src/core/commit.ts'
import {
  createHistory,
  createSigner,
  type History,
  ORIGIN,
  TIME_MS,
  toEncrypted,
  toInternalEvent,
  toKeyCreated,
} from '../../fixtures/ledgerHistory.ts'

/** Findings of the whole history, read afresh. */
const findingsOf = (history: History, signatures: 'all' | 'fast' = 'all'): readonly Finding[] => {
  let state = startChain(history.pin)
  const findings: Finding[] = []
  for (const message of history.messages) {
    const step = stepChain(state, message, { signatures })
    findings.push(...step.findings)
    state = step.state
  }
  return findings
}
/** The last message's own reason, or `ok`. */
const lastOf = (history: History): string => {
  const last = findingsOf(history).filter(({ seq }) => seq === history.messages.at(-1)?.seq)
  return last[0]?.reason ?? 'ok'
}

let history: History
beforeEach(() => {
  history = createHistory()
})

/** The identity point and a point of order 8: keys under which anyone can sign. */
const SMALL_ORDER = [
  Buffer.from('0100000000000000000000000000000000000000000000000000000000000000', 'hex'),
  Buffer.from('26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05', 'hex'),
]

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

describe('an ordinary commit', () => {
  beforeEach(() => {
    history.created()
  })

  test('is refused before the first epoch', () => {
    history.append([toEncrypted(1)], { signer: history.root() })
    expect(lastOf(history)).toMatch(/an epoch must be opened first/)
  })

  const e1 = createSigner('e1')
  test.each([
    ['of another origin', { origin: 'other/0123456789abcdef' }, /another ledger/],
    ['with another seq', { seq: 9 }, /head.seq is 9/],
    ['with another prev', { prev: new Uint8Array(32) }, /head.prev/],
    ['with first one too high', { first: 3 }, /head.first is 3, the events before are 2/],
    ['with an older epoch', { epoch: 0 }, /head.epoch is 0/],
    ['with a later epoch', { epoch: 2 }, /head.epoch is 2/],
    ["with the root's kid", { signer: createSigner('root') }, /kid is not of the key of the epoch/],
    ['with a stranger as signer', { signer: createSigner('x') }, /kid is not of the key of the epoch/],
    [
      'with a forged signature under the right kid',
      { signer: createSigner('x'), kid: e1.kid },
      /signature is not by the key/,
    ],
  ])('is refused %s', (_name, bend, reason) => {
    history.opened('e1')
    history.append([toEncrypted(1)], bend)
    expect(lastOf(history)).toMatch(reason)
  })

  test('is refused with the key of an epoch that was superseded', () => {
    history.opened('e1')
    history.opened('e2')
    history.append([toEncrypted(1)], { signer: e1, epoch: 1 })
    expect(lastOf(history)).toMatch(/head.epoch is 1, the open epoch 2/)
    history = createHistory()
    history.created()
    history.opened('e1')
    history.opened('e2')
    history.append([toEncrypted(1)], { signer: e1 })
    expect(lastOf(history)).toMatch(/kid is not/)
  })

  test('is refused on another subject than its head says', () => {
    history.opened('e1')
    const [, message] = history.messages
    if (message === undefined) throw new Error('no message')
    const before = startChain(history.pin)
    const genesis = history.messages[0]
    if (genesis === undefined) throw new Error('no genesis')
    const { state } = stepChain(before, genesis, { signatures: 'all' })
    const step = stepChain(state, { ...message, subject: 'kms.ledger.usage' }, { signatures: 'all' })
    expect(step.findings[0]?.reason).toMatch(/another subject/)
  })

  test('does not depend on its time', () => {
    history.opened('e1')
    history.append([toEncrypted(1)])
    expect(findingsOf(history)).toEqual([])
  })

  test('made by this process extends the chain as reading it would', () => {
    history.opened('e1')
    const before = history.state()
    const encoded = history.append([toEncrypted(1), toEncrypted(2)])
    const { stream: _stream, ...read } = history.state()
    expect(extendChain(before, encoded)).toMatchObject(read)
    expect(() => extendChain(history.state(), encoded)).toThrow('out of order')
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

describe('LedgerRolled', () => {
  beforeEach(() => {
    history.created()
    history.opened('e1')
  })

  test('is the last commit of its stream, and the next stream goes on from it', () => {
    history.rolled('KMS_LEDGER_2')
    history.append([toEncrypted(1)])
    expect(findingsOf(history)).toEqual([])
    expect(history.state()).toMatchObject({ seq: 4, stream: 'KMS_LEDGER_2', nextStream: undefined })
  })

  test.each([
    ['in the same stream', 'KMS_LEDGER', /is in stream "KMS_LEDGER", not KMS_LEDGER_2/],
    ['in a stream it does not name', 'OTHER', /is in stream "OTHER"/],
    ['in a stream without name', undefined, /follows LedgerRolled/],
  ])('a commit after it %s is refused', (_name, stream, reason) => {
    history.rolled('KMS_LEDGER_2')
    const rolled = history.state()
    history.append([toEncrypted(1)])
    const message = history.messages.at(-1)
    if (message === undefined) throw new Error('no message')
    const { stream: _own, ...rest } = message
    const step = stepChain(rolled, stream === undefined ? rest : { ...rest, stream }, { signatures: 'all' })
    expect(step.findings[0]?.reason).toMatch(reason)
  })

  test('does not stand beside another event', () => {
    const data = { next_stream: 'KMS_LEDGER_2', archived_to: { size: 2, root: new Uint8Array(32) } }
    history.append([toInternalEvent('LedgerRolled', data, 1), toKeyCreated(2)])
    expect(lastOf(history)).toMatch(/does not stand alone/)
  })

  test('is signed like any ordinary commit', () => {
    const data = { next_stream: 'KMS_LEDGER_2', archived_to: { size: 2, root: new Uint8Array(32) } }
    history.append([toInternalEvent('LedgerRolled', data, 1)], { signer: history.root() })
    expect(lastOf(history)).toMatch(/kid is not of the key of the epoch/)
  })
})

describe('the order of messages', () => {
  test('a sequence twice, one out of order and an absurd jump are findings that nothing cures', () => {
    history.created()
    history.opened('e1')
    const state = history.state()
    for (const seq of [2, 1, 0, 2 ** 40, Number.NaN]) {
      const step = stepChain(
        state,
        { seq, subject: 'kms.ledger.usage', payload: Buffer.alloc(0) },
        { signatures: 'all' },
      )
      expect(step.ok).toBe(false)
      expect(step.findings).toMatchObject([{ kind: 'lasting' }])
      expect(step.state).toBe(state)
    }
  })
})

describe('fast reading', () => {
  const forged = { signer: createSigner('x'), kid: createSigner('e1').kid }
  beforeEach(() => {
    history.created()
    history.opened('e1')
  })

  test('leaves out the signature of a commit on which the next one is chained', () => {
    const e1 = createSigner('e1')
    let state = history.state()
    for (const by of [forged, { signer: e1, kid: e1.kid }]) {
      const encoded = encodeCommit({
        ...{ origin: ORIGIN, epoch: 1, seq: state.seq + 1, first: state.events, timeMs: TIME_MS, prev: state.hash },
        subject: 'kms.ledger.usage',
        events: [encodeEvent(toEncrypted(state.seq))],
        kid: by.kid,
        sign: by.signer.sign,
      })
      const message = { seq: encoded.seq, subject: 'kms.ledger.usage', payload: encoded.message }
      expect(stepChain(state, message, { signatures: 'all' }).ok).toBe(by !== forged)
      const step = stepChain(state, message, { signatures: 'fast' })
      expect(step.ok).toBe(true)
      state = step.state
    }
  })

  test('checks the last commit before a special one, and takes it back if it is forged', () => {
    history.append([toEncrypted(1)])
    history.append([toEncrypted(2)], forged)
    history.opened('e2')
    const findings = findingsOf(history, 'fast')
    expect(findings).toMatchObject([
      { seq: 4, reason: expect.stringContaining('signature'), kind: 'own' },
      { seq: 5, kind: 'consequence' },
    ])
  })

  test('lets a LedgerRecovered name the commit that was taken back', () => {
    history.append([toEncrypted(1)])
    history.append([toEncrypted(2)], forged)
    history.recovered()
    let state = startChain(history.pin)
    for (const message of history.messages) state = stepChain(state, message, { signatures: 'fast' }).state
    expect(state).toMatchObject({ seq: 5, gap: undefined })
  })

  test('agrees with full reading on a healthy ledger, to the last hash', () => {
    for (let id = 0; id < 5; id++) history.append([toEncrypted(id)])
    history.opened('e2')
    history.append([toEncrypted(9)])
    expect(findingsOf(history, 'fast')).toEqual([])
  })
})
