import fc from 'fast-check'
import { expect, test } from 'vitest'
import { countOf, isLongRun } from '../../fixtures/counts.ts'
import type { KeySystem } from '../../fixtures/keyCommand.ts'
import { arbitraryCommands, checkKeys, checkUses, runCommands } from '../../fixtures/keyCommands.ts'
import { createKeyModel, listObjects } from '../../fixtures/keyModel.ts'
import { createPipelineStack, toCode } from '../../fixtures/pipelineStack.ts'

const COMMANDS_MIN = 20

test(
  'any sequence of commands leaves keys as the reference model says: metadata, uses, and objects in the HSM',
  async () => {
    await fc.assert(
      fc.asyncProperty(arbitraryCommands(COMMANDS_MIN), async (commands) => {
        await using stack = await createPipelineStack()
        const system: KeySystem = {
          lids: [],
          async send(operation, body) {
            const outgoing = await stack.send(operation, body)
            return { code: toCode(outgoing), body: outgoing.ok ? outgoing.body : {} }
          },
        }
        const model = createKeyModel()
        await runCommands(commands, model, system)
        await checkKeys(model, system)
        const inventory = await stack.hsm.inventory('main', new AbortController().signal)
        expect(inventory.ok && inventory.value.map(({ lid, version }) => `${lid}/${version}`).sort()).toEqual(
          listObjects(model, system.lids),
        )
        await checkUses(model, system)
      }),
      { numRuns: countOf('modelRuns') },
    )
  },
  isLongRun ? 1_200_000 : 120_000,
)
