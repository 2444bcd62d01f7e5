import type { NatsConnection } from '@nats-io/transport-node'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { LIMITS } from '../../../schemas/limits.ts'
import { LedgerArchived } from '../../../src/client/ledgerFault.ts'
import { type LedgerPosition, type LedgerReaderOptions, openLedgerReader } from '../../../src/client/ledgerReader.ts'
import { toChainPosition } from '../../../src/core/chainPosition.ts'
import { createVerifier } from '../../../src/verify/verifier.ts'
import { createSampleHistory, type History, toEncrypted } from '../../fixtures/ledgerHistory.ts'
import { type LedgerServer, startLedgerServer } from '../../fixtures/ledgerServer.ts'
import { until } from '../../fixtures/ledgerStack.ts'
import { flipBitOf, toStreamDir } from '../../fixtures/natsStore.ts'

let ledger: LedgerServer
let history: History
let connection: NatsConnection
beforeEach(async () => {
  ledger = await startLedgerServer()
  connection = await ledger.connect()
  history = createSampleHistory(9)
})
afterEach(() => ledger[Symbol.asyncDispose]())

const use = (target: History, commits: number): void => {
  for (let n = 0; n < commits; n += 1) target.append([toEncrypted(1000 + n)])
}
/** Commits 1 to 12 and the roll, 13, in the first stream; 14 to 18 in the second. */
const roll = (): number => {
  history.rolled('KMS_LEDGER_2')
  use(history, 5)
  return history.messages.length
}
const seqsOf = (last: number, from = 1): readonly number[] =>
  Array.from({ length: last - from + 1 }, (_, n) => from + n)

const read = (options: Partial<LedgerReaderOptions> = {}) =>
  openLedgerReader({ connection, pin: history.pin, until: 'last', ...options })
/** The sequences of the commits that were given out, each once. */
const collect = async (options: Partial<LedgerReaderOptions> = {}): Promise<readonly number[]> => {
  const seqs: number[] = []
  for await (const { seq } of read(options)) if (seqs.at(-1) !== seq) seqs.push(seq)
  return seqs
}
/** After the whole commit `seq`, as it would be kept in a file. */
const positionAfter = async (seq: number): Promise<LedgerPosition> => {
  const reader = read()
  let position = reader.position()
  for await (const entry of reader) {
    if (entry.seq > seq) break
    position = JSON.parse(JSON.stringify(reader.position()))
  }
  return position
}
/** Follows in the background. */
const follow = (options: Partial<LedgerReaderOptions> = {}) => {
  const stopping = new AbortController()
  const seqs: number[] = []
  const ended = (async () => {
    const { connection: own = connection } = options
    const reader = openLedgerReader({ connection: own, pin: history.pin, signal: stopping.signal, ...options })
    for await (const { seq } of reader) if (seqs.at(-1) !== seq) seqs.push(seq)
  })()
  ended.catch(() => undefined)
  const stop = async () => {
    stopping.abort()
    await ended
  }
  return { seqs, ended, stop }
}
/** Requests that were sent, whatever they asked for. */
const countSent = (): number => Number(connection.stats().outMsgs)

describe('a ledger that goes on in another stream', () => {
  it('is read as one, from the oldest stream on', async () => {
    const last = roll()
    await ledger.put(history.messages)
    expect(await collect()).toEqual(seqsOf(last))
  })

  it.each([
    ['in the middle of the stream that ended', 5],
    ['before the roll', 12],
    ['after the roll', 13],
    ['in the stream in use', 15],
    ['at its end', 18],
  ])('is gone on with from a position %s', async (_where, seq) => {
    const last = roll()
    await ledger.put(history.messages)
    expect(await collect({ from: await positionAfter(seq) })).toEqual(seqsOf(last, seq + 1))
  })

  it('is followed over the roll by a reader that waits at the end of the stream', async () => {
    await ledger.put(history.messages)
    const following = follow()
    await until(() => following.seqs.at(-1) === 12)
    roll()
    await ledger.put(history.messages.slice(12, 13))
    await until(() => following.seqs.at(-1) === 13)
    // In the middle of the roll: what ends reading with the ledger ends, what follows waits.
    expect(await collect()).toEqual(seqsOf(13))
    await ledger.seal('KMS_LEDGER')
    expect(await collect({ from: await positionAfter(13) })).toEqual([])
    await ledger.create('KMS_LEDGER_2', 14)
    expect(await collect()).toEqual(seqsOf(13))
    await ledger.put(history.messages.slice(13))
    await until(() => following.seqs.at(-1) === 18)
    await following.stop()
    expect(following.seqs).toEqual(seqsOf(18))
  })

  it('ends, for now, where the stream that the roll has named is not there, whatever other streams are', async () => {
    history.rolled('KMS_LEDGER_3')
    const [rolled] = history.messages.slice(-1)
    use(history, 1)
    const [next] = history.messages.slice(-1)
    if (rolled === undefined || next === undefined) throw new Error('the history is too short')
    await ledger.put([...history.messages.slice(0, -1), { ...next, stream: 'KMS_LEDGER_2' }])
    expect(await collect()).toEqual(seqsOf(rolled.seq))
  })
})

describe('a ledger whose first stream was archived and deleted', () => {
  it('is refused without a position: the error says where it begins', async () => {
    roll()
    await ledger.put(history.messages)
    await ledger.remove('KMS_LEDGER')
    const refused: unknown = await collect().catch((error: unknown) => error)
    expect(refused).toBeInstanceOf(LedgerArchived)
    expect(refused).toMatchObject({ firstSeq: 14, message: expect.stringContaining('begin at 14, in KMS_LEDGER_2') })
  })

  it('is refused at a position in the stream that is gone, and read from one after it', async () => {
    const last = roll()
    await ledger.put(history.messages)
    const [early, rolled] = [await positionAfter(5), await positionAfter(13)]
    await ledger.remove('KMS_LEDGER')
    await expect(collect({ from: early })).rejects.toThrow(LedgerArchived)
    expect(await collect({ from: rolled })).toEqual(seqsOf(last, 14))
    // As somebody has it who has verified the archive.
    const verifier = createVerifier({ pin: history.pin, anchors: [], keepsTree: true })
    for (const message of history.messages.slice(0, 13)) verifier.add(message)
    const point = verifier.toResumePoint(verifier.finish())
    if (point === undefined) throw new Error('the archive does not verify')
    const verified = { chain: toChainPosition(point.chain), delivered: 0 }
    expect(await collect({ from: verified })).toEqual(seqsOf(last, 14))
  })

  it('is refused too where a reader comes back after a stream that it has not seen has come and gone', async () => {
    roll()
    history.rolled('KMS_LEDGER_3')
    use(history, 2)
    await ledger.put(history.messages)
    const rolled = await positionAfter(13)
    await ledger.remove('KMS_LEDGER_2')
    await expect(collect({ from: rolled })).rejects.toThrow(/begin at 20, in KMS_LEDGER_3/)
    await ledger.remove('KMS_LEDGER')
    await expect(follow({ from: rolled }).ended).rejects.toThrow(LedgerArchived)
  })

  it('is no ledger where there is no stream at all', async () => {
    await expect(collect()).rejects.toThrow(/stream not found/)
  })
})

describe('messages that the stream cannot give', () => {
  const RUN = 300

  it('are passed over by one question where a recovery names them', async () => {
    for (let n = 0; n < RUN; n += 1) history.skip()
    history.recovered()
    history.opened('epoch-3')
    use(history, 3)
    await ledger.put(history.messages)
    const before = countSent()
    const seqs = await collect()
    expect(seqs).toEqual(history.messages.map(({ seq }) => seq))
    expect(seqs.at(-1)).toBe(12 + RUN + 5)
    // What was asked ahead into the run, and some questions about the stream.
    expect(countSent() - before).toBeLessThan(seqs.length + LIMITS.ledgerGetsMax + 10)
  })

  it('are a fault where nothing names them, and nothing after them is given out', async () => {
    history.skip()
    use(history, 3)
    const seen: number[] = []
    await ledger.put(history.messages)
    const reading = async () => {
      for await (const { seq } of read()) seen.push(seq)
    }
    await expect(reading()).rejects.toThrow(/not valid at 13: the message is missing/)
    expect(seen.at(-1)).toBe(12)
  })

  const spoil = async (seq: number): Promise<void> => {
    await ledger.server.halt()
    await flipBitOf(toStreamDir(ledger.server.storeDir, 'KMS_LEDGER'), seq)
    await ledger.server.resume()
  }

  it('are a fault where the newest cannot be read, when reading ends there', async () => {
    await ledger.put(history.messages)
    await spoil(12)
    connection = await ledger.connect()
    await expect(collect()).rejects.toThrow(/not valid at 12: the server does not deliver it/)
  })

  it('are waited for where the newest cannot be read and reading goes on, until more comes after it', async () => {
    await ledger.put(history.messages)
    await spoil(12)
    connection = await ledger.connect()
    const following = follow({ connection })
    await until(() => following.seqs.at(-1) === 11)
    const before = countSent()
    await new Promise((resolve) => setTimeout(resolve, 2 * LIMITS.ledgerPollMsMax))
    // It is not asked for again and again.
    expect(countSent() - before).toBeLessThan(12)
    use(history, 1)
    await ledger.put(history.messages.slice(12))
    await expect(following.ended).rejects.toThrow(/not valid at 12: the message is missing/)
    expect(following.seqs).toEqual(seqsOf(11))
  })

  it('are a fault where the stream has become shorter than what was read', async () => {
    await ledger.put(history.messages)
    const position = await positionAfter(12)
    await ledger.remove('KMS_LEDGER')
    await ledger.create('KMS_LEDGER', 1)
    await expect(collect({ from: position })).rejects.toThrow(
      /not valid at 1: KMS_LEDGER ends before it, though 12 was/,
    )
  })
})

describe('back-pressure', () => {
  it('holds as many questions open as the limit says, until entries are taken', async () => {
    use(history, 300)
    await ledger.put(history.messages)
    const before = countSent()
    const reader = read()[Symbol.asyncIterator]()
    await reader.next()
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect(countSent() - before).toBeLessThan(LIMITS.ledgerGetsMax + 10)
    for (let taken = 0; taken < 200; taken += 1) await reader.next()
    expect(countSent() - before).toBeLessThan(200 + LIMITS.ledgerGetsMax + 10)
    await reader.return?.(undefined)
  })

  it('holds about as many bytes as the limit says where messages are as large as they may be', async () => {
    const big = { ...toEncrypted(1), request_id: 'x'.repeat(LIMITS.eventBytesMax - 1024) }
    for (let n = 0; n < 40; n += 1) history.append([big, big, big, big, big, big, big])
    await ledger.put(history.messages)
    const own = await ledger.connect()
    const before = Number(own.stats().inBytes)
    let taken = 0
    for await (const _entry of read({ connection: own, from: await positionAfter(20) })) {
      taken += 1
      await new Promise((resolve) => setTimeout(resolve, 500))
      break
    }
    expect(taken).toBe(1)
    // As base64 a third longer.
    expect(Number(own.stats().inBytes) - before).toBeLessThan(1.5 * LIMITS.ledgerGetsBytes)
  })
})
