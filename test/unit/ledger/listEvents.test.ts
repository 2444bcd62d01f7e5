import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { LIMITS } from '../../../schemas/limits.ts'
import { decodeCommit } from '../../../src/core/commit.ts'
import { type EventFilter, isWanted } from '../../../src/core/eventFilter.ts'
import type { EventListing, EventPlace, EventsQuery, ListedEvent } from '../../../src/core/eventListing.ts'
import { toGapLeafHash } from '../../../src/core/gap.ts'
import { toLeafHash } from '../../../src/core/merkle.ts'
import { readFields } from '../../../src/core/recordedEvent.ts'
import { must } from '../../../src/core/result.ts'
import type { StoredMessage } from '../../../src/ledger/commitStream.ts'
import { createEventLister, type EventSource } from '../../../src/ledger/listEvents.ts'
import { never, unwrap } from '../../fixtures/ledgerEntries.ts'
import { createSampleHistory, LID, TIME_MS, toEncrypted } from '../../fixtures/ledgerHistory.ts'
import { createMendedHistory, createRichHistory } from '../../fixtures/richHistory.ts'
import { createTelemetryLog } from '../../fixtures/telemetryLog.ts'
import { createTreeOfLeaves } from '../../fixtures/treeOfLeaves.ts'

const lastOf = (messages: readonly StoredMessage[]): number => messages.at(-1)?.seq ?? 0

/** The leaves of what was verified; a message that is no commit was recovered over. */
const toTree = (messages: readonly StoredMessage[]) => {
  const bySeq = new Map(messages.map((message) => [message.seq, message.payload]))
  return createTreeOfLeaves(
    Array.from({ length: lastOf(messages) }, (_, at) => {
      const payload = bySeq.get(at + 1)
      const commit = payload && decodeCommit(payload)
      return commit?.ok ? toLeafHash(commit.value.envelope) : toGapLeafHash(payload)
    }),
  )
}

/** A lister of messages as they stand now, where `verified` stood when they were verified. */
const listerOf = (
  verified: readonly StoredMessage[],
  stored: readonly StoredMessage[] = verified,
  more: Partial<EventSource> = {},
) => {
  const telemetry = createTelemetryLog()
  const tree = toTree(verified)
  const list = createEventLister({
    tree: () => tree,
    async *read({ from, to }) {
      for (const message of stored) if (message.seq >= from && message.seq <= to) yield message
    },
    begin: async () => 1,
    telemetry,
    ...more,
  })
  const ask = (query: Partial<EventsQuery> = {}, signal = never) =>
    list({ from: { seq: 1, index: 0 }, to: tree.size, filter: {}, itemsMax: 1000, ...query }, signal)
  return { ask, telemetry }
}

/** All events of a stream, its commits in order. */
const listAll = (messages: readonly StoredMessage[]) =>
  messages.flatMap(({ seq, payload }) => {
    const commit = decodeCommit(payload)
    return commit.ok ? commit.value.events.map((event, index) => ({ seq, index, fields: readFields(event) })) : []
  })

const toPlaces = (items: readonly EventPlace[]) => items.map(({ seq, index }) => `${seq}/${index}`)

/** Page after page until there is none. */
const readPages = async (ask: ReturnType<typeof listerOf>['ask'], query: Partial<EventsQuery>) => {
  const pages: (readonly ListedEvent[])[] = []
  let from: EventPlace | undefined = query.from ?? { seq: 1, index: 0 }
  while (from !== undefined) {
    const page: EventListing = unwrap(await ask({ ...query, from }))
    pages.push(page.items)
    from = page.next
  }
  return pages
}

const HISTORIES = [createRichHistory(), createMendedHistory(), createSampleHistory(24)].map(({ messages }) => messages)

const filters: fc.Arbitrary<EventFilter> = fc.record(
  {
    types: fc.subarray(['DataEncrypted', 'KeyCreated', 'EpochOpened', 'KeyPolished'], { minLength: 1 }),
    keyId: fc.constantFrom(LID, `lid_${'00'.repeat(32)}`),
    principal: fc.constantFrom('alice', 'admin', 'nobody'),
    action: fc.constantFrom('kms:Encrypt', 'kms:EpochOpened'),
    outcome: fc.constantFrom('success', 'denied'),
    requestId: fc.constantFrom('request-2', 'request-none'),
  },
  { requiredKeys: [] },
)

describe('a ledger whose older streams were deleted', () => {
  it('is listed from the first sequence that is left, wherever the list would begin', async () => {
    const messages = createRichHistory().messages
    const begin = Math.ceil(lastOf(messages) / 2)
    const left = messages.filter(({ seq }) => seq >= begin)
    const { ask } = listerOf(messages, left, { begin: async () => begin })
    const { items } = unwrap(await ask())
    expect(toPlaces(items)).toEqual(toPlaces(listAll(left)))
    expect(toPlaces(unwrap(await ask({ from: { seq: begin - 1, index: 5 } })).items)).toEqual(toPlaces(items))
  })
})

describe('listing events of the ledger', () => {
  it('gives, page after page of any size, all that a filter wants, in order and once', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...HISTORIES),
        filters,
        fc.integer({ min: 1, max: 8 }),
        async (messages, filter, itemsMax) => {
          const pages = await readPages(listerOf(messages).ask, { filter, itemsMax })
          for (const page of pages) expect(page.length).toBeLessThanOrEqual(itemsMax)
          const wanted = listAll(messages).filter(({ fields }) => isWanted(fields, filter))
          expect(toPlaces(pages.flat())).toEqual(toPlaces(wanted))
        },
      ),
      { numRuns: 60 },
    )
  })

  it('keeps to a range of sequences, and begins inside a commit', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...HISTORIES),
        fc.record({ seq: fc.integer({ min: 1, max: 30 }), index: fc.nat(4) }),
        fc.integer({ min: 1, max: 30 }),
        async (messages, from, to) => {
          const { items, reached, next } = unwrap(await listerOf(messages).ask({ from, to }))
          const wanted = listAll(messages).filter(
            ({ seq, index }) => seq <= to && (seq > from.seq || (seq === from.seq && index >= from.index)),
          )
          expect(toPlaces(items)).toEqual(toPlaces(wanted))
          expect(next).toBeUndefined()
          expect(reached?.seq ?? 0).toBeLessThanOrEqual(to)
        },
      ),
      { numRuns: 60 },
    )
  })

  it('shows what was recorded with the hash of its commit, bytes as base64, and never identity tags', async () => {
    const [messages = []] = HISTORIES
    const { items, reached } = unwrap(await listerOf(messages).ask())
    const text = JSON.stringify(items)
    expect(text).not.toContain('identity-tag-marker')
    expect(text).not.toContain('identity_tags')
    const made = items.find(({ fields }) => fields['type'] === 'KeyCreated')
    expect(made?.fields).toMatchObject({ data: { user_tags: [{ key: 'team', value: 'blue' }] } })
    const used = items.find(({ fields }) => fields['type'] === 'DataEncrypted')
    expect(used?.fields).toMatchObject({
      principal: { id: 'alice' },
      context_hash: Buffer.alloc(32, 2).toString('base64'),
      data: { lid: LID, version: 1 },
    })
    const commit = decodeCommit(messages[lastOf(messages) - 1]?.payload ?? Buffer.alloc(0))
    must(commit.ok, 'the last commit decodes')
    expect(reached).toEqual({ seq: lastOf(messages), hash: Buffer.from(commit.value.hash).toString('hex') })
  })

  it('goes by the time of commits, from one moment on and before another', async () => {
    const [messages = []] = HISTORIES
    const { items } = unwrap(await listerOf(messages).ask({ fromMs: TIME_MS + 2, untilMs: TIME_MS + 4 }))
    expect([...new Set(items.map(({ seq }) => seq))]).toEqual([3, 4])
  })

  it('ends where a bound of commits, of bytes to look at or to show is met, and goes on from there', async () => {
    const history = createSampleHistory(0)
    for (let n = 0; n < LIMITS.eventListCommitsMax; n += 1) history.append([toEncrypted(n)])
    const { ask } = listerOf(history.messages)
    const empty = unwrap(await ask({ filter: { types: ['KeyCreated'] } }))
    expect(empty).toMatchObject({ items: [], next: { seq: LIMITS.eventListCommitsMax + 1, index: 0 } })
    expect(await readPages(ask, { filter: { types: ['KeyCreated'] } })).toEqual([[], []])

    const heavy = createSampleHistory(0)
    const events = Array.from({ length: 60 }, (_, n) => ({ ...toEncrypted(n), request_id: '\u0001'.repeat(8000) }))
    for (let n = 0; n < 20; n += 1) heavy.append(events)
    const page = unwrap(await listerOf(heavy.messages).ask({}))
    expect(Buffer.byteLength(JSON.stringify(page.items))).toBeLessThan(LIMITS.pageBytesMax + 64 * 1024)
    expect(page.next?.index).toBeGreaterThan(0)
    const looked = unwrap(await listerOf(heavy.messages).ask({ filter: { principal: 'nobody' } }))
    expect(looked.items).toEqual([])
    expect(looked.next?.seq).toBeLessThan(lastOf(heavy.messages))
  })

  it('says where it stopped when the time is up, and that it has nothing if there was none', async () => {
    const [messages = []] = HISTORIES
    const stopping = new AbortController()
    const { ask } = listerOf(messages, messages, {
      async *read(_range, signal) {
        for (const message of messages) {
          if (signal.aborted) return
          yield message
          if (message.seq === 3) stopping.abort()
        }
      },
    })
    expect(unwrap(await ask({}, stopping.signal))).toMatchObject({ reached: { seq: 3 }, next: { seq: 4, index: 0 } })
    expect(await ask({}, stopping.signal)).toMatchObject({ error: { code: 'LEDGER_UNAVAILABLE' } })
  })

  it('refuses more listings at once than the bound', async () => {
    const [messages = []] = HISTORIES
    const { ask } = listerOf(messages)
    const answers = await Promise.all(Array.from({ length: LIMITS.eventListsMax + 1 }, () => ask()))
    expect(answers.map((answer) => answer.ok)).toEqual([...Array(LIMITS.eventListsMax).fill(true), false])
    expect(answers.at(-1)).toMatchObject({ error: { code: 'OVERLOADED' } })
    expect(await ask()).toMatchObject({ ok: true })
  })

  it('answers LEDGER_UNAVAILABLE while there is no tree, or the stream does not answer', async () => {
    const [messages = []] = HISTORIES
    const none = listerOf(messages, messages, { tree: () => undefined })
    expect(await none.ask()).toMatchObject({ error: { code: 'LEDGER_UNAVAILABLE' } })
    const away = listerOf(messages, messages, {
      // biome-ignore lint/correctness/useYield: it fails before there is anything to give
      async *read() {
        throw new Error('no responders')
      },
    })
    expect(await away.ask()).toMatchObject({ error: { code: 'LEDGER_UNAVAILABLE' } })
    expect(away.telemetry.lines).toMatchObject([{ level: 'warn' }])
  })
})

describe('a stream that somebody has written to since it was verified', () => {
  const [messages = []] = HISTORIES
  const others = createSampleHistory(24, 'another root').messages
  const [, mended = []] = HISTORIES
  const replace = (seq: number, payload: Uint8Array) =>
    messages.map((message) => (message.seq === seq ? { ...message, payload } : message))
  const flip = (seq: number) => {
    const payload = Uint8Array.from(messages[seq - 1]?.payload ?? [])
    payload.fill(0xff, payload.length - 1)
    return replace(seq, payload)
  }

  it.each([
    ['a byte of an event is another', 4, messages, flip(4)],
    ['a commit is another valid one', 7, messages, replace(7, messages[5]?.payload ?? Buffer.alloc(0))],
    ['a message is gone', 5, messages, messages.filter(({ seq }) => seq !== 5)],
    ['the last message is gone', lastOf(messages), messages, messages.slice(0, -1)],
    ['all is another ledger', 1, messages, others],
    [
      'what was recovered over is other rubbish',
      4,
      mended,
      mended.map((message) => (message.seq === 4 ? { ...message, payload: Buffer.from('x') } : message)),
    ],
    [
      'where there was a hole there is a commit',
      5,
      mended,
      [...mended, { seq: 5, subject: 'kms.ledger.usage', payload: mended[2]?.payload ?? Buffer.alloc(0) }].sort(
        (a, b) => a.seq - b.seq,
      ),
    ],
  ])('is not listed past the place where %s', async (_what, at, verified, stored) => {
    const { ask, telemetry } = listerOf(verified, stored)
    const answer = await ask()
    expect(answer).toMatchObject({ ok: false, error: { code: 'LEDGER_UNAVAILABLE' } })
    expect(answer.ok ? '' : answer.error.message).toContain(`at sequence ${at} `)
    expect(telemetry.lines).toMatchObject([{ level: 'error', fields: { seq: at } }])
    if (at > 1) expect(unwrap(await ask({ to: at - 1 })).next).toBeUndefined()
  })
})
