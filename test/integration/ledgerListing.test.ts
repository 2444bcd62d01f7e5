import { afterEach, beforeEach, expect, it } from 'vitest'
import { STREAM_LEDGER } from '../../schemas/streams.ts'
import { drawRandom, never, unwrap } from '../fixtures/ledgerEntries.ts'
import { type LedgerStack, startLedgerStack, until } from '../fixtures/ledgerStack.ts'
import { flipBitOf, toStreamDir } from '../fixtures/natsStore.ts'

let stack: LedgerStack
beforeEach(async () => {
  stack = await startLedgerStack()
})
afterEach(() => stack[Symbol.asyncDispose]())

it('a listing does not go past a commit that was damaged in the files of the server since it was verified', async () => {
  const { ledger } = await stack.openWriter()
  let last = 0
  for (let n = 1; n <= 8; n += 1) last = unwrap(await ledger.append(drawRandom(n), never)).receipt.seq
  const list = (from: number, to: number) =>
    ledger.list({ from: { seq: from, index: 0 }, to, filter: {}, itemsMax: 1000 }, never)
  expect(unwrap(await list(1, last)).items).toHaveLength(last)

  await stack.server.halt()
  await flipBitOf(toStreamDir(stack.server.storeDir, STREAM_LEDGER), 5)
  await stack.server.resume()
  await until(async () => (await list(1, 4)).ok)
  const refused = {
    ok: false,
    error: { code: 'LEDGER_UNAVAILABLE', message: expect.stringContaining('at sequence 5 ') },
  }
  for (const [from, to] of [
    [1, last],
    [5, last],
    [1, 5],
  ] as const)
    expect(await list(from, to)).toMatchObject(refused)
  expect(stack.log.lines).toContainEqual(expect.objectContaining({ level: 'error', fields: { seq: 5 } }))
  expect(unwrap(await list(6, last)).items.map(({ seq }) => seq)).toEqual(
    Array.from({ length: last - 5 }, (_, n) => n + 6),
  )
})
