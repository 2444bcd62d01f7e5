import { expect, test } from 'vitest'
import { createConnectionWatch } from '../../../src/cli/connectionWatch.ts'
import { toFakePlace } from '../../fixtures/fakeBackends.ts'
import { createFakeHsm } from '../../fixtures/fakeHsm.ts'
import { eventOf, fold, lidOf } from '../../fixtures/history.ts'
import { ORIGIN } from '../../fixtures/pipelineStack.ts'
import { createTelemetryLog } from '../../fixtures/telemetryLog.ts'

const signal = new AbortController().signal
const { libPath: lib_path, tokenLabel: token_label, pinRef: pin_ref } = toFakePlace('token-one')
const created = eventOf('HsmConnectionCreated', { name: 'one', lib_path, token_label, pin_ref, handle_key: 'made' })
const deleted = eventOf('HsmConnectionDeleted', { name: 'one' })

const setUp = () => {
  const hsm = createFakeHsm({ origin: ORIGIN, backend: 'main' })
  const log = createTelemetryLog()
  const at = { view: fold([created]) }
  const watch = createConnectionWatch({
    hsm,
    ledger: { view: () => at.view },
    telemetry: log,
    configured: ['main'],
  })
  const listOpen = () => hsm.status().map(({ backend }) => backend)
  return { hsm, log, at, watch, listOpen }
}

test('connections of the ledger are opened, those that were deleted are closed, and others are left alone', async () => {
  const { hsm, at, watch, listOpen } = setUp()
  await watch.follow()
  expect(listOpen()).toEqual(['main', 'one'])
  await hsm.openBackend('being-made', toFakePlace('token-two'))
  at.view = fold([created, deleted])
  await watch.follow()
  expect(listOpen()).toEqual(['main', 'being-made'])
})

test('what is left on the token of a deleted connection is said before it is closed', async () => {
  const { hsm, log, at, watch, listOpen } = setUp()
  await watch.follow()
  await hsm.createHandleKey('one', signal)
  const made = { lid: lidOf(1), version: 1, spec: 'AES_256' } as const
  await hsm.execute({ kind: 'generateKey', backend: 'one', epoch: 7, exportable: false, ...made }, signal)
  at.view = fold([created, deleted])
  watch.note([deleted])
  await expect.poll(listOpen).toEqual(['main'])
  expect(log.lines.filter(({ level }) => level === 'warn')).toEqual([
    {
      level: 'warn',
      message: 'orphan: the ledger does not name an HSM object',
      fields: { backend: 'one', label: `chatelaine/${ORIGIN}/7/${lidOf(1)}/1` },
    },
  ])
})

test('a token that does not answer any more is closed too, and said', async () => {
  const { hsm, log, at, watch, listOpen } = setUp()
  await watch.follow()
  hsm.setAway(true, 'one')
  at.view = fold([created, deleted])
  await watch.follow()
  expect(listOpen()).toEqual(['main'])
  expect(log.lines).toEqual([
    {
      level: 'warn',
      message: 'the token of a deleted HSM connection could not be looked through',
      fields: { backend: 'one', code: 'HSM_UNAVAILABLE' },
    },
  ])
})
