import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { LIMITS } from '../../../schemas/limits.ts'
import { startChain, stepChain, stepVouched } from '../../../src/core/chain.ts'
import { toMessageBatches } from '../../../src/verify/batches.ts'
import { formatExportLine } from '../../../src/verify/exportLine.ts'
import { createBatchReader } from '../../../src/verify/readBatch.ts'
import { createReaders, type Readers } from '../../../src/verify/readers.ts'
import { createVerifier } from '../../../src/verify/verifier.ts'
import { verifyExport, verifyMessages } from '../../../src/verify/verifyExport.ts'
import { countOf, isLongRun } from '../../fixtures/counts.ts'
import {
  createHistory,
  createSampleHistory,
  createSigner,
  type History,
  toEncrypted,
} from '../../fixtures/ledgerHistory.ts'
import { createMendedHistory, createRichHistory } from '../../fixtures/richHistory.ts'
import { createTamperings, createTwin, type Messages } from '../../fixtures/tamperings.ts'

/** Generous: many small ledgers, on a machine that may be busy. */
const TIMEOUT_MS = isLongRun ? 3_600_000 : 120_000

let threads: Readers
beforeAll(() => {
  threads = createReaders(2, 0)
})
afterAll(() => threads.close())

async function* chunksOf(text: string, bytes = 700): AsyncGenerator<Uint8Array> {
  const all = Buffer.from(text)
  for (let at = 0; at < all.length; at += bytes) yield all.subarray(at, at + bytes)
}
async function* from(messages: Messages) {
  yield* messages
}
const toLines = (messages: Messages): string => messages.map((message) => `${formatExportLine(message)}\n`).join('')

/** The judge without anyone who vouches. */
const judge = (
  { pin }: History,
  messages: Messages,
  { lastSeq, fast = false }: { readonly lastSeq?: number; readonly fast?: boolean } = {},
) => {
  const verifier = createVerifier({ pin, anchors: [], fast })
  for (const message of messages) verifier.add(message)
  return verifier.finish(lastSeq)
}

const NO_KEYS = { keys: [], signatures: 'all' } as const

/** A long ledger, of several batches, in which every kind of commit stands somewhere. */
const createLongHistory = (): History => {
  const history = createHistory()
  history.created()
  for (let epoch = 1; epoch <= 4; epoch++) {
    history.opened(`epoch-${epoch}`)
    for (let at = 0; at < 40; at++) history.append(Array.from({ length: 60 }, (_, id) => toEncrypted(id)))
  }
  return history
}

describe('reading in threads', () => {
  test('says the same as one thread of a ledger of many batches and epochs', async () => {
    const history = createLongHistory()
    const text = toLines(history.messages)
    expect(text.length).toBeGreaterThan(4 * LIMITS.verifyBatchBytes)
    const expected = judge(history, history.messages)
    expect(expected.verdict).toBe(1)
    for (const readers of [threads, createReaders(0)]) {
      const verifier = () => createVerifier({ pin: history.pin, anchors: [] })
      expect(await verifyExport(verifier(), chunksOf(text, 70_000), readers)).toEqual(expected)
      const { lastSeq } = expected
      expect(await verifyMessages(verifier(), from(history.messages), lastSeq, readers)).toEqual(expected)
    }
  })

  test(
    'says the same of every tampered ledger, read as a stream and as an export',
    async () => {
      for (const history of [createRichHistory(), createMendedHistory()])
        for (const [name, tampered] of Object.entries(createTamperings(history, createTwin(history.messages.length))))
          await fc.assert(
            fc.asyncProperty(tampered, async (messages) => {
              const verifier = () => createVerifier({ pin: history.pin, anchors: [] })
              const expected = { name, ...judge(history, messages) }
              expect({ name, ...(await verifyExport(verifier(), chunksOf(toLines(messages)), threads)) }).toEqual(
                expected,
              )
              const fast = createVerifier({ pin: history.pin, anchors: [], fast: true })
              expect({ name, ...(await verifyExport(fast, chunksOf(toLines(messages)), threads)) }).toEqual({
                ...{ name, ...judge(history, messages, { fast: true }) },
              })
              const lastSeq = Math.max(...messages.map(({ seq }) => seq))
              const asStream = await verifyMessages(verifier(), from(messages), lastSeq, threads)
              const isCut = messages.findIndex(({ seq }) => seq === lastSeq) < messages.length - 1
              if (!isCut) expect({ name, ...asStream }).toEqual({ name, ...judge(history, messages, { lastSeq }) })
            }),
            { numRuns: countOf('differential') },
          )
    },
    TIMEOUT_MS,
  )

  test('remembers keys from batches of a stream whose bytes were given away since', async () => {
    const { messages } = createRichHistory()
    const reader = createBatchReader()
    const counts: number[] = []
    for (let time = 0; time < 3; time++)
      for await (const { bytes, messages: metas = [] } of toMessageBatches(from(messages))) {
        const items = reader.read({ bytes, messages: metas }, NO_KEYS)
        // What postMessage does to a batch on its way back.
        structuredClone({ bytes, items }, { transfer: [bytes.buffer as ArrayBuffer] })
        counts.push(items.filter(({ vouched }) => vouched !== undefined).length)
      }
    expect(counts[0]).toBeGreaterThan(0)
    expect(new Set(counts).size).toBe(1)
  })

  test('is refused, not waited for, when a thread has ended', async () => {
    const readers = createReaders(1)
    await readers.close()
    await expect(readers.read({ bytes: new Uint8Array(1) }, NO_KEYS)).rejects.toThrow('a thread of the verifier ended')
  })
})

describe('a commit that somebody vouches for', () => {
  const history = createSampleHistory(3)
  const upTo = (count: number) => {
    let state = startChain(history.pin)
    for (const message of history.messages.slice(0, count))
      state = stepChain(state, message, { signatures: 'all' }).state
    return state
  }
  const read = (messages: Messages, keys: readonly Uint8Array[], signatures: 'all' | 'fast' = 'all') =>
    createBatchReader().read(
      {
        bytes: Buffer.concat(messages.map(({ payload }) => payload)),
        messages: messages.map(({ payload, ...message }) => ({ ...message, length: payload.length })),
      },
      { keys, signatures },
    )
  const state = upTo(2)
  const [item] = read(history.messages.slice(2, 3), [state.epochKey?.raw ?? Buffer.alloc(32)])
  const vouched = item?.vouched
  if (vouched === undefined) throw new Error('the third commit of the sample is an ordinary one')

  test('leads to the same chain as the judge', () => {
    const { message, commit } = vouched
    const judged = upTo(3)
    const { hash, events, seq, epoch } = stepVouched(state, message, commit) ?? state
    expect({ hash: Buffer.from(hash), events, seq, epoch }).toEqual({
      ...{ hash: Buffer.from(judged.hash), events: judged.events, seq: judged.seq, epoch: judged.epoch },
    })
  })

  test('is not taken at another place, from another key, or where no ordinary commit may stand', () => {
    const { message, commit } = vouched
    const bent = [
      stepVouched(upTo(1), message, commit),
      stepVouched(upTo(3), message, commit),
      stepVouched(state, { ...message, seq: message.seq + 1 }, commit),
      stepVouched(state, { ...message, subject: 'kms.ledger.other' }, commit),
      stepVouched(state, { ...message, stream: 'OTHER' }, commit),
      stepVouched(state, message, { ...commit, signedBy: Buffer.alloc(32, 1) }),
      stepVouched(state, message, { ...commit, head: { ...commit.head, first: commit.head.first + 1 } }),
      stepVouched(state, message, { ...commit, head: { ...commit.head, prev: Buffer.alloc(32, 1) } }),
      stepVouched(state, message, { ...commit, head: { ...commit.head, epoch: commit.head.epoch + 1 } }),
    ]
    expect(bent.filter((next) => next !== undefined)).toEqual([])
  })

  test('is signed by a key that was given or stands before it in the batch, and by no other', () => {
    expect(read(history.messages.slice(2, 3), [])[0]?.vouched).toBeUndefined()
    expect(read(history.messages.slice(1, 3), []).map(({ vouched: has }) => has !== undefined)).toEqual([false, true])
    expect(read(history.messages.slice(2, 3), [Buffer.alloc(32, 2)])[0]?.vouched).toBeUndefined()
  })

  test('is covered, in fast reading, by the next commit of its batch, which names it', () => {
    const longer = createHistory()
    longer.created()
    longer.opened('epoch-1')
    const forged = { signer: createSigner('stranger'), kid: createSigner('epoch-1').kid }
    longer.append([toEncrypted(1)])
    const { hash: prev } = longer.append([toEncrypted(2)], forged)
    longer.append([toEncrypted(3)], { prev })
    longer.append([toEncrypted(4)], forged)
    const found = (signatures: 'all' | 'fast') =>
      read(longer.messages.slice(1), [], signatures).map(({ vouched: has }) => has !== undefined)
    expect(found('all')).toEqual([false, true, false, true, false])
    expect(found('fast')).toEqual([false, true, true, true, false])
  })
})
