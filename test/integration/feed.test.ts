import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect, type NatsConnection } from '@nats-io/transport-node'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { LIMITS } from '../../schemas/limits.ts'
import { openFeed } from '../../src/client/feed.ts'
import { connectNats } from '../../src/ledger/connections.ts'
import { createFeed } from '../../src/ledger/feed.ts'
import type { Committed } from '../../src/ledger/metrics.ts'
import { readGrantedConfig } from '../fixtures/feedGrant.ts'
import { eventOf } from '../fixtures/history.ts'
import { until } from '../fixtures/ledgerStack.ts'
import { type NatsServer, startNatsServer } from '../fixtures/natsServer.ts'
import { LID } from '../fixtures/scriptedDispatch.ts'
import { createTelemetryLog } from '../fixtures/telemetryLog.ts'

let dir: string
let server: NatsServer
let writer: NatsConnection
let app: NatsConnection
const counted = { published: 0, dropped: 0 }

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'kms-feed-'))
  const configFile = join(dir, 'nats.conf')
  await writeFile(configFile, await readGrantedConfig())
  server = await startNatsServer({ configFile })
  const passwordFile = join(dir, 'password')
  await writeFile(passwordFile, server.passwords['kms-ledger'])
  const connected = await connectNats({
    servers: [server.url],
    user: 'kms-ledger',
    passwordFile,
    telemetry: createTelemetryLog(),
  })
  if (!connected.ok) throw new Error(connected.error.message)
  writer = connected.value
  app = await connect({ ...server.login('app'), reconnectTimeWait: 50, maxReconnectAttempts: -1 })
  counted.published = 0
  counted.dropped = 0
})
afterEach(async () => {
  await app?.close()
  await writer?.close()
  await server?.stop()
  await rm(dir, { recursive: true, force: true })
})

const open = () =>
  createFeed({
    connection: writer,
    onMessages(outcome, count) {
      counted[outcome] += count
    },
  })

const disabled = (affected: number) => eventOf('KeyDisabled', { lid: LID, affected })
const commitOf = (seq: number, events: Committed['events']): Committed => ({
  seq,
  subject: 'kms.ledger.state',
  hash: 'a'.repeat(64),
  timeMs: 1_700_000_000_000,
  events,
  milliseconds: 1,
})

describe('the live feed', () => {
  test('reaches who was granted it, filtered by type and key, each event with its place in the ledger', async () => {
    const feed = open()
    const other = `lid_${'1'.repeat(64)}`
    const mine = await openFeed({ connection: app, type: 'KeyDisabled', keyId: LID })
    feed.announce(
      commitOf(5, [
        eventOf('DataEncrypted', { lid: LID, version: 1 }),
        eventOf('KeyDisabled', { lid: other, affected: 0 }),
        eventOf('KeyUpdated', { lid: LID, description: 'x' }),
        disabled(2),
      ]),
    )
    for await (const message of mine) {
      expect(message).toMatchObject({
        type: 'KeyDisabled',
        key_id: LID,
        time: '2023-11-14T22:13:20.000Z',
        data: { affected: 2 },
        receipt: { seq: 5, index: 3, hash: 'a'.repeat(64) },
      })
      break
    }
    await until(() => counted.published === 3)
    expect(counted.dropped).toBe(0)
  })

  test('drops and counts what does not fit into its bound, and goes on when there is room again', async () => {
    const feed = open()
    const long = eventOf('KeyUpdated', { lid: LID, description: 'x'.repeat(1024) })
    const count = Math.ceil(LIMITS.feedPendingBytesMax / 1024) + 100
    feed.announce(
      commitOf(
        5,
        Array.from({ length: count }, () => long),
      ),
    )
    expect(counted.dropped).toBeGreaterThan(100)
    await until(() => counted.published + counted.dropped === count)
    const before = counted.published
    feed.announce(commitOf(6, [disabled(0)]))
    await until(() => counted.published === before + 1)
  })

  test('drops and counts while the server is away, waits for nothing, and goes on when it is back', async () => {
    const feed = open()
    await server.halt('SIGKILL')
    const announced = () => counted.published + counted.dropped
    let sent = 0
    await until(() => {
      feed.announce(commitOf(7, [disabled(0)]))
      sent += 1
      return counted.dropped > 0
    })
    await server.resume()
    await until(() =>
      app.flush().then(
        () => true,
        () => false,
      ),
    )
    const seen = await openFeed({ connection: app, type: 'KeyDisabled' })
    const heard = seen[Symbol.asyncIterator]().next()
    let isHeard = false
    void heard.then(() => {
      isHeard = true
    })
    await until(() => {
      feed.announce(commitOf(8, [disabled(1)]))
      sent += 1
      return isHeard
    })
    expect((await heard).value).toMatchObject({ receipt: { seq: 8 } })
    await until(() => announced() === sent)
  })

  test('of a connection that is closed drops everything, and throws nothing', async () => {
    const feed = open()
    await writer.close()
    feed.announce(commitOf(9, [disabled(0), disabled(1)]))
    await until(() => counted.dropped === 2)
  })

  test('is refused to a user that was not granted it', async () => {
    const stranger = await connect({ ...server.login('app2') })
    try {
      const refused = openFeed({ connection: stranger }).then(async (feed) => {
        for await (const _message of feed) return 'heard'
        return 'ended'
      })
      await expect(refused).rejects.toThrow(/permission/i)
    } finally {
      await stranger.close()
    }
  })
})
