import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { startChain, stepChain } from '../../src/core/chain.ts'
import { lidOf } from '../fixtures/history.ts'
import { createKey, drawRandom, never, unwrap, useKey } from '../fixtures/ledgerEntries.ts'
import { type LedgerStack, startLedgerStack, until } from '../fixtures/ledgerStack.ts'
import { startTcpProxy, type TcpProxy } from '../fixtures/tcpProxy.ts'

let stack: LedgerStack
let proxy: TcpProxy
beforeEach(async () => {
  stack = await startLedgerStack()
  proxy = await startTcpProxy(stack.server.port)
})
afterEach(async () => {
  await stack[Symbol.asyncDispose]()
  await proxy[Symbol.asyncDispose]()
})

/** Every receipt names a commit in the stream, and the stream is one valid chain. */
const expectWhole = async (receipts: readonly { readonly seq: number; readonly hash: string }[]) => {
  const messages = await stack.readAll()
  const hashes = new Map<number, string>()
  let chain = startChain(stack.pin)
  for (const message of messages) {
    const step = stepChain(chain, message, { signatures: 'all' })
    expect(step.findings).toEqual([])
    chain = step.state
    hashes.set(chain.seq, Buffer.from(chain.hash).toString('hex'))
  }
  for (const { seq, hash } of receipts) expect(hashes.get(seq)).toBe(hash)
  return messages.length
}

describe('a writer whose acknowledgements get lost', () => {
  it('settles by repetition and read-back, and writes nothing twice', async () => {
    const { ledger } = await stack.openWriter({ url: proxy.url })
    unwrap(await ledger.append(createKey(1), never))
    proxy.mode = 'mute'
    const appended = Promise.all([ledger.append(useKey(1), never), ledger.append(useKey(1), never)])
    await until(() => ledger.status().inDoubt)
    expect((await stack.readAll()).length).toBe(4)
    proxy.mode = 'pass'
    const receipts = (await appended).map((each) => unwrap(each).receipt)
    expect(receipts.map(({ seq, index }) => [seq, index])).toEqual([
      [4, 0],
      [4, 1],
    ])
    expect(await expectWhole(receipts)).toBe(4)
    expect(ledger.view().usage.encrypted.get(`${lidOf(1)}/1`)).toBe(2)
  })

  it('tells its callers at the deadline, keeps settling, and goes on after the commit that was taken', async () => {
    const { ledger } = await stack.openWriter({ url: proxy.url, bounds: { appendDeadlineMs: 1_000 } })
    unwrap(await ledger.append(createKey(1), never))
    proxy.mode = 'mute'
    expect(await ledger.append(useKey(1), never)).toMatchObject({ error: { code: 'LEDGER_UNAVAILABLE' } })
    expect(await ledger.append(useKey(1), never)).toMatchObject({ error: { code: 'LEDGER_UNAVAILABLE' } })
    expect(ledger.status()).toMatchObject({ role: 'writer', inDoubt: true, overdue: true, seq: 3 })
    proxy.mode = 'pass'
    await until(() => ledger.status().seq === 4)
    const { receipt } = unwrap(await ledger.append(useKey(1), never))
    expect(ledger.status()).not.toHaveProperty('overdue')
    expect(receipt.seq).toBe(5)
    expect(ledger.view().usage.encrypted.get(`${lidOf(1)}/1`)).toBe(2)
    expect(await expectWhole([receipt])).toBe(5)
  })

  it('settles a commit that never reached the stream by publishing it again', async () => {
    const { ledger } = await stack.openWriter({ url: proxy.url })
    proxy.mode = 'dark'
    const appended = ledger.append(drawRandom(), never)
    await until(() => ledger.status().inDoubt)
    expect((await stack.readAll()).length).toBe(2)
    proxy.mode = 'pass'
    expect(await expectWhole([unwrap(await appended).receipt])).toBe(3)
  })
})

describe('a writer whose server goes away', () => {
  const load = (count: number, append: (n: number) => Promise<unknown>) => {
    let stop = false
    const workers = Array.from({ length: count }, async (_, n) => {
      while (!stop) await append(n)
    })
    return async () => {
      stop = true
      await Promise.all(workers)
    }
  }

  it('loses no acknowledged record over three kills of the server under load', async () => {
    const { ledger } = await stack.openWriter()
    const receipts: { seq: number; hash: string }[] = []
    const finish = load(16, async () => {
      const result = await ledger.append(drawRandom(), never)
      if (result.ok) receipts.push(result.value.receipt)
    })
    for (let kill = 1; kill <= 3; kill += 1) {
      const before = receipts.length
      await until(() => receipts.length >= before + 100)
      await stack.server.halt('SIGKILL')
      await stack.server.resume()
      await until(() => !ledger.status().inDoubt)
    }
    const before = receipts.length
    await until(() => receipts.length >= before + 100)
    await finish()
    expect(ledger.status()).toMatchObject({ role: 'writer', epoch: 1 })
    await expectWhole(receipts)
    expect((await stack.readAll()).length).toBe(ledger.status().seq)
  })

  it('waits out a server that is frozen', async () => {
    const { ledger } = await stack.openWriter()
    const pid = stack.server.pid()
    expect(pid).toBeDefined()
    process.kill(pid ?? 0, 'SIGSTOP')
    const appended = ledger.append(drawRandom(), never)
    await until(() => ledger.status().inDoubt)
    process.kill(pid ?? 0, 'SIGCONT')
    expect(await expectWhole([unwrap(await appended).receipt])).toBe(3)
  })
})

describe('group commit', () => {
  it('writes far fewer commits than records under concurrent load', async () => {
    const { ledger } = await stack.openWriter()
    unwrap(await ledger.append(createKey(1), never))
    let answered = 0
    const workers = Array.from({ length: 64 }, async () => {
      for (let n = 0; n < 25; n += 1) {
        unwrap(await ledger.append(useKey(1), never))
        answered += 1
      }
    })
    await Promise.all(workers)
    const { commits, events } = ledger.metrics()
    expect(answered).toBe(1_600)
    // EpochOpened and KeyCreated are two commits more; ten records a commit are wanted at 64 in flight.
    expect(events).toBe(1_601)
    expect(commits).toBeLessThanOrEqual(162)
    expect(ledger.view().usage.encrypted.get(`${lidOf(1)}/1`)).toBe(1_600)
    await expectWhole([])
  })
})
