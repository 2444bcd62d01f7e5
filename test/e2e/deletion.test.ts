import { afterAll, beforeAll, expect, test } from 'vitest'
import { countOf, isLongRun } from '../fixtures/counts.ts'
import { writeResults } from '../fixtures/results.ts'
import { withClockAhead } from '../fixtures/shims.ts'
import { type Stack, startStack } from '../fixtures/stack.ts'
import { type Clients, openClients, untilTrue } from '../fixtures/stackClients.ts'
import { listEvents, readLedger } from '../fixtures/stackLedger.ts'
import { readTokenLabels } from '../fixtures/tokenLabels.ts'

const KEYS = countOf('keysDueAtOnce')
const DAY_MS = 24 * 3600 * 1000
const DEADLINE_MS = 240_000
const AT_ONCE = 16
/** A list of all keys waits for its turn while as many are destroyed. */
const PATIENT = { timeoutMs: 60_000 }

let stack: Stack
let survivor: string
/** Everything that is to go; the last two are a root and its child, which only the root's cascade takes along. */
const doomed: string[] = []

const inBatches = async (count: number, work: (n: number) => Promise<void>): Promise<void> => {
  for (let at = 0; at < count; at += AT_ONCE)
    await Promise.all(Array.from({ length: Math.min(AT_ONCE, count - at) }, (_, n) => work(at + n)))
}

/** How many keys the service shows in a state, up to a page. Unlike the token, it can be asked while it destroys. */
const countIn = async ({ nats }: Clients, state: 'destroyed' | 'destroying' | 'pending_deletion'): Promise<number> =>
  (await nats.listKeys({ state, max_results: 1000 })).items.length

/** The objects of keys on the token, as `<lid>/<version>`; nothing may change them meanwhile. */
const listMaterial = async (): Promise<readonly string[]> =>
  (await readTokenLabels(stack.dataDir))
    .filter((label) => !/\/(ledger-root|handle-key)$/.test(label))
    .map((label) => label.split('/').slice(-2).join('/'))

/** A grace period passes by scheduling with a clock that is behind: the real time is past the day already. */
beforeAll(async () => {
  stack = await startStack()
  await stack.stop()
  await stack.restart(withClockAhead(-8 * DAY_MS))
  await using clients = await openClients(stack)
  const create = async (body: { parent_key_id?: string } = {}) =>
    (await clients.nats.createKey({ key_spec: 'AES_256', ...body })).key.key_id
  survivor = await create()
  await inBatches(KEYS, async () => void doomed.push(await create()))
  await inBatches(KEYS, async (n) => {
    const key_id = doomed[n] ?? ''
    if (n === 0) await clients.nats.rotateKey({ key_id })
    await clients.nats.scheduleKeyDeletion({ key_id, grace_period_days: 7 })
  })
  const root = await create()
  doomed.push(root, await create({ parent_key_id: root }))
  await clients.rest.scheduleKeyDeletion({ key_id: root, grace_period_days: 7, cascade: true })
  await stack.stop()
}, DEADLINE_MS)
afterAll(() => stack?.[Symbol.asyncDispose]())

test(
  'nothing is destroyed while the service’s clock is days ahead of the storage’s',
  async () => {
    const before = (await listMaterial()).length
    expect(before).toBe(doomed.length + 2)
    await stack.restart(withClockAhead(8 * DAY_MS))
    await untilTrue(() => stack.output().includes('the clocks of service and storage disagree'), 'the log says so')
    expect((await listMaterial()).length).toBe(before)
    await stack.stop()
  },
  DEADLINE_MS,
)

test(
  'keys due at once are all destroyed, each once, though the service is killed on the way; the rest is untouched',
  async () => {
    const killedAt: number[] = []
    for (const share of [0.1, 0.4]) {
      await stack.restart()
      await using clients = await openClients(stack, PATIENT)
      const goal = Math.ceil(KEYS * share)
      let destroyed = 0
      const isReached = async () => {
        destroyed = await countIn(clients, 'destroyed')
        return destroyed >= goal
      }
      await untilTrue(isReached, 'some are destroyed', 60_000)
      await stack.kill()
      killedAt.push(destroyed)
    }
    // The kills came on the way, not after it.
    expect(Math.max(...killedAt)).toBeLessThan(doomed.length)
    await stack.restart()
    await using clients = await openClients(stack, PATIENT)
    const countLeft = async () => (await countIn(clients, 'pending_deletion')) + (await countIn(clients, 'destroying'))
    await untilTrue(async () => (await countLeft()) === 0, 'all are destroyed', 120_000)
    expect(await listMaterial()).toEqual([`${survivor}/1`])
    expect((await clients.nats.describeKey({ key_id: survivor })).key.state).toBe('enabled')

    const ledger = await readLedger(stack)
    expect(ledger.report.findings).toEqual([])
    const places = (type: string) => {
      const found = listEvents(ledger).filter(({ event }) => event.type === type && event['outcome'] === 'success')
      return found.map(({ event }) => String(event.data['lid']))
    }
    const ended = places('KeyDestroyed')
    expect([...places('KeyDestructionStarted')].sort()).toEqual([...doomed].sort())
    expect([...ended].sort()).toEqual([...doomed].sort())
    expect(ended.indexOf(doomed.at(-1) ?? '')).toBeLessThan(ended.indexOf(doomed.at(-2) ?? ''))
    expect(stack.output()).not.toContain('material_missing')
    if (isLongRun)
      await writeResults('deletion', 'Keys due for deletion at once, the service killed on the way', [
        `${doomed.length} keys; killed when ${killedAt.join(' and ')} were destroyed. Each key has one`,
        'KeyDestructionStarted and one KeyDestroyed; at the end the token holds the survivor and the ledger’s own keys.',
      ])
  },
  DEADLINE_MS,
)
