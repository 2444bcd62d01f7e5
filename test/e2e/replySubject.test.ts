import { jetstreamManager } from '@nats-io/jetstream'
import { headers as createHeaders, type NatsConnection } from '@nats-io/transport-node'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { STREAM_LEDGER } from '../../schemas/streams.ts'
import { type Stack, startStack } from '../fixtures/stack.ts'
import { type Clients, connectAs, openClients } from '../fixtures/stackClients.ts'
import { listEvents, readLedger } from '../fixtures/stackLedger.ts'

let stack: Stack
let clients: Clients
let attacker: NatsConnection
let provision: NatsConnection
let keyId: string

beforeAll(async () => {
  stack = await startStack()
  clients = await openClients(stack)
  attacker = await connectAs(stack, 'app2')
  provision = await connectAs(stack, 'provision')
  keyId = (await clients.nats.createKey({ key_spec: 'AES_256' })).key.key_id
})
afterAll(async () => {
  for (const connection of [attacker, provision]) await connection?.close()
  await clients?.[Symbol.asyncDispose]()
  await stack?.[Symbol.asyncDispose]()
})

const readLastSeq = async (): Promise<number> =>
  (await (await jetstreamManager(provision)).streams.info(STREAM_LEDGER)).state.last_seq

/** What was recorded about reading the key's metadata in the commits after `seq`. */
const countDescribed = async (seq: number): Promise<number> =>
  listEvents(await readLedger(stack)).filter((entry) => entry.seq > seq && entry.event.action === 'kms:DescribeKey')
    .length

const readRefused = async (): Promise<number> => {
  const metrics = await (await fetch(`${stack.httpUrl}/metrics`)).text()
  return Number(/^kms_refused_reply_subjects_total (\d+)$/m.exec(metrics)?.[1])
}

/** Asks for the metadata of a key with an answer to go to `reply`; resolves once the server has the request. */
const describeWithReply = async (reply: string, token: string): Promise<void> => {
  const headers = createHeaders()
  headers.set('Authorization', `Bearer ${token}`)
  headers.set('Content-Type', 'application/json')
  const body = JSON.stringify({ key_id: keyId })
  attacker.publish('kms.v1.describe-key', body, { reply, headers })
  await attacker.flush()
}

/** A round trip through the service by another user: whatever was sent before has been dealt with. */
const settle = async (): Promise<void> => {
  for (let round = 0; round < 3; round++) await clients.nats.generateRandom({ number_of_bytes: 1 })
}

describe.each([
  'kms.ledger.state',
  'kms.ledger.usage',
  '$JS.API.STREAM.INFO.KMS_LEDGER',
  '$JS.API.STREAM.DELETE.KMS_LEDGER',
  'kms.v1.encrypt',
  'kms.feed.KeyCreated.x',
  '_INBOX',
  '_INBOX.>',
  '_INBOX.*',
])('a request whose reply subject is %s', (reply) => {
  test.each(['valid', 'wrong'])(
    'with a %s token is dropped, counted and neither recorded nor answered',
    async (token) => {
      const [seq, refused] = [await readLastSeq(), await readRefused()]
      await describeWithReply(reply, token === 'valid' ? stack.token : 'nobody')
      await settle()
      expect(await readRefused()).toBe(refused + 1)
      expect(await countDescribed(seq)).toBe(0)
    },
  )
})

describe('a request whose reply subject is the inbox of another user', () => {
  test('is answered there, to a user who did not ask, and shows the sender nothing', async () => {
    const victim = await connectAs(stack, 'app')
    const seen: string[] = []
    victim.subscribe('_INBOX.app.victim', { callback: (_error, message) => void seen.push(message.string()) })
    await victim.flush()
    const overheard: string[] = []
    attacker.subscribe('_INBOX.app2.>', { callback: (_error, message) => void overheard.push(message.subject) })
    const [seq, refused] = [await readLastSeq(), await readRefused()]
    await describeWithReply('_INBOX.app.victim', stack.token)
    await settle()
    await victim.flush()
    // The answer holds what the sender was allowed to read, so it leaks nothing of the victim's; a client tells answers
    // apart by inboxes that cannot be guessed.
    expect(seen).toHaveLength(1)
    expect(seen[0]).toContain(keyId)
    expect(overheard).toEqual([])
    expect(await readRefused()).toBe(refused)
    expect(await countDescribed(seq)).toBe(1)
    await victim.close()
  })

  test('cannot be read by subscribing it', async () => {
    const errors: string[] = []
    const subscription = attacker.subscribe('_INBOX.app.>', {
      callback: (error) => void errors.push(error?.name ?? 'message'),
    })
    await attacker.flush()
    await clients.nats.describeKey({ key_id: keyId })
    await new Promise((resolve) => setTimeout(resolve, 100))
    subscription.unsubscribe()
    expect(errors).toEqual(['PermissionViolationError'])
  })
})

test('afterwards the ledger holds valid commits only', async () => {
  const { report } = await readLedger(stack)
  expect(report.findings).toEqual([])
})
