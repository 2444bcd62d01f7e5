import { setTimeout as sleep } from 'node:timers/promises'
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { connect, createInbox, type NatsConnection, PermissionViolationError } from '@nats-io/transport-node'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { NATS_USERS, type NatsUser } from '../../src/cli/dev/natsEnvironment.ts'
import { type NatsServer, startNatsServer } from '../fixtures/natsServer.ts'

interface Client {
  readonly nc: NatsConnection
  /** Whether the server lets this user publish to `subject`; the reply subject keeps answers out of the way. */
  mayPublish(subject: string, reply?: string): Promise<boolean>
  maySubscribe(subject: string): Promise<boolean>
}

/** The server answers in order: what it refused is known once the PONG of a later PING is here. */
const openClient = async (login: ReturnType<NatsServer['login']>): Promise<Client> => {
  const nc = await connect(login)
  const refused: string[] = []
  void (async () => {
    for await (const status of nc.status()) {
      if (status.type === 'error' && status.error instanceof PermissionViolationError)
        refused.push(status.error.subject)
    }
  })()
  const settle = async (subject: string): Promise<boolean> => {
    await nc.flush()
    await new Promise((resolve) => setImmediate(resolve))
    return !refused.splice(0).includes(subject)
  }
  return {
    nc,
    async mayPublish(subject, reply) {
      nc.publish(subject, 'x', reply === undefined ? {} : { reply })
      return settle(subject)
    },
    async maySubscribe(subject) {
      const subscription = nc.subscribe(subject, { callback: () => undefined })
      const allowed = await settle(subject)
      if (allowed) subscription.unsubscribe()
      return allowed
    },
  }
}

let server: NatsServer
const clients = new Map<NatsUser, Client>()
const as = (user: NatsUser): Client => {
  const client = clients.get(user)
  if (client === undefined) throw new Error(`no client of ${user}`)
  return client
}

beforeAll(async () => {
  server = await startNatsServer()
  for (const user of NATS_USERS) clients.set(user, await openClient(server.login(user)))
  const manager = await jetstreamManager(as('provision').nc)
  await manager.streams.add({
    name: 'KMS_LEDGER',
    subjects: ['kms.ledger.state', 'kms.ledger.usage'],
    storage: 'file',
    discard: 'new',
    deny_delete: true,
    deny_purge: true,
  })
})

afterAll(async () => {
  for (const { nc } of clients.values()) await nc.close()
  await server.stop()
})

const ledgerMessages = async (): Promise<number> =>
  (await (await jetstreamManager(as('provision').nc)).streams.info('KMS_LEDGER')).state.messages

/** Everything anyone could want to publish to, and who may. */
const PUBLISH: readonly (readonly [subject: string, allowed: readonly NatsUser[]])[] = [
  ['kms.v1.encrypt', ['app', 'app2']],
  ['kms.writer', ['kms-ledger']],
  ['kms.feed.KeyCreated.lid_00', ['kms-ledger']],
  ['kms.checkpoints', ['kms-ledger']],
  ['kms.snapshots.0.manifest', ['kms-ledger']],
  ['_INBOX.app.x', ['kms-front']],
  ['_INBOX.kms-ledger.x', ['kms-front']],
  ['_INBOX.app2.x', ['kms-front']],
  ['$SRV.PING', ['provision']],
  ['$JS.API.INFO', ['kms-ledger', 'provision', 'auditor']],
  ['$JS.API.STREAM.NAMES', ['kms-ledger', 'provision', 'auditor']],
  ['$JS.API.STREAM.LIST', []],
  ['$JS.API.CONSUMER.NAMES.KMS_LEDGER', []],
  ['$JS.API.CONSUMER.CREATE.KMS_LEDGER', []],
  ['$JS.API.CONSUMER.CREATE.KMS_LEDGER.x.kms.ledger.state', ['kms-ledger']],
  ['$SYS.REQ.SERVER.PING', []],
  ['anything', []],
]

/** What anyone could want to ask about a stream, and who may, of every stream alike. */
const OF_STREAM: readonly (readonly [subject: string, allowed: readonly NatsUser[]])[] = [
  ['$JS.API.STREAM.INFO.*', ['kms-ledger', 'provision', 'auditor']],
  ['$JS.API.STREAM.CREATE.*', ['provision']],
  ['$JS.API.STREAM.UPDATE.*', ['provision']],
  ['$JS.API.STREAM.DELETE.*', ['provision']],
  ['$JS.API.STREAM.PURGE.*', []],
  ['$JS.API.STREAM.SNAPSHOT.*', []],
  ['$JS.API.STREAM.RESTORE.*', []],
  ['$JS.API.STREAM.MSG.DELETE.*', []],
  ['$JS.API.STREAM.MSG.GET.*', ['kms-ledger', 'auditor']],
  ['$JS.API.DIRECT.GET.*', []],
  ['$JS.API.CONSUMER.CREATE.*.x', ['kms-ledger']],
  ['$JS.API.CONSUMER.DURABLE.CREATE.*.x', []],
  ['$JS.API.CONSUMER.INFO.*.x', ['kms-ledger']],
  ['$JS.API.CONSUMER.DELETE.*.x', ['kms-ledger']],
  ['$JS.API.CONSUMER.MSG.NEXT.*.x', ['kms-ledger']],
  ['$JS.ACK.*.x.1.1.1.1.0', ['kms-ledger']],
  ['$JS.FC.*.x.y', ['kms-ledger']],
]
const STREAMS = ['KMS_LEDGER', 'KMS_LEDGER_2', 'KMS_CHECKPOINTS', 'KMS_SNAPSHOTS']

/** Everything anyone could want to hear, and who may. */
const SUBSCRIBE: readonly (readonly [subject: string, allowed: readonly NatsUser[]])[] = [
  ['kms.v1.>', ['kms-front']],
  ['kms.v1.encrypt', ['kms-front']],
  ['$SRV.PING', ['kms-front']],
  ['kms.writer', ['kms-front']],
  ['kms.ledger.state', []],
  ['kms.ledger.usage', []],
  ['kms.feed.>', []],
  ['kms.checkpoints', []],
  ['kms.snapshots.>', []],
  ['_INBOX.>', []],
  ['_INBOX.kms-front.>', []],
  ['_INBOX.kms-ledger.>', ['kms-ledger']],
  ['_INBOX.provision.>', ['provision']],
  ['_INBOX.auditor.>', ['auditor']],
  ['_INBOX.app.>', ['app']],
  ['_INBOX.app2.>', ['app2']],
  ['$JS.API.>', []],
  ['$SYS.>', []],
  ['>', []],
]

describe('rights of each NATS user', () => {
  const ofEach = STREAMS.flatMap((stream) =>
    OF_STREAM.map(([subject, allowed]) => [subject.replace('*', stream), allowed] as const),
  )
  test.each([...PUBLISH, ...ofEach])('%s is published by exactly its users', async (subject, allowed) => {
    const may: NatsUser[] = []
    for (const user of NATS_USERS) if (await as(user).mayPublish(subject)) may.push(user)
    expect(may).toEqual(NATS_USERS.filter((user) => allowed.includes(user)))
  })

  test.each(SUBSCRIBE)('%s is subscribed by exactly its users', async (subject, allowed) => {
    const may: NatsUser[] = []
    for (const user of NATS_USERS) if (await as(user).maySubscribe(subject)) may.push(user)
    expect(may).toEqual(NATS_USERS.filter((user) => allowed.includes(user)))
  })

  test('only the ledger connection can append, and only to the two subjects', async () => {
    const before = await ledgerMessages()
    for (const subject of ['kms.ledger.state', 'kms.ledger.usage', 'kms.ledger.other']) {
      for (const user of NATS_USERS) {
        const expected = user === 'kms-ledger' && subject !== 'kms.ledger.other'
        expect([user, subject, await as(user).mayPublish(subject)]).toEqual([user, subject, expected])
      }
    }
    expect(await ledgerMessages()).toBe(before + 2)
  })

  test('nobody connects without a user, with a wrong password, or as the system account', async () => {
    const { servers } = server.login('app')
    const options = { servers, reconnect: false }
    await expect(connect(options)).rejects.toThrow(/authorization/i)
    await expect(connect({ ...options, user: 'app', pass: server.passwords.app2 })).rejects.toThrow(/authorization/i)
    await expect(connect({ ...options, user: 'sys', pass: '' })).rejects.toThrow(/authorization/i)
  })
})

describe('what each NATS user has to do', () => {
  test('the ledger connection appends with an expected sequence, reads back and follows in order', async () => {
    const { nc } = as('kms-ledger')
    const js = jetstream(nc)
    const manager = await jetstreamManager(nc)
    const { last_seq: last } = (await manager.streams.info('KMS_LEDGER')).state
    const ack = await js.publish('kms.ledger.state', 'commit', {
      expect: { lastSequence: last, streamName: 'KMS_LEDGER' },
    })
    expect(ack.seq).toBe(last + 1)
    expect((await manager.streams.getMessage('KMS_LEDGER', { seq: ack.seq }))?.string()).toBe('commit')
    expect(await readInOrder(nc, ack.seq)).toEqual(Array.from({ length: ack.seq }, (_, at) => at + 1))
  })

  test('the auditor finds the streams and reads them message by message from an account of its own', async () => {
    const { streams } = await jetstreamManager(as('auditor').nc)
    expect(await streams.names().next()).toEqual(['KMS_LEDGER'])
    const { last_seq: last } = (await streams.info('KMS_LEDGER')).state
    expect(last).toBeGreaterThan(0)
    for (let seq = 1; seq <= last; seq += 1)
      expect((await streams.getMessage('KMS_LEDGER', { seq }))?.subject).toMatch(/^kms\.ledger\.(state|usage)$/)
  })

  test('an application asks the front connection and gets the answer in its own inbox', async () => {
    as('kms-front').nc.subscribe('kms.v1.echo', {
      queue: 'kms',
      max: 1,
      callback: (_, message) => void message.respond('here'),
    })
    await as('kms-front').nc.flush()
    expect((await as('app').nc.request('kms.v1.echo', '', { timeout: 2_000 })).string()).toBe('here')
  })

  test('a process finds the writer through the ledger connection, and learns at once that there is none', async () => {
    await expect(as('kms-ledger').nc.request('kms.writer', '', { timeout: 2_000 })).rejects.toThrow(/no responders/i)
    as('kms-front').nc.subscribe('kms.writer', {
      max: 1,
      callback: (_, message) => void message.respond('{"epoch":1,"seq":2}'),
    })
    await as('kms-front').nc.flush()
    expect((await as('kms-ledger').nc.request('kms.writer', '', { timeout: 2_000 })).json()).toEqual({
      epoch: 1,
      seq: 2,
    })
  })

  test('the monitoring port shows that every write is synced', async () => {
    const answer: unknown = await (await fetch(`${server.monitorUrl}/jsz?config=1`)).json()
    expect(answer).toMatchObject({ config: { sync_always: true } })
  })
})

describe('a reply subject chosen by an attacker', () => {
  const settled = async () => {
    for (const { nc } of clients.values()) await nc.flush()
    return ledgerMessages()
  }

  test('an application cannot have its answer written into the ledger, with or without a service', async () => {
    const before = await settled()
    expect(await as('app').mayPublish('kms.v1.echo', 'kms.ledger.state')).toBe(true)
    expect(await settled()).toBe(before)

    const seen = new Promise<string | undefined>((resolve) => {
      as('kms-front').nc.subscribe('kms.v1.echo', {
        max: 1,
        callback: (_, message) => {
          message.respond('forged')
          resolve(message.reply)
        },
      })
    })
    await as('kms-front').nc.flush()
    await as('app').mayPublish('kms.v1.echo', 'kms.ledger.state')
    expect(await seen).toBe('kms.ledger.state')
    expect(await settled()).toBe(before)
  })

  test('an auditor cannot have answers of JetStream written into the ledger', async () => {
    const before = await settled()
    const auditor = as('auditor')
    await auditor.mayPublish('$JS.API.STREAM.INFO.KMS_LEDGER', 'kms.ledger.state')
    await auditor.mayPublish('$JS.API.STREAM.NAMES', 'kms.ledger.state')
    auditor.nc.publish('$JS.API.STREAM.MSG.GET.KMS_LEDGER', '{"seq":1}', { reply: 'kms.ledger.usage' })
    await auditor.nc.flush()
    // The same trick within the ledger's account works, which shows that it is a threat and that the wait is long enough.
    await as('kms-ledger').mayPublish('$JS.API.STREAM.INFO.KMS_LEDGER', 'kms.ledger.state')
    await expect.poll(settled, { timeout: 5_000 }).toBe(before + 1)
    await sleep(200)
    expect(await settled()).toBe(before + 1)
  })

  test('a user sees no answer that was meant for another', async () => {
    const heard: string[] = []
    as('app2').nc.subscribe('_INBOX.app2.>', { callback: (_, message) => void heard.push(message.subject) })
    await as('app2').nc.flush()
    as('kms-front').nc.publish(createInbox('_INBOX.app'), 'secret')
    as('kms-front').nc.publish('_INBOX.app2.mine', 'own')
    await as('kms-front').nc.flush()
    await expect.poll(() => heard, { timeout: 2_000 }).toEqual(['_INBOX.app2.mine'])
  })
})

describe('a push consumer on a stream that the ledger was rolled from', () => {
  const SUBJECTS = ['kms.ledger.state', 'kms.ledger.usage']
  const countNew = async (): Promise<number> => {
    for (const { nc } of clients.values()) await nc.flush()
    return (await (await jetstreamManager(as('provision').nc)).streams.info('KMS_LEDGER_2')).state.messages
  }
  /** Has the old stream's messages delivered to where the ledger is written now; what the server says, if it answers. */
  const push = async (user: NatsUser): Promise<unknown> => {
    const config = { name: 'push', ack_policy: 'none', deliver_policy: 'all', deliver_subject: 'kms.ledger.state' }
    const request = JSON.stringify({ stream_name: 'KMS_LEDGER', config })
    const asked = as(user).nc.request('$JS.API.CONSUMER.CREATE.KMS_LEDGER.push', request, { timeout: 2_000 })
    return asked.then(
      (answer) => answer.json(),
      (error: unknown) => String(error),
    )
  }

  beforeAll(async () => {
    const { streams } = await jetstreamManager(as('provision').nc)
    const { config, state } = await streams.info('KMS_LEDGER')
    expect(state.messages).toBeGreaterThan(0)
    const ended = { ...config, subjects: ['kms.ledger.ended.1'], sealed: true }
    await streams.update('KMS_LEDGER', ended)
    const next = { ...config, name: 'KMS_LEDGER_2', subjects: SUBJECTS, sealed: false, first_seq: state.last_seq + 1 }
    await streams.add(next)
  })

  test('writes old commits into the new stream, if the ledger connection makes it', async () => {
    const before = await countNew()
    expect(await push('kms-ledger')).toMatchObject({ name: 'push' })
    await expect.poll(countNew, { timeout: 5_000 }).toBeGreaterThan(before)
    await (await jetstreamManager(as('kms-ledger').nc)).consumers.delete('KMS_LEDGER', 'push')
  })

  test.each(NATS_USERS.filter((user) => user !== 'kms-ledger'))('cannot be made by %s', async (user) => {
    const before = await countNew()
    expect(await push(user)).toMatch(/permissions violation/i)
    await sleep(200)
    expect(await countNew()).toBe(before)
  })

  test('is refused even to the ledger connection on the stream in use, as a cycle', async () => {
    const config = { name: 'cycle', ack_policy: 'none', deliver_subject: 'kms.ledger.state' }
    const answer = await as('kms-ledger').nc.request(
      '$JS.API.CONSUMER.CREATE.KMS_LEDGER_2.cycle',
      JSON.stringify({ stream_name: 'KMS_LEDGER_2', config }),
    )
    expect(answer.json()).toMatchObject({ error: { err_code: 10081 } })
  })
})

const readInOrder = async (nc: NatsConnection, last: number): Promise<readonly number[]> => {
  const consumer = await jetstream(nc).consumers.get('KMS_LEDGER')
  const messages = await consumer.consume({ max_bytes: 1024 * 1024 })
  const seen: number[] = []
  for await (const message of messages) {
    seen.push(message.seq)
    if (message.seq >= last) break
  }
  await messages.close()
  return seen
}
