import { expect, test } from 'vitest'
import { LIMITS } from '../../../schemas/limits.ts'
import type { Duty } from '../../../src/operations/duty.ts'
import { planInstruction, planRecord } from '../../../src/operations/operation.ts'
import { takeKey } from '../../../src/operations/use.ts'
import { createPipelineStack, type PipelineStack } from '../../fixtures/pipelineStack.ts'
import { live } from '../../fixtures/virtualTime.ts'

/** Disables what is tagged `expired`; a key at a time, five seconds apart, if `isPaced`. */
const expire = (isPaced = false): Duty => ({
  name: 'ExpireKey',
  findDue(view) {
    const subjects = view.keys.order.toArray().filter((lid) => {
      const record = view.keys.byLid.get(lid)
      return record?.state === 'enabled' && record.description === 'expired'
    })
    return isPaced ? { subjects, paceMs: 5_000 } : subjects
  },
  plan(subject, view, facts) {
    const record = view.keys.byLid.get(subject)
    if (record?.state !== 'enabled') return undefined
    const { lid } = takeKey({ view, facts, keys: [record] })
    return planRecord([{ kind: 'key', lid, revision: record.revision, effective: 'enabled' }], () => ({
      event: { type: 'KeyDisabled', data: { lid, affected: 0 } },
      resources: [{ lid }],
      toReply: () => ({}),
    }))
  },
})

const countDisabled = async (stack: PipelineStack): Promise<number> =>
  (await stack.succeed('ListKeys', { state: 'disabled' })).items.length

test('a duty does what is due, and records it as done by the service itself', async () => {
  await using stack = await createPipelineStack({}, [expire()])
  const due = await stack.createKey({ description: 'expired' })
  await stack.createKey()
  stack.pipeline.duties.start()
  await live(stack.time, 1_000)
  expect(await countDisabled(stack)).toBe(1)
  const [event] = stack.ledger.stream.messages
    .flatMap(({ payload }) => [Buffer.from(payload).toString('latin1')])
    .filter((text) => text.includes('KeyDisabled'))
  expect(event).toContain('kms:ExpireKey')
  expect(event).toContain('internal')
  expect(event).toContain(due)
  await stack.pipeline.duties.stop()
})

test('what becomes due later is done at the next poll', async () => {
  await using stack = await createPipelineStack({}, [expire()])
  stack.pipeline.duties.start()
  await live(stack.time, 1_000)
  await stack.createKey({ description: 'expired' })
  await live(stack.time, LIMITS.dutyPollMs)
  expect(await countDisabled(stack)).toBe(1)
  await stack.pipeline.duties.stop()
})

test('a paced duty does one item at a time', async () => {
  await using stack = await createPipelineStack({}, [expire(true)])
  for (let n = 0; n < 4; n += 1) await stack.createKey({ description: 'expired' })
  stack.pipeline.duties.start()
  await live(stack.time, 6_000)
  expect(await countDisabled(stack)).toBe(2)
  await live(stack.time, 20_000)
  expect(await countDisabled(stack)).toBe(4)
  await stack.pipeline.duties.stop()
})

test('nothing is done after stop, and no timer is left', async () => {
  await using stack = await createPipelineStack({}, [expire()])
  stack.pipeline.duties.start()
  await live(stack.time, 1_000)
  await stack.pipeline.duties.stop()
  await stack.createKey({ description: 'expired' })
  await live(stack.time, 2 * LIMITS.dutyPollMs)
  expect(await countDisabled(stack)).toBe(0)
})

test('nothing is done once this process writes the ledger no more', async () => {
  await using stack = await createPipelineStack({}, [expire()])
  await stack.createKey({ description: 'expired' })
  stack.ledger.committer.stop(false)
  await stack.ledger.ended
  const calls = stack.ports.calls.length
  stack.pipeline.duties.start()
  await live(stack.time, 1_000)
  expect(stack.ports.calls.slice(calls).filter((call) => call.startsWith('ledger'))).toEqual([])
  await stack.pipeline.duties.stop()
})

test('what fails is tried again, ever more rarely, and each try is on record', async () => {
  let tries = 0
  const failing: Duty = {
    name: 'Fail',
    findDue: (view) => view.keys.order.take(1),
    plan(subject, view) {
      const record = view.keys.byLid.get(subject)
      if (record === undefined) return undefined
      tries += 1
      return planInstruction({ kind: 'random', backend: 'main', bytes: 1 }, [], () => {
        throw new Error('a bug of the duty')
      })
    },
  }
  await using stack = await createPipelineStack({}, [failing])
  await stack.createKey()
  stack.pipeline.duties.start()
  await live(stack.time, 4_000)
  expect(tries).toBe(1)
  await live(stack.time, 120_000)
  expect(tries).toBeGreaterThanOrEqual(3)
  expect(tries).toBeLessThanOrEqual(6)
  const failed = stack.ledger.stream.messages.filter(({ payload }) =>
    Buffer.from(payload).toString('latin1').includes('OperationFailed'),
  )
  expect(failed.length).toBe(tries)
  await stack.pipeline.duties.stop()
})

test('nothing is tried on a backend that is away or not open, so that no failures fill the ledger', async () => {
  const duty = (backend: string): Duty => ({
    name: 'Draw',
    findDue: (view) => view.keys.order.take(1),
    plan: () =>
      planInstruction({ kind: 'random', backend, bytes: 1 }, [], () => {
        throw new Error('it was tried')
      }),
  })
  await using stack = await createPipelineStack({}, [duty('closed'), duty('main')])
  await stack.createKey()
  stack.hsm.setAway(true)
  const calls = stack.ports.calls.length
  stack.pipeline.duties.start()
  await live(stack.time, 60_000)
  expect(stack.ports.calls.slice(calls)).toEqual([])
  await stack.pipeline.duties.stop()
})
