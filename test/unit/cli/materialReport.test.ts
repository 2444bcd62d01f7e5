import { expect, test } from 'vitest'
import { reportMaterial } from '../../../src/cli/materialReport.ts'
import type { MaterialRef } from '../../../src/core/instruction.ts'
import { createFakeHsm } from '../../fixtures/fakeHsm.ts'
import { eventOf, fold, keyCreated, lidOf } from '../../fixtures/history.ts'
import { ORIGIN } from '../../fixtures/pipelineStack.ts'
import { createTelemetryLog } from '../../fixtures/telemetryLog.ts'

const signal = new AbortController().signal

/** A token with one AES key for each number, and the events that recorded them. */
const setUp = async (count: number) => {
  const hsm = createFakeHsm({ origin: ORIGIN, backend: 'main' })
  await hsm.createGenesis('main', signal)
  const telemetry = createTelemetryLog()
  const made = await Promise.all(
    Array.from({ length: count }, async (_, n) => {
      const named = { lid: lidOf(n + 1), version: 1, spec: 'AES_256' } as const
      const output = await hsm.execute(
        { kind: 'generateKey', backend: 'main', epoch: 0, exportable: false, ...named },
        signal,
      )
      if (!output.ok) throw new Error(output.error.message)
      return { ...named, sealedHandle: output.value.sealedHandle }
    }),
  )
  const created = made.map(({ sealedHandle }, n) =>
    keyCreated(n + 1, { material: { backend: 'main', sealed_handle: sealedHandle } }),
  )
  const destroy = async (key: MaterialRef | undefined) => {
    if (key !== undefined) await hsm.execute({ kind: 'destroyKey', backend: 'main', key }, signal)
  }
  return { hsm, telemetry, made, created, destroy }
}

const started = (n: number) => eventOf('KeyDestructionStarted', { lid: lidOf(n) })
const ended = (n: number) => eventOf('KeyDestroyed', { lid: lidOf(n), confirmed: [1] })

test('what is being destroyed is neither an orphan while the token holds it nor missing once it does not', async () => {
  const { hsm, telemetry, made, created, destroy } = await setUp(3)
  const view = fold([...created, started(1), started(2)])
  await destroy(made[0])
  const report = await reportMaterial({ hsm, ledger: { view: () => view }, telemetry }, 'main', signal)
  expect([report?.orphans, report?.missing]).toEqual([[], new Set()])
  await destroy(made[2])
  const later = await reportMaterial({ hsm, ledger: { view: () => view }, telemetry }, 'main', signal)
  expect(later?.missing).toEqual(new Set([`${lidOf(3)}/1`]))
})

test('what was destroyed and is on the token again is an orphan', async () => {
  const { hsm, telemetry, created } = await setUp(2)
  const view = fold([...created, started(1), ended(1)])
  const report = await reportMaterial({ hsm, ledger: { view: () => view }, telemetry }, 'main', signal)
  expect(report?.orphans.map(({ lid }) => lid)).toEqual([lidOf(1)])
})

test('what is destroyed while the token is looked through is not missing', async () => {
  const { hsm, telemetry, made, created, destroy } = await setUp(1)
  let view = fold(created)
  const slow = {
    ...hsm,
    async inventory(...args: Parameters<typeof hsm.inventory>) {
      const listed = await hsm.inventory(...args)
      view = fold([started(1), ended(1)], view)
      await destroy(made[0])
      return listed
    },
  }
  const report = await reportMaterial({ hsm: slow, ledger: { view: () => view }, telemetry }, 'main', signal)
  expect(report?.missing).toEqual(new Set())
})

test('of two objects made for one version, the one that the ledger does not name is an orphan', async () => {
  const { hsm, telemetry, created } = await setUp(1)
  const rotate = { kind: 'generateKey', backend: 'main', epoch: 0, exportable: false, spec: 'AES_256' } as const
  const made = { lid: lidOf(1), version: 2 }
  const [, recorded] = [
    await hsm.execute({ ...rotate, ...made }, signal),
    await hsm.execute({ ...rotate, ...made }, signal),
  ]
  if (!recorded.ok) throw new Error(recorded.error.message)
  const material = { backend: 'main', sealed_handle: recorded.value.sealedHandle }
  const view = fold([...created, eventOf('KeyRotated', { ...made, material, cause: 'request' })])
  const ids = await hsm.findIds('main', [{ ...made, spec: 'AES_256', ...recorded.value }], signal)
  const report = await reportMaterial({ hsm, ledger: { view: () => view }, telemetry }, 'main', signal)
  expect(report?.missing).toEqual(new Set())
  expect(report?.orphans.map(({ lid, version }) => [lid, version])).toEqual([[lidOf(1), 2]])
  expect(ids.ok && ids.value).not.toEqual(report?.orphans.map(({ ckaIdHex }) => ckaIdHex))
})
