import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { CONTRACTS, type OperationName } from '../../schemas/registry.ts'
import { countOf, isLongRun } from '../fixtures/counts.ts'
import type { KeySystem } from '../fixtures/keyCommand.ts'
import { arbitraryCommands, checkKeys, checkUses, runCommands } from '../fixtures/keyCommands.ts'
import { createKeyModel, listObjects } from '../fixtures/keyModel.ts'
import { writeResults } from '../fixtures/results.ts'
import { type Stack, startStack } from '../fixtures/stack.ts'
import { type Clients, openClients } from '../fixtures/stackClients.ts'
import { createStackSystem } from '../fixtures/stackSystem.ts'
import { readTokenLabels } from '../fixtures/tokenLabels.ts'

const RUNS = countOf('modelRunsOnService')
const COMMANDS_MIN = 20

let stack: Stack
let clients: Clients

beforeAll(async () => {
  stack = await startStack()
  clients = await openClients(stack)
})
afterAll(async () => {
  await clients?.[Symbol.asyncDispose]()
  await stack?.[Symbol.asyncDispose]()
})

/** Aliases are the run's own: the service outlives it. */
const createSystem = (run: number): KeySystem => {
  const { send } = createStackSystem(clients)
  const own = (value: unknown) => (typeof value === 'string' && value.startsWith('alias/') ? `${value}-${run}` : value)
  return {
    lids: [],
    send: (operation, body) =>
      send(operation, Object.fromEntries(Object.entries(body).map(([name, value]) => [name, own(value)]))),
  }
}

test('the real service keeps to the reference model: metadata, uses, and the objects on the token', async () => {
  let run = 0
  let commandsRun = 0
  const operations = new Map<OperationName, number>()
  await fc.assert(
    fc.asyncProperty(arbitraryCommands(COMMANDS_MIN), async (commands) => {
      run += 1
      commandsRun += commands.length
      const system = createSystem(run)
      const counting: KeySystem = {
        ...system,
        send(operation, body) {
          operations.set(operation, (operations.get(operation) ?? 0) + 1)
          return system.send(operation, body)
        },
      }
      const model = createKeyModel()
      await runCommands(commands, model, counting)
      await checkKeys(model, counting)
      const labels = (await readTokenLabels(stack.dataDir)).map((label) => label.split('/').slice(-2).join('/'))
      const mine = labels.filter((label) => counting.lids.some((lid) => label.startsWith(lid))).sort()
      expect(mine).toEqual(listObjects(model, counting.lids))
      await checkUses(model, counting)
    }),
    { numRuns: RUNS },
  )
  expect([...operations.keys()].every((name) => Object.hasOwn(CONTRACTS, name))).toBe(true)
  if (!isLongRun) return
  const rows = [...operations].sort().map(([name, count]) => `| ${name} | ${count} |`)
  await writeResults('key-model', 'Random commands against the reference model, on the real service', [
    `${run} sequences, ${commandsRun} commands, none that differed from the model in code, metadata, uses or HSM objects.`,
    '',
    '| operation | requests |',
    '|---|---:|',
    ...rows,
  ])
})
