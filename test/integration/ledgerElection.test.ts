import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { SUBJECT_USAGE } from '../../schemas/streams.ts'
import { startChain, stepChain } from '../../src/core/chain.ts'
import { WRITER_SUBJECT } from '../../src/ledger/election.ts'
import { lidOf } from '../fixtures/history.ts'
import { createKey, drawRandom, never, unwrap, useKey } from '../fixtures/ledgerEntries.ts'
import { type LedgerStack, startLedgerStack, until } from '../fixtures/ledgerStack.ts'
import { toPlain } from '../fixtures/plainView.ts'

let stack: LedgerStack
beforeEach(async () => {
  stack = await startLedgerStack()
})
afterEach(() => stack[Symbol.asyncDispose]())

const expectChain = async (): Promise<void> => {
  let chain = startChain(stack.pin)
  for (const message of await stack.readAll()) {
    const step = stepChain(chain, message, { signatures: 'all' })
    expect(step.findings).toEqual([])
    chain = step.state
  }
}

const openFollower = async (headFile: string) => {
  const follower = await stack.open({ headFile, trustOnFirstUse: true })
  if (!follower.ok) throw new Error(follower.error.message)
  const ready = await follower.value.ledger.whenReady()
  expect(ready.ok).toBe(true)
  return follower.value
}

describe('invariant 11: two services on one ledger never fork it', () => {
  it('have one writer; the other follows live, verifies, and refuses to append', async () => {
    const writer = await stack.openWriter()
    const follower = await openFollower(`${stack.files.head}.2`)
    unwrap(await writer.ledger.append(createKey(1), never))
    unwrap(await writer.ledger.append(useKey(1), never))
    await until(() => follower.ledger.status().seq === writer.ledger.status().seq)
    expect(toPlain(follower.ledger.view())).toEqual(toPlain(writer.ledger.view()))
    expect(await follower.ledger.append(drawRandom(), never)).toMatchObject({ error: { code: 'LEDGER_UNAVAILABLE' } })
    // Several questions and jitters later it still follows.
    await new Promise((resolve) => setTimeout(resolve, 1_500))
    expect(follower.ledger.status().role).toBe('follower')
    expect(writer.ledger.status()).toMatchObject({ role: 'writer', epoch: 1 })
  })

  it('change roles when the writer stops', async () => {
    const writer = await stack.openWriter()
    const follower = await openFollower(`${stack.files.head}.2`)
    unwrap(await writer.ledger.append(createKey(1), never))
    await writer.ledger.stop()
    await until(() => follower.ledger.status().role === 'writer')
    unwrap(await follower.ledger.append(useKey(1), never))
    expect(follower.ledger.status().epoch).toBe(2)
    expect(writer.roles.at(-1)).toBe('stopped')
    await expectChain()
  })

  it('change roles when the writer dies without a word', async () => {
    const writer = await stack.openWriter()
    const follower = await openFollower(`${stack.files.head}.2`)
    await writer.front.close()
    await writer.connection.close()
    await until(() => follower.ledger.status().role === 'writer')
    unwrap(await follower.ledger.append(drawRandom(), never))
    await expectChain()
  })

  it('change roles under load by take-over: the old writer is fenced, demotes, and follows the new one', async () => {
    const writer = await stack.openWriter()
    unwrap(await writer.ledger.append(createKey(1), never))
    const codes: string[] = []
    const receipts: number[] = []
    let loading = true
    const load = Array.from({ length: 8 }, async () => {
      while (loading) {
        const result = await writer.ledger.append(useKey(1), never)
        if (result.ok) receipts.push(result.value.receipt.seq)
        else {
          codes.push(result.error.code)
          await new Promise((resolve) => setTimeout(resolve, 5))
        }
      }
    })
    await until(() => receipts.length > 50)
    const other = await stack.open({ headFile: `${stack.files.head}.2`, trustOnFirstUse: true, takeOver: true })
    if (!other.ok) throw new Error(other.error.message)
    const { ledger } = other.value
    await until(() => ledger.status().role === 'writer')
    await until(() => writer.ledger.status().role === 'follower')
    await until(() => codes.length > 0)
    loading = false
    await Promise.all(load)
    expect(new Set(codes)).toEqual(new Set(['LEDGER_UNAVAILABLE']))
    const { receipt } = unwrap(await ledger.append(useKey(1), never))
    // What the old writer acknowledged stands before the new epoch.
    expect(Math.max(...receipts)).toBeLessThan(receipt.seq)
    expect(ledger.view().usage.encrypted.get(`${lidOf(1)}/1`)).toBe(receipts.length + 1)
    await until(() => writer.ledger.status().seq === ledger.status().seq)
    expect(toPlain(writer.ledger.view())).toEqual(toPlain(ledger.view()))
    await expectChain()
  })

  it('demote an idle writer within seconds of a take-over, and never fork', async () => {
    const writer = await stack.openWriter()
    const other = await stack.open({ headFile: `${stack.files.head}.2`, trustOnFirstUse: true, takeOver: true })
    if (!other.ok) throw new Error(other.error.message)
    await until(() => other.value.ledger.status().role === 'writer')
    await until(() => writer.ledger.status().role === 'follower')
    expect(writer.roles.slice(-2)).toEqual(['writer', 'follower'])
    unwrap(await other.value.ledger.append(createKey(2), never))
    await expectChain()
  })

  it('elect one of two that start at the same moment', async () => {
    const opened = await Promise.all(
      [1, 2].map((n) => stack.open({ headFile: `${stack.files.head}.${n}`, trustOnFirstUse: true })),
    )
    const ledgers = opened.flatMap((each) => (each.ok ? [each.value.ledger] : []))
    await until(() => ledgers.some((ledger) => ledger.status().role === 'writer'))
    await new Promise((resolve) => setTimeout(resolve, 1_000))
    expect(ledgers.map((ledger) => ledger.status().role).sort()).toEqual(['follower', 'writer'])
    await expectChain()
  })
})

describe('the question who writes', () => {
  it('is answered with epoch and sequence, to inboxes only', async () => {
    const { ledger } = await stack.openWriter()
    const asking = await stack.connect('kms-ledger')
    const answer = await asking.request(WRITER_SUBJECT, '', { timeout: 1_000 })
    expect(JSON.parse(answer.string())).toEqual({ epoch: 1, seq: ledger.status().seq })
    const before = (await stack.readAll()).length
    asking.publish(WRITER_SUBJECT, '', { reply: SUBJECT_USAGE })
    await asking.flush()
    await asking.request(WRITER_SUBJECT, '', { timeout: 1_000 })
    expect((await stack.readAll()).length).toBe(before)
  })
})

describe('a message in the ledger that is not a commit', () => {
  const publishJunk = async () => {
    const connection = await stack.connect('kms-ledger')
    await connection.request(SUBJECT_USAGE, 'junk', { timeout: 2_000 })
  }

  it('stops an idle writer with an alarm that names its sequence', async () => {
    const { ledger, roles } = await stack.openWriter()
    await publishJunk()
    await until(() => ledger.status().role === 'stopped')
    expect(ledger.status().alarm).toContain('sequence 3')
    expect(roles.at(-1)).toBe('stopped')
    expect(await ledger.append(drawRandom(), never)).toMatchObject({ error: { code: 'LEDGER_UNAVAILABLE' } })
    expect((await stack.readAll()).length).toBe(3)
  })

  it('stops a writer with records in hand, which are not confirmed, and every follower', async () => {
    const { ledger } = await stack.openWriter({ bounds: { writerAskIntervalMs: 60_000 } })
    const follower = await openFollower(`${stack.files.head}.2`)
    await publishJunk()
    expect(await ledger.append(drawRandom(), never)).toMatchObject({ error: { code: 'LEDGER_UNAVAILABLE' } })
    await until(() => ledger.status().role === 'stopped' && follower.ledger.status().role === 'stopped')
    expect(follower.ledger.status().alarm).toContain('sequence 3')
    expect((await stack.readAll()).length).toBe(3)
  })
})

describe('a writer that loses its HSM', () => {
  it('goes on writing with its epoch key; a new writer cannot start until the HSM is back', async () => {
    const writer = await stack.openWriter()
    stack.root.away = true
    unwrap(await writer.ledger.append(drawRandom(), never))
    await writer.ledger.stop()
    const next = await stack.open()
    if (!next.ok) throw new Error(next.error.message)
    await new Promise((resolve) => setTimeout(resolve, 600))
    expect(next.value.ledger.status().role).toBe('follower')
    stack.root.away = false
    await until(() => next.value.ledger.status().role === 'writer')
    expect(next.value.ledger.status().epoch).toBe(2)
  })
})
