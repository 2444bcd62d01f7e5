import { beforeEach, describe, expect, test } from 'vitest'
import { extendChain, startChain, stepChain } from '../../../src/core/chain.ts'
import { encodeCommit, encodeEvent } from '../../../src/core/commit.ts'
import { findingsOf, lastOf } from '../../fixtures/chainFindings.ts'
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

let history: History
beforeEach(() => {
  history = createHistory()
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
