import { describe, expect, it } from 'vitest'
import { startChain, stepChain } from '../../../src/core/chain.ts'
import { parseChainPosition, toChainPosition } from '../../../src/core/chainPosition.ts'
import type { ChainState, LedgerMessage } from '../../../src/core/chainState.ts'
import { unwrap } from '../../fixtures/ledgerEntries.ts'
import { createHistory, toEncrypted } from '../../fixtures/ledgerHistory.ts'
import { toPlain } from '../../fixtures/plainView.ts'

const all = { signatures: 'all' } as const

/** A ledger with everything a position must carry over: epochs, a new root, a recovery, another stream. */
const createLongHistory = () => {
  const history = createHistory()
  history.created()
  history.opened('one')
  history.append([toEncrypted(0), toEncrypted(1)])
  history.rotated('second root')
  history.opened('two')
  history.append([toEncrypted(0)])
  history.appendRaw(Buffer.from('garbage'))
  history.recovered()
  history.opened('three')
  history.append([toEncrypted(0), toEncrypted(1), toEncrypted(2)])
  history.rolled('KMS_LEDGER_2')
  history.append([toEncrypted(3)])
  return history
}

const walk = (from: ChainState, messages: readonly LedgerMessage[]): ChainState =>
  messages.reduce((state, message) => stepChain(state, message, all).state, from)

describe('a kept position in the chain', () => {
  it('goes on, after any commit, as if the reader had never stopped', () => {
    const { pin, messages } = createLongHistory()
    const end = toPlain({ ...walk(startChain(pin), messages), root: 0, epochKey: 0 })
    let state = startChain(pin)
    for (const [at, message] of messages.entries()) {
      state = stepChain(state, message, all).state
      if (state.gap !== undefined) continue
      const kept = unwrap(parseChainPosition(JSON.parse(JSON.stringify(toChainPosition(state))), pin))
      const resumed = walk(kept, messages.slice(at + 1))
      expect(toPlain({ ...resumed, root: 0, epochKey: 0 })).toEqual(end)
    }
    expect(state.seq).toBe(messages.length)
  })

  it('is never one inside a gap', () => {
    const { pin, messages } = createLongHistory()
    expect(() => toChainPosition(walk(startChain(pin), messages.slice(0, 7)))).toThrow(/gap/)
  })

  it.each([
    ['nothing', null],
    ['another version', { v: 2 }],
    ['another ledger', { origin: 'other/0123456789abcdef' }],
    ['a negative sequence', { seq: -1 }],
    ['a short hash', { hash: 'ab' }],
    ['a key of small order', { root_key: Buffer.alloc(32).toString('base64') }],
    ['an unknown expectation', { expects: 'anything' }],
    ['a stream without a name', { next_stream: '' }],
    ['no key of an epoch that is open', { epoch_key: undefined }],
  ])('with %s is refused in words', (_what, change) => {
    const { pin, messages } = createLongHistory()
    const good = toChainPosition(walk(startChain(pin), messages))
    const read = parseChainPosition(change === null ? null : { ...good, ...change }, pin)
    expect(read).toMatchObject({ ok: false, error: expect.stringMatching(/^not a position in this ledger: /) })
  })
})
