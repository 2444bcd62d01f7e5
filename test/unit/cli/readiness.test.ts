import { describe, expect, test } from 'vitest'
import { createReadiness } from '../../../src/cli/readiness.ts'
import type { LedgerStatus } from '../../../src/core/ports.ts'
import { createFakeHsm } from '../../fixtures/fakeHsm.ts'

const STATUS: LedgerStatus = { role: 'writer', epoch: 1, seq: 9, hash: '', queued: 0, inDoubt: false }

/** The components of a service whose ledger is so, and whose other parts are well. */
const ask = (status: Partial<LedgerStatus>) => {
  const flush = async () => undefined
  return createReadiness({
    config: { hsm: { ledger_backend: 'main' } },
    connections: { front: { flush }, ledger: { flush } },
    ledger: { status: () => ({ ...STATUS, ...status }) },
    hsm: createFakeHsm({ origin: 'fake/0123456789abcdef', backend: 'main' }),
    pdp: { isReady: () => true },
    nats: { isServing: () => true },
  })()
}

describe('readiness', () => {
  test('has one component for each part', async () => {
    const components = await ask({})
    expect(components.map(({ name }) => name)).toEqual(['nats', 'ledger', 'hsm:main', 'pdp', 'checkpoints', 'storage'])
    expect(components.filter(({ isReady }) => !isReady)).toEqual([])
  })

  test.each([
    ['nobody tells', undefined, { detail: 'nobody tells how full it is' }],
    ['there is room', { usedBytes: 699, limitBytes: 1000, isWarning: false }, { detail: '69 % of 1000 bytes used' }],
    [
      'it gets full',
      { usedBytes: 700, limitBytes: 1000, isWarning: true },
      { detail: '70 % of 1000 bytes used', isWarning: true },
    ],
    [
      'it is full',
      { usedBytes: 1100, limitBytes: 1000, isWarning: true },
      { detail: '110 % of 1000 bytes used', isWarning: true },
    ],
  ])('says of the storage that %s, and stays ready', async (_what, storage, expected) => {
    const components = await ask(storage === undefined ? {} : { storage })
    expect(components.at(-1)).toEqual({ name: 'storage', isReady: true, ...expected })
  })

  test.each([
    ['in doubt', { inDoubt: true }],
    ['the epoch key is past its bound and cannot be renewed', { expired: true as const }],
    ['follower', { role: 'follower' as const }],
  ])('is not ready while the ledger is: %s', async (detail, status) => {
    expect((await ask(status)).find(({ name }) => name === 'ledger')).toMatchObject({ isReady: false, detail })
  })
})
