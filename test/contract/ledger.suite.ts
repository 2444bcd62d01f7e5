import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Guard } from '../../projections/guards.ts'
import type { View } from '../../projections/view.ts'
import { SUBJECT_STATE, SUBJECT_USAGE } from '../../schemas/streams.ts'
import { startChain, stepChain } from '../../src/core/chain.ts'
import type { Pin } from '../../src/core/chainState.ts'
import { decodeCommit } from '../../src/core/commit.ts'
import type { EventsQuery } from '../../src/core/eventListing.ts'
import type { ProofQuery } from '../../src/core/ledgerProof.ts'
import { isIncluded, toLeafHash } from '../../src/core/merkle.ts'
import { isConsistent } from '../../src/core/merkleProof.ts'
import type { Ledger } from '../../src/core/ports.ts'
import { readFields } from '../../src/core/recordedEvent.ts'
import { must } from '../../src/core/result.ts'
import type { StoredMessage } from '../../src/ledger/commitStream.ts'
import { eventOf, keyCreated, lidOf } from '../fixtures/history.ts'
import { createKey, disableKey, drawRandom, entryOf, never, unwrap, useKey } from '../fixtures/ledgerEntries.ts'

/** A ledger that writes, whose queue takes 600 entries. */
export interface LedgerUnderTest extends AsyncDisposable {
  readonly ledger: Ledger<View, Guard>
  readonly pin: Pin
  readMessages(): Promise<readonly StoredMessage[]>
  /** Sets the ledger's own clock apart from the storage's. */
  setClockAhead(ms: number): void
}

export const QUEUE_MAX = 600

/** What every `Ledger` promises the pipeline. */
export const describeLedger = (name: string, open: () => Promise<LedgerUnderTest>) =>
  describe(name, () => {
    let under: LedgerUnderTest
    let keys = 0
    beforeAll(async () => {
      under = await open()
    })
    afterAll(() => under[Symbol.asyncDispose]())

    const append = async (...args: Parameters<typeof entryOf>) =>
      unwrap(await under.ledger.append(entryOf(...args), never))
    const eventsAt = async (seq: number) => {
      const message = (await under.readMessages())[seq - 1]
      must(message !== undefined, `there is no commit ${seq}`)
      const commit = decodeCommit(message.payload)
      must(commit.ok, 'the commit decodes')
      return { message, commit: commit.value, events: commit.value.events.map(readFields) }
    }
    const newKey = async () => {
      keys += 1
      unwrap(await under.ledger.append(createKey(keys), never))
      return keys
    }

    it('proves that a commit and its event stand in a tree, and that a smaller tree is its beginning', async () => {
      const n = await newKey()
      const { receipt } = await append([
        eventOf('KeyDescribed', { lid: lidOf(n) }),
        eventOf('DataEncrypted', { lid: lidOf(n), version: 1 }),
      ])
      const { seq, index } = receipt
      const proof = unwrap(await under.ledger.prove({ seq, index, treeSize: seq, fromSize: 2 }, never))
      expect(proof).toMatchObject({ origin: under.pin.origin, seq, treeSize: seq, event: { index } })
      const { commit, events } = await eventsAt(seq)
      expect(events).toHaveLength(2)
      expect(Buffer.from(proof.envelope)).toEqual(Buffer.from(commit.envelope))
      const { root, path, consistency, event } = proof
      const leafHash = toLeafHash(commit.envelope)
      expect(isIncluded({ leafHash, index: seq - 1, size: seq, path, root })).toBe(true)
      must(consistency !== undefined && event !== undefined, 'the proof has all parts')
      const sizes = { oldSize: 2, oldRoot: consistency.fromRoot, size: seq, root }
      expect(isConsistent({ ...sizes, path: consistency.path })).toBe(true)
      const place = { index, size: 2, root: commit.head.eventsRoot }
      expect(isIncluded({ ...place, leafHash: event.leafHash, path: event.path })).toBe(true)
    })

    it('proves nothing of a commit, event or size that is not there', async () => {
      const { seq } = await append([eventOf('LedgerHeadRead', {})]).then(({ receipt }) => receipt)
      const prove = async (query: ProofQuery) => codeOf(await under.ledger.prove(query, never))
      expect(await prove({ seq: seq + 1000 })).toBe('NOT_FOUND')
      expect(await prove({ seq, index: 1 })).toBe('NOT_FOUND')
      expect(await prove({ seq, treeSize: seq - 1 })).toBe('INVALID_REQUEST')
      expect(await prove({ seq, treeSize: seq + 1000 })).toBe('INVALID_REQUEST')
      expect(await prove({ seq: 1, treeSize: 3, fromSize: 4 })).toBe('INVALID_REQUEST')
      expect(await prove({ seq })).toBeUndefined()
    })

    it('lists what was recorded, in order, and of it what is wanted', async () => {
      const n = await newKey()
      const { receipt } = await append([
        eventOf('KeyDescribed', { lid: lidOf(n) }),
        eventOf('DataEncrypted', { lid: lidOf(n), version: 1 }),
      ])
      const list = async (query: Partial<EventsQuery>) =>
        unwrap(
          await under.ledger.list(
            { from: { seq: 1, index: 0 }, to: receipt.seq, filter: {}, itemsMax: 1000, ...query },
            never,
          ),
        )
      const stored = (await Promise.all(Array.from({ length: receipt.seq }, (_, at) => eventsAt(at + 1)))).flatMap(
        ({ commit, events }) =>
          events.map(({ type }, index) => ({ seq: commit.head.seq, index, type, hash: toHex(commit.hash) })),
      )
      const all = await list({})
      expect(all.items.map(({ seq, index, hash, fields }) => ({ seq, index, type: fields['type'], hash }))).toEqual(
        stored,
      )
      expect(all).toMatchObject({ reached: { seq: receipt.seq, hash: receipt.hash } })
      expect(all.next).toBeUndefined()
      const about = await list({ filter: { keyId: lidOf(n) } })
      expect(about.items.map(({ fields }) => fields['type'])).toEqual(['KeyCreated', 'KeyDescribed', 'DataEncrypted'])
      const first = await list({ filter: { keyId: lidOf(n) }, itemsMax: 2 })
      expect(first.items).toEqual(about.items.slice(0, 2))
      must(first.next !== undefined, 'there is more')
      expect((await list({ filter: { keyId: lidOf(n) }, from: first.next })).items).toEqual(about.items.slice(2))
      expect(await list({ from: { seq: receipt.seq + 1, index: 0 } })).toEqual({ items: [] })
    })

    it('answers with the place and hash of a durable record, and a view that holds it', async () => {
      const n = await newKey()
      const { receipt, view, refused } = await append([
        eventOf('KeyDescribed', { lid: lidOf(n) }),
        eventOf('DataEncrypted', { lid: lidOf(n), version: 1 }),
      ])
      const { commit, events } = await eventsAt(receipt.seq)
      expect(refused).toBeUndefined()
      expect(receipt).toEqual({ seq: commit.head.seq, index: 1, hash: Buffer.from(commit.hash).toString('hex') })
      expect(events.map(({ type }) => type)).toEqual(['KeyDescribed', 'DataEncrypted'])
      expect(view.usage.encrypted.get(`${lidOf(n)}/1`)).toBe(1)
      expect(view.at).toMatchObject({ seq: receipt.seq, hash: receipt.hash })
      expect(under.ledger.status()).toMatchObject({
        role: 'writer',
        seq: receipt.seq,
        hash: receipt.hash,
        inDoubt: false,
      })
    })

    it('puts a commit on the state subject when any of its events changes state, else on the usage subject', async () => {
      const [state, usage] = [
        await append([keyCreated(++keys)]),
        await append([eventOf('RandomGenerated', { bytes: 1 })]),
      ]
      expect((await eventsAt(state.receipt.seq)).message.subject).toBe(SUBJECT_STATE)
      expect((await eventsAt(usage.receipt.seq)).message.subject).toBe(SUBJECT_USAGE)
    })

    it('writes what waits together as one commit, in order of arrival, and never splits an entry', async () => {
      const n = await newKey()
      const pair = () =>
        entryOf([eventOf('KeyDescribed', { lid: lidOf(n) }), eventOf('DataEncrypted', { lid: lidOf(n), version: 1 })])
      const appended = (await Promise.all(Array.from({ length: 300 }, () => under.ledger.append(pair(), never)))).map(
        unwrap,
      )
      const commits = new Set(appended.map(({ receipt }) => receipt.seq))
      expect(commits.size).toBeLessThanOrEqual(4)
      const places = appended.map(({ receipt }) => receipt.seq * 1000 + receipt.index)
      expect(places).toEqual([...places].sort((a, b) => a - b))
      for (const { receipt } of appended) expect(receipt.index % 2).toBe(1)
      for (const seq of commits) expect((await eventsAt(seq)).events.length).toBeLessThanOrEqual(256)
    })

    it('checks guards against all earlier events of the same commit', async () => {
      const n = await newKey()
      const [before, disabled, after] = (
        await Promise.all([useKey(n), disableKey(n), useKey(n)].map((entry) => under.ledger.append(entry, never)))
      ).map(unwrap)
      expect([before?.refused, disabled?.refused]).toEqual([undefined, undefined])
      expect(after?.refused).toMatchObject({ code: 'KEY_NOT_USABLE' })
      const { events } = await eventsAt(after?.receipt.seq ?? 0)
      expect(events[after?.receipt.index ?? 0]).toMatchObject({ type: 'OperationFailed', code: 'KEY_NOT_USABLE' })
      expect(under.ledger.view().usage.encrypted.get(`${lidOf(n)}/1`)).toBe(1)
    })

    it('records one of two concurrent changes that rely on the same revision', async () => {
      const n = await newKey()
      const both = await Promise.all([disableKey(n), disableKey(n)].map((entry) => under.ledger.append(entry, never)))
      expect(both.map((each) => unwrap(each).refused?.code)).toEqual([undefined, 'REVISION_CONFLICT'])
    })

    it.each([
      ['is larger than an event may be', () => [eventOf('AuthenticationRefused', { count: 1, reasons: [] }), big()]],
      ['contradicts the view', () => [eventOf('KeyEnabled', { lid: lidOf(200), affected: 0 })]],
      ['does not fit its schema', () => [eventOf('RandomGenerated', { bytes: -1 })]],
      [
        'is the ledger’s own',
        () => [eventOf('LedgerRolled', { next_stream: 's', archived_to: { size: 1, root: new Uint8Array(32) } })],
      ],
      ['is missing', () => []],
      ['is one of more than a commit holds', () => Array.from({ length: 257 }, () => eventOf('LedgerHeadRead', {}))],
    ])('fails an entry alone whose event %s', async (_what, events) => {
      const n = await newKey()
      const [good, bad, alsoGood] = await Promise.all([
        under.ledger.append(useKey(n), never),
        under.ledger.append(entryOf(events()), never),
        under.ledger.append(useKey(n), never),
      ])
      expect(bad).toMatchObject({ ok: false, error: { code: 'INTERNAL' } })
      expect(unwrap(alsoGood).receipt.seq - unwrap(good).receipt.seq).toBeLessThanOrEqual(1)
      expect(under.ledger.view().usage.encrypted.get(`${lidOf(n)}/1`)).toBe(2)
    })

    it('drops an entry whose caller went away before it was taken, and tells a deadline from a cancellation', async () => {
      const gone = new AbortController()
      const before = under.ledger.status().seq
      const cancelled = under.ledger.append(drawRandom(), gone.signal)
      gone.abort()
      expect(await cancelled).toMatchObject({ ok: false, error: { code: 'CANCELLED' } })
      const late = new AbortController()
      const timedOut = under.ledger.append(drawRandom(), late.signal)
      late.abort(new DOMException('too late', 'TimeoutError'))
      expect(await timedOut).toMatchObject({ ok: false, error: { code: 'TIMEOUT' } })
      expect(await under.ledger.append(drawRandom(), gone.signal)).toMatchObject({ error: { code: 'CANCELLED' } })
      const { receipt } = await append([eventOf('LedgerHeadRead', {})])
      expect(receipt).toMatchObject({ seq: before + 1, index: 0 })
    })

    it('answers OVERLOADED beyond its bound, and writes what it took', async () => {
      const all = await Promise.all(
        Array.from({ length: QUEUE_MAX + 50 }, () => under.ledger.append(drawRandom(), never)),
      )
      const refused = all.filter((each) => !each.ok)
      expect(refused).toHaveLength(50)
      expect(refused[0]).toMatchObject({ error: { code: 'OVERLOADED' } })
    })

    it('lets the replies of a commit leave before the next commit is built', async () => {
      const order: string[] = []
      const note = async (name: string) => {
        const { receipt } = unwrap(await under.ledger.append(drawRandom(), never))
        // As many steps as a pipeline takes between the answer and the reply.
        for (let step = 0; step < 20; step += 1) await Promise.resolve()
        order.push(`${name} ${receipt.seq} ${under.ledger.status().seq - receipt.seq}`)
      }
      const first = note('first')
      await new Promise((resolve) => setImmediate(resolve))
      const second = note('second')
      await Promise.all([first, second])
      expect(order.map((line) => line.split(' ')[2])).toEqual(['0', '0'])
      expect(order[0]).toContain('first')
    })

    it('tells how far its clock is ahead of the storage’s at this moment, whatever the last commit says', async () => {
      await append([eventOf('LedgerHeadRead', {})])
      for (const aheadMs of [0, 3_600_000, -3_600_000, 0]) {
        under.setClockAhead(aheadMs)
        const skewMs = await under.ledger.measureClockSkew(never)
        expect(Math.abs((skewMs ?? Number.NaN) - aheadMs)).toBeLessThan(60_000)
      }
    })

    it('leaves one chain that verifies with origin and root public key alone', async () => {
      let chain = startChain(under.pin)
      for (const message of await under.readMessages()) {
        const step = stepChain(chain, message, { signatures: 'all' })
        expect(step.findings).toEqual([])
        chain = step.state
      }
      expect(chain.seq).toBe(under.ledger.status().seq)
      expect(Buffer.from(chain.hash).toString('hex')).toBe(under.ledger.status().hash)
    })
  })

const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

const codeOf = (result: { readonly ok: boolean; readonly error?: { readonly code: string } }) => result.error?.code

const big = () => ({ ...eventOf('LedgerHeadRead', {}), request_id: 'x'.repeat(64 * 1024) })
