import { afterEach, describe, expect, it } from 'vitest'
import { SUBJECT_USAGE } from '../../../schemas/streams.ts'
import { encodeCommit, encodeEvent } from '../../../src/core/commit.ts'
import { createEventCheck } from '../../../src/core/eventCheck.ts'
import { must } from '../../../src/core/result.ts'
import type { StoredMessage } from '../../../src/ledger/commitStream.ts'
import { createEpochOpener, type Epoch } from '../../../src/ledger/epoch.ts'
import { createVerifier, type Tip } from '../../../src/ledger/tip.ts'
import { createFakeLedger, type FakeLedger, type FakeLedgerOptions } from '../../fixtures/fakeLedger.ts'
import { createFakeTime } from '../../fixtures/fakeTime.ts'
import { eventOf, lidOf } from '../../fixtures/history.ts'
import { createKey, drawRandom, never, unwrap, useKey } from '../../fixtures/ledgerEntries.ts'
import { toPlain } from '../../fixtures/plainView.ts'

let open: FakeLedger | undefined
afterEach(async () => {
  await open?.[Symbol.asyncDispose]()
  open = undefined
})

const start = async (options: FakeLedgerOptions = {}) => {
  const time = createFakeTime()
  const ledger = await createFakeLedger({ clock: time, scheduler: time, ...options })
  open = ledger
  return { ledger, time, stream: ledger.stream }
}

const turns = async (count = 5) => {
  for (let turn = 0; turn < count; turn += 1) await new Promise((resolve) => setImmediate(resolve))
}

/** The tip that any reader gets from what the stream holds. */
const rebuild = (ledger: FakeLedger): Tip => {
  const verifier = createVerifier(ledger.pin, createEventCheck())
  return ledger.stream.messages.reduce((tip, message) => {
    const next = verifier.advance(tip, message)
    if (!next.ok) throw new Error(next.error.message)
    return next.value
  }, verifier.start)
}

/** Puts a valid `EpochOpened` of somebody else at the end of the stream. */
const openForeignEpoch = async (ledger: FakeLedger): Promise<void> => {
  const epochs = createEpochOpener({ hsm: ledger.root, backend: 'main', writer: 'other', clock: { now: () => 1 } })
  const { commit, subject } = unwrap(await epochs.open(rebuild(ledger), never))
  ledger.stream.messages.push({ seq: commit.seq, subject, payload: commit.message })
}

const junk = (seq: number): StoredMessage => ({ seq, subject: 'kms.ledger.usage', payload: Buffer.from('junk') })

describe('a commit in doubt', () => {
  it('is published again with the same bytes and id until it is acknowledged', async () => {
    const { ledger, time, stream } = await start()
    stream.faults.push('lost', 'lost', 'lost')
    const appended = ledger.append(drawRandom(), never)
    await turns()
    expect(ledger.status().inDoubt).toBe(true)
    await time.advance(1_000)
    const { receipt } = unwrap(await appended)
    const attempts = stream.attempts.filter(({ seq }) => seq === receipt.seq)
    expect(attempts).toHaveLength(4)
    for (const attempt of attempts) expect(attempt).toEqual(attempts[0])
    expect(ledger.status()).toMatchObject({ inDoubt: false, seq: receipt.seq })
  })

  it.each([
    ['a read-back that is byte-equal', undefined],
    ['the duplicate acknowledgement of a repetition', 'unanswered' as const],
  ])('is settled by %s when its acknowledgement was lost', async (_how, blind) => {
    const { ledger, time, stream } = await start()
    stream.faults.push('unanswered')
    stream.blind = blind
    const appended = ledger.append(drawRandom(), never)
    await turns()
    await time.advance(1_000)
    expect(unwrap(await appended).receipt.seq).toBe(3)
    expect(stream.messages).toHaveLength(3)
    expect(stream.attempts.filter(({ seq }) => seq === 3)).toHaveLength(blind === undefined ? 1 : 2)
  })

  it('does not take an absent message in a read-back for a refusal', async () => {
    const { ledger, time, stream } = await start()
    stream.faults.push('unanswered')
    stream.blind = 'absent'
    const appended = ledger.append(drawRandom(), never)
    await turns()
    const later = ledger.append(drawRandom(32), never)
    await time.advance(1_000)
    expect(unwrap(await appended).receipt.seq).toBe(3)
    expect(unwrap(await later).receipt.seq).toBe(4)
    expect(new Set(stream.attempts.filter(({ seq }) => seq === 3).map(({ messageId }) => messageId)).size).toBe(1)
  })

  it('tells its callers at the deadline that the outcome is unknown, refuses others, and goes on settling', async () => {
    const { ledger, time, stream } = await start({ appendDeadlineMs: 15_000 })
    unwrap(await ledger.append(createKey(1), never))
    stream.faults.push(...Array.from({ length: 400 }, () => 'lost' as const))
    const before = ledger.view()
    const inCommit = ledger.append(useKey(1), never)
    await turns()
    const waiting = ledger.append(useKey(1), never)
    await time.advance(14_900)
    expect(ledger.status()).toMatchObject({ inDoubt: true, queued: 1 })
    await time.advance(200)
    expect(await inCommit).toMatchObject({ ok: false, error: { code: 'LEDGER_UNAVAILABLE' } })
    expect(await waiting).toMatchObject({ ok: false, error: { code: 'LEDGER_UNAVAILABLE' } })
    expect(await ledger.append(useKey(1), never)).toMatchObject({ error: { code: 'LEDGER_UNAVAILABLE' } })
    expect(ledger.view()).toBe(before)
    expect(ledger.committer.phase).toBe('overdue')
    stream.faults.length = 0
    await time.advance(1_000)
    await turns()
    // Taken after all: folded, and the writer goes on after it.
    expect(ledger.view().usage.encrypted.get(`${lidOf(1)}/1`)).toBe(1)
    const { receipt } = unwrap(await ledger.append(useKey(1), never))
    expect(receipt.seq).toBe(5)
    expect(new Set(stream.attempts.filter(({ seq }) => seq === 4).map(({ messageId }) => messageId)).size).toBe(1)
    expect(toPlain(rebuild(ledger).view)).toEqual(toPlain(ledger.view()))
  })

  it('is left to the next epoch when the service stops', async () => {
    const { ledger, stream } = await start()
    stream.faults.push(...Array.from({ length: 10 }, () => 'lost' as const))
    const appended = ledger.append(drawRandom(), never)
    await turns()
    ledger.committer.stop(false)
    expect(await ledger.ended).toEqual({ kind: 'stopped' })
    expect(await appended).toMatchObject({ error: { code: 'LEDGER_UNAVAILABLE' } })
  })
})

describe('a foreign message', () => {
  it('that opens a higher epoch demotes the writer at once', async () => {
    const { ledger, stream } = await start()
    await openForeignEpoch(ledger)
    expect(await ledger.append(drawRandom(), never)).toMatchObject({ error: { code: 'LEDGER_UNAVAILABLE' } })
    expect(await ledger.ended).toEqual({ kind: 'demoted' })
    expect(stream.messages).toHaveLength(3)
    expect(await ledger.append(drawRandom(), never)).toMatchObject({ error: { code: 'LEDGER_UNAVAILABLE' } })
  })

  it('is noticed by an idle writer too', async () => {
    const { ledger, time } = await start({ watchIntervalMs: 1_000 })
    await turns()
    await openForeignEpoch(ledger)
    await time.advance(1_100)
    expect(await ledger.ended).toEqual({ kind: 'demoted' })
  })

  it('that is not a valid commit stops the writer with an alarm that names the sequence', async () => {
    const { ledger, stream } = await start()
    stream.messages.push(junk(3))
    expect(await ledger.append(drawRandom(), never)).toMatchObject({ error: { code: 'LEDGER_UNAVAILABLE' } })
    expect(await ledger.ended).toMatchObject({ kind: 'alarm', fault: { kind: 'bad_commit' } })
    const end = await ledger.ended
    expect(end.kind === 'alarm' && end.fault.message).toContain('sequence 3')
  })

  it('of the same epoch, validly signed, is an alarm: the epoch key is in other hands', async () => {
    let stolen: Epoch | undefined
    const { ledger, stream } = await start({ onEpoch: (epoch) => (stolen = epoch) })
    const { view, chain } = rebuild(ledger)
    const place = { origin: view.at.origin, epoch: view.at.epoch, seq: 3, first: chain.events, prev: chain.hash }
    const events = [encodeEvent(eventOf('RandomGenerated', { bytes: 99 }))]
    must(stolen !== undefined, 'the epoch was opened')
    const { kid, sign } = stolen
    const commit = encodeCommit({ ...place, timeMs: 1, subject: SUBJECT_USAGE, events, kid, sign })
    stream.messages.push({ seq: 3, subject: SUBJECT_USAGE, payload: commit.message })
    expect(await ledger.append(drawRandom(), never)).toMatchObject({ error: { code: 'LEDGER_UNAVAILABLE' } })
    const end = await ledger.ended
    expect(end.kind === 'alarm' && end.fault.message).toContain('this writer did not make')
  })

  it.each([
    ['as a duplicate of', true],
    ['at', false],
  ])('acknowledged %s another sequence stops the writer with an alarm', async (words, duplicate) => {
    const { ledger, stream } = await start()
    stream.faults.push({ kind: 'acked', seq: 2, duplicate })
    expect(await ledger.append(drawRandom(), never)).toMatchObject({ error: { code: 'LEDGER_UNAVAILABLE' } })
    const end = await ledger.ended
    expect(end.kind === 'alarm' && end.fault.message).toContain(`commit 3 ${words} sequence 2`)
  })

  it('is not guessed at: a stream that lost acknowledged commits is an alarm only after the deadline', async () => {
    const { ledger, stream, time } = await start({ appendDeadlineMs: 5_000 })
    unwrap(await ledger.append(drawRandom(), never))
    stream.messages.pop()
    const appended = ledger.append(drawRandom(32), never)
    await turns()
    await time.advance(4_000)
    expect(ledger.committer.phase).toBe('in_doubt')
    await time.advance(2_000)
    expect(await appended).toMatchObject({ error: { code: 'LEDGER_UNAVAILABLE' } })
    const end = await ledger.ended
    expect(end.kind === 'alarm' && end.fault.message).toContain('acknowledged commits are lost')
  })
})

describe('epochs', () => {
  const limits = { commitsRenew: 3, commitsMax: 6, ageRenewMs: 86_400_000, ageMaxMs: 7 * 86_400_000 }

  it('are renewed after so many commits, between two commits, under a new key', async () => {
    const { ledger } = await start({ epochLimits: limits })
    const seqs: number[] = []
    for (let n = 0; n < 5; n += 1) seqs.push(unwrap(await ledger.append(drawRandom(), never)).receipt.seq)
    expect(seqs).toEqual([3, 4, 5, 7, 8])
    expect(ledger.status().epoch).toBe(2)
    expect(rebuild(ledger).view.at).toEqual(ledger.view().at)
  })

  it('are renewed after a day', async () => {
    const { ledger, time } = await start({ epochLimits: { ...limits, commitsRenew: 1000, commitsMax: 2000 } })
    await time.advance(86_400_000)
    unwrap(await ledger.append(drawRandom(), never))
    expect(ledger.status().epoch).toBe(2)
  })

  it('go on with the old key while the HSM is away, until the renewal is a must', async () => {
    const { ledger } = await start({ epochLimits: limits })
    ledger.root.away = true
    for (let n = 0; n < 6; n += 1) unwrap(await ledger.append(drawRandom(), never))
    expect(ledger.status().epoch).toBe(1)
    expect(await ledger.append(drawRandom(), never)).toMatchObject({
      error: { code: 'LEDGER_UNAVAILABLE', message: expect.stringContaining('past its bound') },
    })
    expect(ledger.status()).toMatchObject({ expired: true, role: 'writer' })
    ledger.root.away = false
    unwrap(await ledger.append(drawRandom(), never))
    expect(ledger.status()).not.toHaveProperty('expired')
    expect(ledger.status().epoch).toBe(2)
  })

  it('past the must-bound are renewed by an idle writer too, since nobody sends records to one that refuses them', async () => {
    const { ledger, time } = await start({ epochLimits: { ...limits, commitsRenew: 1, commitsMax: 2 } })
    ledger.root.away = true
    for (let n = 0; n < 2; n += 1) unwrap(await ledger.append(drawRandom(), never))
    for (let n = 0; n < 2; n += 1) expect(await ledger.append(drawRandom(), never)).toMatchObject({ ok: false })
    const told = ledger.log.lines.filter(({ message }) => message.includes('past its bound'))
    expect(told).toHaveLength(1)
    ledger.root.away = false
    for (let n = 0; n < 3; n += 1) {
      await time.advance(1_000)
      await turns()
    }
    expect(ledger.status()).not.toHaveProperty('expired')
    expect(ledger.status().epoch).toBe(2)
  })

  it('whose renewal fails before the must-bound are tried again after a minute', async () => {
    const { ledger, time } = await start({ epochLimits: { ...limits, commitsRenew: 1, commitsMax: 1_000 } })
    ledger.root.away = true
    for (let n = 0; n < 5; n += 1) unwrap(await ledger.append(drawRandom(), never))
    ledger.root.away = false
    unwrap(await ledger.append(drawRandom(), never))
    expect(ledger.status().epoch).toBe(1)
    await time.advance(60_000)
    unwrap(await ledger.append(drawRandom(), never))
    expect(ledger.status().epoch).toBe(2)
  })

  it('are not waited for longer than a moment while the HSM hangs: the records go on under the old key', async () => {
    const { ledger, time } = await start({ epochLimits: { ...limits, commitsRenew: 1, commitsMax: 1_000 } })
    unwrap(await ledger.append(drawRandom(), never))
    ledger.root.hangs = true
    const appended = Promise.all(Array.from({ length: 20 }, () => ledger.append(drawRandom(), never)))
    await turns()
    await time.advance(1_000)
    for (const one of await appended) unwrap(one)
    expect(ledger.status().epoch).toBe(1)
    ledger.root.hangs = false
    await time.advance(60_000)
    unwrap(await ledger.append(drawRandom(), never))
    expect(ledger.status().epoch).toBe(2)
  })

  it('change under load without a request that fails or a place that is skipped', async () => {
    const { ledger } = await start({ epochLimits: { ...limits, commitsRenew: 2, commitsMax: 1_000 } })
    const worker = async (): Promise<readonly number[]> => {
      const seqs: number[] = []
      for (let n = 0; n < 30; n += 1) seqs.push(unwrap(await ledger.append(drawRandom(), never)).receipt.seq)
      return seqs
    }
    const all = await Promise.all([worker(), worker(), worker(), worker()])
    for (const seqs of all) expect(seqs).toEqual([...seqs].sort((a, b) => a - b))
    expect(ledger.status().epoch).toBeGreaterThan(5)
    expect(rebuild(ledger).view.at).toEqual(ledger.view().at)
    expect(toPlain(rebuild(ledger).view)).toEqual(toPlain(ledger.view()))
  })

  it.each(['lost', 'unanswered'] as const)(
    'whose EpochOpened is in doubt (%s) are settled before anything else is written',
    async (fault) => {
      const { ledger, time, stream } = await start({ epochLimits: { ...limits, commitsRenew: 1, commitsMax: 1_000 } })
      unwrap(await ledger.append(drawRandom(), never))
      stream.faults.push(fault)
      const appended = ledger.append(drawRandom(), never)
      await turns()
      await time.advance(1_000)
      const { receipt } = unwrap(await appended)
      expect(receipt.seq).toBe(5)
      expect(ledger.status().epoch).toBe(2)
      expect(rebuild(ledger).view.at).toEqual(ledger.view().at)
    },
  )
})

describe('commits', () => {
  it('one at a time are in flight, and the replies of one leave before the next is published', async () => {
    const { ledger, stream } = await start()
    const order: string[] = []
    let inFlight = 0
    stream.onPublish = async ({ seq }) => {
      inFlight += 1
      order.push(`publish ${seq}${inFlight === 1 ? '' : ' beside another'}`)
      await turns(2)
      inFlight -= 1
    }
    const reply = async (bytes: number) => {
      const { receipt } = unwrap(await ledger.append(drawRandom(bytes), never))
      // As many steps as a pipeline and a transport take.
      for (let step = 0; step < 50; step += 1) await Promise.resolve()
      order.push(`reply ${receipt.seq}`)
    }
    const replies = [reply(1), reply(2)]
    await turns(1)
    replies.push(reply(3))
    await turns(3)
    replies.push(reply(4))
    await Promise.all(replies)
    const seqs = order.map((line) => Number(line.split(' ')[1]))
    expect(order.filter((line) => line.startsWith('publish')).length).toBeGreaterThan(1)
    expect(seqs).toEqual([...seqs].sort((a, b) => a - b))
    expect(order.join()).not.toContain('beside')
  })

  it('carry the view that a reader folds from the stream', async () => {
    const { ledger } = await start()
    for (let n = 1; n <= 20; n += 1) unwrap(await ledger.append(createKey(n), never))
    await Promise.all(Array.from({ length: 200 }, (_, n) => ledger.append(useKey(1 + (n % 20)), never)))
    expect(toPlain(rebuild(ledger).view)).toEqual(toPlain(ledger.view()))
  })

  it('are not built for entries once the ledger drains, and what waits is written first', async () => {
    const { ledger } = await start()
    const waiting = [ledger.append(drawRandom(), never), ledger.append(drawRandom(), never)]
    ledger.committer.stop(true)
    for (const each of waiting) unwrap(await each)
    expect(await ledger.ended).toEqual({ kind: 'stopped' })
  })
})
