import fc from 'fast-check'
import { isCollection } from 'immutable'
import { beforeAll, describe, expect, test } from 'vitest'
import { startSnapshotReader, toSnapshotRows } from '../../../projections/snapshot.ts'
import type { View } from '../../../projections/view.ts'
import type { Event } from '../../../schemas/events.ts'
import { OPERATION_NAMES, toContract } from '../../../schemas/registry.ts'
import { encodeMsgpack } from '../../../src/core/encodeMsgpack.ts'
import { decodeStrictMsgpack } from '../../../src/core/strictMsgpack.ts'
import { bringKey, createRequests } from '../../fixtures/everyOperation.ts'
import { eventOf, fold, lidOf } from '../../fixtures/history.ts'
import { arbitraryCommands, runCommands } from '../../fixtures/keyCommands.ts'
import { createKeyModel } from '../../fixtures/keyModel.ts'
import { createPipelineStack, toCode } from '../../fixtures/pipelineStack.ts'
import { toPlain } from '../../fixtures/plainView.ts'

/** Through bytes and back, as a snapshot is stored. */
const restore = (view: View): View => {
  const reader = startSnapshotReader()
  for (const row of toSnapshotRows(view)) {
    const read = decodeStrictMsgpack(encodeMsgpack(row), { depthMax: 40, allowFloats: false, allowNil: false })
    if (!read.ok || !reader.take(read.value)) throw new Error(`a row was refused: ${JSON.stringify(row)}`)
  }
  const folded = reader.finish()
  if (folded === undefined) throw new Error('rows are missing')
  return { at: view.at, ...folded }
}

const toBytes = (view: View): string =>
  Buffer.concat([...toSnapshotRows(view)].map((row) => encodeMsgpack(row))).toString('hex')

/** Events of every operation that changes something, each as the pipeline recorded it. */
let everyEvent: readonly Event[]
beforeAll(async () => {
  await using stack = await createPipelineStack()
  const requests = await createRequests(stack)
  for (const name of OPERATION_NAMES)
    if (toContract(name).effect === 'change')
      await stack.send(name, requests[name](), toContract(name).idempotent ? { idempotencyKey: 'once' } : {})
  await bringKey(stack)
  const busy = await stack.createKey()
  for (let n = 0; n < 5; n += 1) await stack.succeed('Encrypt', { key_id: busy, plaintext: Buffer.from('x') })
  everyEvent = [
    eventOf('LedgerCreated', { root_public_key: Buffer.alloc(32, 1), context_key: Buffer.alloc(60, 2) }),
    ...stack.ports.events,
    eventOf('RotationPolicySet', { lid: busy, enabled: true, interval_days: 30 }),
    eventOf('HsmConnectionCreated', {
      ...{ name: 'gone', lib_path: '/usr/lib/x.so', token_label: 'gone', pin_ref: 'pin', scope_owner: 'alice' },
      handle_key: 'made',
    }),
    eventOf('HsmConnectionDeleted', { name: 'gone' }),
    eventOf('BudgetWarned', { lid: busy, version: 1, count: 5 }),
  ]
}, 120_000)

describe('the rows of a view', () => {
  test('make the same view again, whatever happened before', () => {
    const view = fold(everyEvent)
    expect(toPlain(restore(view))).toEqual(toPlain(view))
    expect(toBytes(restore(view))).toBe(toBytes(view))
    // A part that is empty would show nothing.
    const { at: _, genesis, ...projections } = view
    expect(Object.keys(genesis)).toEqual(['rootPublicKey', 'sealedContextKey'])
    const empty = Object.entries(projections).flatMap(([name, projection]) =>
      Object.entries(projection).flatMap(([member, part]) =>
        (isCollection(part) || Array.isArray(part)) && [...part].length === 0 ? [`${name}.${member}`] : [],
      ),
    )
    expect(empty).toEqual([])
  })

  test('go on as the whole history would, from any place in it', () => {
    fc.assert(
      fc.property(fc.nat(everyEvent.length), (cut) => {
        const restored = restore(fold(everyEvent.slice(0, cut)))
        expect(toPlain(fold(everyEvent.slice(cut), restored))).toEqual(toPlain(fold(everyEvent)))
      }),
      { numRuns: 30 },
    )
  })

  test('make the same view again after any commands of the key model', async () => {
    await fc.assert(
      fc.asyncProperty(arbitraryCommands(10), async (commands) => {
        await using stack = await createPipelineStack()
        await runCommands(commands, createKeyModel(), {
          lids: [],
          async send(operation, body) {
            const outgoing = await stack.send(operation, body)
            return { code: toCode(outgoing), body: outgoing.ok ? outgoing.body : {} }
          },
        })
        const view = stack.ledger.view()
        expect(toPlain(restore(view))).toEqual(toPlain(view))
      }),
      { numRuns: 15 },
    )
  }, 60_000)

  test('are refused where one is missing that must be there, is of no part, or has another form', () => {
    const rows = [...toSnapshotRows(fold(everyEvent))]
    const take = (some: readonly unknown[]) => {
      const reader = startSnapshotReader()
      return some.every((row) => reader.take(row)) ? reader.finish() : 'refused'
    }
    expect(take(rows)).toBeTypeOf('object')
    expect(take(rows.slice(1))).toBeUndefined()
    for (const strange of [[99, 1], [0], 'row', [1, [0, [lidOf(1), { lid: lidOf(1) }]]], [0, {}]])
      expect([strange, take([...rows, strange])]).toEqual([strange, 'refused'])
  })
})
