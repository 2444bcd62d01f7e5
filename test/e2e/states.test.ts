import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { KeyStateName } from '../../schemas/keys.ts'
import { isLongRun } from '../fixtures/counts.ts'
import { withClockAhead } from '../fixtures/shims.ts'
import { type Stack, startStack } from '../fixtures/stack.ts'
import { type Clients, openClients, untilTrue } from '../fixtures/stackClients.ts'
import { createStackSystem } from '../fixtures/stackSystem.ts'
import {
  answerRows,
  CELLS,
  COMMANDED,
  command,
  createFamily,
  expectAnswers,
  type Family,
  isCommanded,
  listTried,
  strictest,
} from '../fixtures/stateMatrix.ts'

const DAY_MS = 24 * 3600 * 1000
const HOUR_MS = 3600 * 1000
const DEADLINE_MS = 240_000

type Commanded = (typeof COMMANDED)[number]

let stack: Stack
let clients: Clients
const seen: string[] = []

const restart = async (environment: Readonly<Record<string, string>> = {}): Promise<void> => {
  await clients?.[Symbol.asyncDispose]()
  await stack.stop()
  await stack.restart(environment)
  clients = await openClients(stack)
}

beforeAll(async () => {
  stack = await startStack()
  await restart(withClockAhead(-8 * DAY_MS))
}, DEADLINE_MS)
afterAll(async () => {
  await clients?.[Symbol.asyncDispose]()
  await stack?.[Symbol.asyncDispose]()
})

const send: ReturnType<typeof createStackSystem>['send'] = (...request) => createStackSystem(clients).send(...request)

const putInto = async (ids: readonly string[], state: Commanded): Promise<void> => {
  for (const id of ids) await command({ send }, id, state)
}

/** A key that changes while it is read is asked for again by the caller. */
const stateOf = (key_id: string): Promise<KeyStateName | undefined> =>
  clients.rest.describeKey({ key_id }).then(
    ({ key }) => key.state,
    () => undefined,
  )

const isIn = async (ids: readonly string[], state: KeyStateName): Promise<boolean> => {
  for (const key_id of ids) if ((await stateOf(key_id)) !== state) return false
  return true
}

const untilIn = (ids: readonly string[], state: KeyStateName): Promise<void> =>
  untilTrue(() => isIn(ids, state), `${ids.length} keys are ${state}`, 60_000)

/** Asks for everything of one cell, over both transports in turn. */
const checkCell = async (family: Family, own: KeyStateName, above: KeyStateName): Promise<void> => {
  const { key } = await clients.nats.describeKey({ key_id: family.key })
  expect([key.state, key.effective_state]).toEqual([own, strictest(own, above)])
  expect(await answerRows({ send }, family), `${own} below ${above}`).toEqual(expectAnswers(own, above))
  seen.push(`${own} below ${above}`)
}

describe('state by operation, on the real service', () => {
  test.each(CELLS.filter(({ own }) => isCommanded(own)))(
    'of a key that is $own below one that is $above, so $effective',
    async ({ own, above }) => {
      if (!isCommanded(own) || !isCommanded(above)) throw new Error('this cell takes the passing of time')
      const family = await createFamily({ send }, `${own}-${above}`)
      await putInto(listTried(family), own)
      await putInto([family.root], above)
      await checkCell(family, own, above)
    },
  )

  /**
   * Scheduled by a clock that is behind, keys are due at the next start. A clock that goes wrong as soon as their
   * destruction has begun holds them there, since what cannot be undone waits for a true clock.
   */
  test.runIf(isLongRun)(
    'of keys that are being destroyed, and of destroyed ones, below a key in every state',
    async () => {
      const families = new Map<Commanded, Family>()
      for (const above of COMMANDED) families.set(above, await createFamily({ send }, `doomed-${above}`))
      const whole = await createFamily({ send }, 'whole')
      const tried = [...families.values(), whole].flatMap(listTried)
      await putInto(tried, 'pending_deletion')

      await restart(withClockAhead(-HOUR_MS, 'KeyDestructionStarted'))
      await untilIn(tried, 'destroying')
      for (const [above, { root }] of families) await putInto([root], above)
      for (const [above, family] of families) await checkCell(family, 'destroying', above)

      await restart()
      await untilIn(tried, 'destroyed')
      for (const [above, family] of families) await checkCell(family, 'destroyed', above)

      await restart(withClockAhead(-8 * DAY_MS))
      await putInto([whole.root], 'pending_deletion')
      await restart(withClockAhead(-HOUR_MS, 'KeyDestructionStarted'))
      await untilIn([whole.root], 'destroying')
      await checkCell(whole, 'destroyed', 'destroying')

      await restart()
      await untilIn([whole.root], 'destroyed')
      await checkCell(whole, 'destroyed', 'destroyed')
    },
    DEADLINE_MS,
  )

  test('no cell is left out', () => {
    const wanted = CELLS.filter(({ own }) => isLongRun || isCommanded(own))
    expect([...seen].sort()).toEqual(wanted.map(({ own, above }) => `${own} below ${above}`).sort())
  })
})
