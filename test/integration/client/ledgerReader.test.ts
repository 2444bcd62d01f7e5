import { connect, type NatsConnection } from '@nats-io/transport-node'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { LIMITS } from '../../../schemas/limits.ts'
import { LedgerFault } from '../../../src/client/ledgerFault.ts'
import {
  type LedgerEntry,
  type LedgerPosition,
  type LedgerReaderOptions,
  openLedgerReader,
} from '../../../src/client/ledgerReader.ts'
import { eventOf, lidOf } from '../../fixtures/history.ts'
import { createKey, disableKey, drawRandom, entryOf, never, unwrap } from '../../fixtures/ledgerEntries.ts'
import { type LedgerStack, type OpenLedger, startLedgerStack, until } from '../../fixtures/ledgerStack.ts'
import { startTcpProxy } from '../../fixtures/tcpProxy.ts'

const USES = 40

let stack: LedgerStack
let writer: OpenLedger
let auditor: NatsConnection
const open: NatsConnection[] = []

const connectAuditor = async (url?: string): Promise<NatsConnection> => {
  // A cut in the middle of a handshake is noticed when `timeout` has passed, which by default is 20 s.
  const login = { ...stack.server.login('auditor'), noAsyncTraces: true, reconnectTimeWait: 50, timeout: 1_000 }
  const connection = await connect({
    ...login,
    ...(url === undefined ? {} : { servers: url }),
    maxReconnectAttempts: -1,
  })
  open.push(connection)
  return connection
}
const read = (options: Partial<LedgerReaderOptions> = {}) =>
  openLedgerReader({ connection: auditor, pin: stack.pin, until: 'last', ...options })
const collect = async (options: Partial<LedgerReaderOptions> = {}): Promise<readonly LedgerEntry[]> => {
  const entries: LedgerEntry[] = []
  for await (const entry of read(options)) entries.push(entry)
  return entries
}
const placeOf = ({ seq, index }: LedgerEntry): string => `${seq}/${index}`

beforeAll(async () => {
  stack = await startLedgerStack()
  writer = await stack.openWriter()
  auditor = await connectAuditor()
  for (const n of [1, 2]) unwrap(await writer.ledger.append(createKey(n), never))
  // Side by side, so that some commits hold several events.
  const uses = Array.from({ length: USES }, (_, n) =>
    writer.ledger.append(
      entryOf([{ ...eventOf('RandomGenerated', { bytes: 1 + n }), principal: { id: `user-${n % 4}`, type: 'User' } }]),
      never,
    ),
  )
  for (const use of await Promise.all(uses)) unwrap(use)
  unwrap(await writer.ledger.append(disableKey(2), never))
})
afterEach(async () => {
  for (const connection of open.splice(1)) await connection.close()
})
afterAll(async () => {
  await auditor?.close()
  await stack?.[Symbol.asyncDispose]()
})

describe('reading the ledger with the client library', () => {
  it('gives every event once, in order, with the receipt of its operation and the data of its type', async () => {
    const { receipt } = unwrap(await writer.ledger.append(drawRandom(77), never))
    const entries = await collect()
    expect(new Set(entries.map(placeOf)).size).toBe(entries.length)
    expect(entries.map(({ type }) => type).slice(0, 4)).toEqual([
      'LedgerCreated',
      'EpochOpened',
      'KeyCreated',
      'KeyCreated',
    ])
    const drawn = entries.flatMap(({ event }) => (event?.type === 'RandomGenerated' ? [event.data.bytes] : []))
    expect(drawn.sort((a, b) => a - b)).toEqual([...Array.from({ length: USES }, (_, n) => 1 + n), 77])
    const last = entries.at(-1)
    expect({ seq: last?.seq, index: last?.index, hash: last?.hash }).toEqual(receipt)
  })

  it('gives identity tags in the exact bytes alone', async () => {
    const [entry] = await collect({ filter: { types: ['KeyCreated'] } })
    const shown = JSON.stringify([entry?.event, entry?.fields], (_, value) =>
      value instanceof Uint8Array ? Buffer.from(value).toString('latin1') : value,
    )
    expect(Buffer.from(entry?.bytes ?? []).includes('identity_tags')).toBe(true)
    expect(shown).toContain('description')
    expect(shown).not.toMatch(/identity_tags|_kms_key_id/)
  })

  it.each<[string, LedgerReaderOptions['filter'] & object, (entries: readonly LedgerEntry[]) => unknown, unknown]>([
    ['type', { types: ['KeyDisabled'] }, (found) => found.map(({ type }) => type), ['KeyDisabled']],
    ['key', { keyId: lidOf(2) }, (found) => found.map(({ type }) => type), ['KeyCreated', 'KeyDisabled']],
    ['principal', { principal: 'user-3' }, (found) => found.length, USES / 4],
    ['all of them', { keyId: lidOf(2), types: ['KeyCreated'] }, (found) => found.length, 1],
    ['what nothing fits', { principal: 'nobody' }, (found) => found.length, 0],
  ])('filters by %s', async (_what, filter, look, expected) => {
    expect(look(await collect({ filter }))).toEqual(expected)
  })

  it('goes on from any position, also between two events of a commit, without loss or repetition', async () => {
    const all = (await collect()).map(placeOf)
    for (const stopAfter of [1, 2, 5, 9, 20, all.length]) {
      const reader = read()
      const seen: string[] = []
      let position: LedgerPosition | undefined
      for await (const entry of reader) {
        seen.push(placeOf(entry))
        position = JSON.parse(JSON.stringify(reader.position()))
        if (seen.length === stopAfter) break
      }
      if (position === undefined) throw new Error('nothing was read')
      const rest = await collect({ from: position })
      expect([...seen, ...rest.map(placeOf)]).toEqual(all)
    }
  })

  it('refuses a position that is not of this ledger or was changed', async () => {
    const reader = read()
    for await (const _entry of reader) break
    const { chain, delivered } = reader.position()
    for (const wrong of [
      { chain: { ...chain, origin: 'other/0123456789abcdef' }, delivered },
      { chain: { ...chain, hash: 'x' }, delivered },
      { chain, delivered: -1 },
    ])
      await expect(collect({ from: wrong })).rejects.toThrow(TypeError)
    await expect(collect({ from: { chain: { ...chain, hash: '00'.repeat(32) }, delivered: 0 } })).rejects.toThrow(
      LedgerFault,
    )
  })

  it('follows the ledger over cut connections, each event once', async () => {
    await using proxy = await startTcpProxy(stack.server.port)
    const stopping = new AbortController()
    const before = (await collect()).length
    const seen: string[] = []
    const connection = await connectAuditor(proxy.url)
    const following = (async () => {
      for await (const entry of openLedgerReader({ connection, pin: stack.pin, signal: stopping.signal }))
        seen.push(placeOf(entry))
    })()
    await until(() => seen.length >= before)
    for (let n = 0; n < 3; n += 1) {
      proxy.cut()
      unwrap(await writer.ledger.append(drawRandom(), never))
    }
    await until(() => seen.length >= before + 3)
    stopping.abort()
    await following
    expect(new Set(seen).size).toBe(seen.length)
    expect(seen.length).toBe(before + 3)
  })

  it('asks for more only as entries are taken', async () => {
    const description = 'd'.repeat(LIMITS.descriptionBytesMax)
    const heavy = () =>
      writer.ledger.append(
        entryOf(Array.from({ length: 200 }, () => eventOf('KeyUpdated', { lid: lidOf(1), description }))),
        never,
      )
    for (let n = 0; n < 60; n += 1) unwrap(await heavy())
    const connection = await connectAuditor()
    for await (const _entry of read({ connection })) {
      await new Promise((resolve) => setTimeout(resolve, 500))
      break
    }
    expect(connection.stats().inBytes).toBeLessThan(LIMITS.ledgerGetsBytes)
  })

  it('ends at once where its user may not read the ledger', async () => {
    const connection = await connect({ ...stack.server.login('app'), noAsyncTraces: true })
    open.push(connection)
    await expect(collect({ connection })).rejects.toThrow(/permissions violation/i)
  })

  it('gives out nothing of a message that is no valid commit, nor of what follows, and says where', async () => {
    const valid = await collect()
    await writer.ledger.stop()
    const attacker = await stack.connect('kms-ledger')
    attacker.publish('kms.ledger.state', 'forged')
    await attacker.flush()
    const seen: LedgerEntry[] = []
    const reading = (async () => {
      for await (const entry of read()) seen.push(entry)
    })()
    const fault: unknown = await reading.catch((error: unknown) => error)
    expect(fault).toBeInstanceOf(LedgerFault)
    expect(fault instanceof LedgerFault ? fault.findings[0]?.seq : 0).toBe((valid.at(-1)?.seq ?? 0) + 1)
    expect(seen.length).toBe(valid.length)
  })
})
