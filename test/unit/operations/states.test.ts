import { describe, expect, test } from 'vitest'
import { KEY_STATES, type KeyStateName } from '../../../schemas/keys.ts'
import { CONTRACTS, OPERATION_NAMES } from '../../../schemas/registry.ts'
import { STATE_ALLOWS } from '../../../src/core/lifecycle.ts'
import { createPipelineStack, type PipelineStack, toCode } from '../../fixtures/pipelineStack.ts'
import {
  answerRows,
  CELLS,
  command,
  createFamily,
  expectAnswers,
  type Family,
  isCommanded,
  listTried,
  ROWS,
  strictest,
} from '../../fixtures/stateMatrix.ts'
import { live } from '../../fixtures/virtualTime.ts'

const GRACE_MS = 7 * 24 * 3600 * 1000

const systemOf = (stack: PipelineStack) => ({
  async send(...request: Parameters<PipelineStack['send']>) {
    const outgoing = await stack.send(...request)
    return outgoing.ok ? { code: 'OK', body: { ...outgoing.body } } : { code: toCode(outgoing), body: {} }
  },
})

/** Moves keys to a state as life does: by a command, or by the passing of their grace period, with or without an HSM. */
const putInto = async (stack: PipelineStack, ids: readonly string[], state: KeyStateName): Promise<void> => {
  const system = systemOf(stack)
  for (const id of ids) await command(system, id, isCommanded(state) ? state : 'pending_deletion')
  if (isCommanded(state)) return
  stack.hsm.setAway(state === 'destroying')
  stack.pipeline.duties.start()
  await stack.time.jump(GRACE_MS)
  await live(stack.time, 15_000)
  await stack.pipeline.duties.stop()
  stack.hsm.setAway(false)
}

const setUp = async (stack: PipelineStack, own: KeyStateName, above: KeyStateName): Promise<Family> => {
  const family = await createFamily(systemOf(stack), 'one')
  await putInto(stack, listTried(family), own)
  await putInto(stack, [family.root], above)
  return family
}

test('what a state allows is this table, and nothing else', () => {
  const marks = KEY_STATES.map((state) => {
    const { produce, consume, parent } = STATE_ALLOWS[state]
    return [state, produce ? 'produces' : '', consume ? 'consumes' : '', parent ? 'carries children' : '']
  })
  expect(marks).toEqual([
    ['enabled', 'produces', 'consumes', 'carries children'],
    ['compromised', '', 'consumes', ''],
    ['disabled', '', '', ''],
    ['pending_deletion', '', '', ''],
    ['destroying', '', '', ''],
    ['destroyed', '', '', ''],
  ])
})

describe('state by operation', () => {
  test.each(CELLS)('of a key that is $own below one that is $above, so $effective', async ({ own, above }) => {
    await using stack = await createPipelineStack()
    const family = await setUp(stack, own, above)
    const { key } = await stack.succeed('DescribeKey', { key_id: family.key })
    expect([key.state, key.effective_state]).toEqual([own, strictest(own, above)])
    expect(await answerRows(systemOf(stack), family)).toEqual(expectAnswers(own, above))
  })

  test('every operation about a key has a row', () => {
    const aboutKeys = OPERATION_NAMES.filter((name) => 'key_id' in CONTRACTS[name].request.properties)
    expect(aboutKeys.filter((name) => ROWS[name].length === 0)).toEqual([])
  })

  test('no use that is refused for a state reaches the HSM', async () => {
    await using stack = await createPipelineStack()
    const family = await setUp(stack, 'enabled', 'disabled')
    const from = stack.hsm.calls.length
    const codes = []
    for (const [name, rows] of Object.entries(ROWS))
      for (const { need, body } of rows)
        if (need === 'produce' || need === 'consume' || need === 'parent')
          codes.push(toCode(await stack.send(name as keyof typeof ROWS, body(family))))
    expect(new Set(codes)).toEqual(new Set(['KEY_NOT_USABLE', 'PARENT_NOT_USABLE']))
    expect(stack.hsm.calls.slice(from)).toEqual([])
  })
})
