import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { STREAM_LEDGER } from '../../schemas/streams.ts'
import { followMessages, readMessages } from '../../src/ledger/streamReader.ts'
import { drawRandom, never, unwrap } from '../fixtures/ledgerEntries.ts'
import { type LedgerStack, type OpenLedger, startLedgerStack } from '../fixtures/ledgerStack.ts'

let stack: LedgerStack
let writer: OpenLedger
beforeAll(async () => {
  stack = await startLedgerStack()
  writer = await stack.openWriter()
  for (let n = 0; n < 300; n += 1) unwrap(await writer.ledger.append(drawRandom(1 + n), never))
})
afterAll(() => stack[Symbol.asyncDispose]())

const collect = async (range: { from: number; to: number }, signal = AbortSignal.timeout(10_000)) => {
  const seqs: number[] = []
  const connection = await stack.connect('kms-ledger')
  for await (const { seq } of readMessages(connection, range, signal)) seqs.push(seq)
  return seqs
}

describe('reading the ledger', () => {
  it.each([
    ['a part', { from: 5, to: 8 }, [5, 6, 7, 8]],
    ['one message', { from: 302, to: 302 }, [302]],
    ['nothing', { from: 9, to: 8 }, []],
    ['what is not there yet', { from: 1_000, to: 1_001 }, []],
    ['more than there is', { from: 301, to: 5_000 }, [301, 302]],
  ])('gives %s, in order, and ends', async (_what, range, expected) => {
    expect(await collect(range)).toEqual(expected)
  })

  it('gives every message once over more than one pull', async () => {
    expect(await collect({ from: 1, to: 302 })).toEqual(Array.from({ length: 302 }, (_, n) => n + 1))
  })

  it('throws when it is cut off before the end, so that a part is not taken for the whole', async () => {
    const connection = await stack.connect('kms-ledger')
    const reading = async () => {
      let count = 0
      for await (const _message of readMessages(connection, { from: 1, to: 302 }, AbortSignal.timeout(10_000))) {
        count += 1
        if (count === 10) await connection.close()
      }
    }
    await expect(reading()).rejects.toThrow()
  })

  it('ends in silence when its signal fires', async () => {
    const stop = new AbortController()
    const connection = await stack.connect('kms-ledger')
    const seqs: number[] = []
    for await (const { seq } of followMessages(connection, { from: 300, stream: STREAM_LEDGER }, stop.signal)) {
      seqs.push(seq)
      if (seq === 302) setTimeout(() => stop.abort(), 100)
    }
    expect(seqs).toEqual([300, 301, 302])
  })
})
