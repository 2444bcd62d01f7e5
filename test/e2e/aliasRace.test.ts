import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Client } from '../../src/client/client.ts'
import { KmsError } from '../../src/client/kmsError.ts'
import type { LedgerReceipt } from '../../src/core/ports.ts'
import { type Stack, startStack } from '../fixtures/stack.ts'
import { type Clients, codeOf, openClients } from '../fixtures/stackClients.ts'
import { listEvents, readLedger } from '../fixtures/stackLedger.ts'

/**
 * Names that change under load, over both transports at once. What was sent after an acknowledgement is judged by the
 * order of messages; what was under way by the order of records in the ledger.
 */
const WORKERS_PER_CLIENT = 8
const CHANGES = 20

let stack: Stack
let clients: Clients
/** As `clients`, but with the retries that an application has. */
let patient: Clients

beforeAll(async () => {
  stack = await startStack()
  clients = await openClients(stack)
  patient = await openClients(stack, { attemptsMax: 10 })
})
afterAll(async () => {
  await clients?.[Symbol.asyncDispose]()
  await patient?.[Symbol.asyncDispose]()
  await stack?.[Symbol.asyncDispose]()
})

const createKeyOf = async (description: string) =>
  (await clients.nats.createKey({ key_spec: 'AES_256', description })).key.key_id

/** One answer under load. `sent` and `answered` count steps of this process, which all requests share. */
interface Answer {
  readonly sent: number
  readonly answered: number
  readonly code: string
  readonly keyId?: string
  readonly receipt?: LedgerReceipt
}

let step = 0

const encryptOnce = async (client: Client, key_id: string): Promise<Answer> => {
  const sent = ++step
  try {
    const reply = await client.encrypt({ key_id, plaintext: Buffer.from('x') })
    return { sent, answered: ++step, code: 'OK', keyId: reply.key_id, receipt: reply.receipt }
  } catch (error) {
    if (!(error instanceof KmsError)) throw error
    return { sent, answered: ++step, code: error.code }
  }
}

/** Encrypts under the name by all workers until stopped. */
const startLoad = (both: readonly Client[], alias: string) => {
  const answers: Answer[] = []
  let isStopped = false
  const work = async (client: Client) => {
    while (!isStopped) answers.push(await encryptOnce(client, alias))
  }
  const running = Promise.all(both.flatMap((client) => Array.from({ length: WORKERS_PER_CLIENT }, () => work(client))))
  return {
    answers,
    async stop() {
      isStopped = true
      await running
    },
    /** Waits until so many more answers are there: the load runs, whatever the machine. */
    async wait(more: number) {
      const until = answers.length + more
      while (answers.length < until) await new Promise((resolve) => setTimeout(resolve, 2))
    },
  }
}

/** One acknowledged change of the name; from `answered` on `keyId` is what it stands for, or nothing. */
interface Change {
  readonly sent: number
  readonly answered: number
  readonly keyId: string | undefined
}

const record = async (changes: Change[], keyId: string | undefined, change: () => Promise<unknown>) => {
  const sent = ++step
  await change()
  changes.push({ sent, answered: ++step, keyId })
}

/** What the name may have stood for while a request was under way: since the last change acknowledged before it was sent. */
const possible = (changes: readonly Change[], { sent, answered }: Answer): ReadonlySet<string | undefined> => {
  const last = changes.findLastIndex((change) => change.answered < sent)
  return new Set(changes.slice(Math.max(0, last)).flatMap((change) => (change.sent < answered ? [change.keyId] : [])))
}

/** In the ledger each use stands between the changes of the name that make it true. */
const checkAgainstLedger = async (alias: string, served: readonly Answer[]) => {
  const ledger = await readLedger(stack)
  expect(ledger.report.findings).toEqual([])
  let target: unknown
  const targetAt = new Map<string, unknown>()
  for (const { seq, index, event } of listEvents(ledger)) {
    if (String(event.type).startsWith('Alias') && event.data['name'] === alias)
      target = event.type === 'AliasDeleted' ? undefined : event.data['lid']
    targetAt.set(`${seq}/${index}`, target)
  }
  for (const { keyId, receipt } of served) expect(targetAt.get(`${receipt?.seq}/${receipt?.index}`)).toBe(keyId)
}

test('a name that is re-pointed under load always stands for one key, the new one from the acknowledgement on', async () => {
  const [one, two] = [await createKeyOf('one'), await createKeyOf('two')]
  const alias = 'alias/race/pointed'
  const changes: Change[] = []
  await record(changes, one, () => clients.rest.createAlias({ alias_name: alias, target_key_id: one }))
  const load = startLoad(clients.both, alias)
  for (let turn = 0; turn < CHANGES; turn += 1) {
    const client = turn % 2 === 0 ? patient.rest : patient.nats
    const target_key_id = turn % 2 === 0 ? two : one
    await load.wait(WORKERS_PER_CLIENT)
    await record(changes, target_key_id, () => client.updateAlias({ alias_name: alias, target_key_id }))
  }
  await load.stop()

  const codes = new Set(load.answers.map(({ code }) => code))
  expect([...codes].filter((code) => code !== 'OK' && code !== 'REVISION_CONFLICT')).toEqual([])
  const served = load.answers.filter(({ code }) => code === 'OK')
  expect(new Set(served.map(({ keyId }) => keyId))).toEqual(new Set([one, two]))
  expect(served.filter((answer) => !possible(changes, answer).has(answer.keyId))).toEqual([])
  await checkAgainstLedger(alias, served)
})

test('an application with retries does not notice that a name moves', async () => {
  const [one, two] = [await createKeyOf('one'), await createKeyOf('two')]
  const alias = 'alias/race/moved'
  await clients.nats.createAlias({ alias_name: alias, target_key_id: one })
  const load = startLoad(patient.both, alias)
  for (const target_key_id of [two, one, two, one, two]) {
    await load.wait(4 * WORKERS_PER_CLIENT)
    await patient.nats.updateAlias({ alias_name: alias, target_key_id })
  }
  await load.stop()
  expect(new Set(load.answers.map(({ code }) => code))).toEqual(new Set(['OK']))
})

test('a deleted name is refused by every request sent after the acknowledgement, over either transport', async () => {
  const key = await createKeyOf('one')
  const alias = 'alias/race/deleted'
  const changes: Change[] = []
  await record(changes, key, () => clients.nats.createAlias({ alias_name: alias, target_key_id: key }))
  const load = startLoad(clients.both, alias)
  for (let turn = 0; turn < CHANGES; turn += 1) {
    const client = turn % 2 === 0 ? patient.rest : patient.nats
    await load.wait(WORKERS_PER_CLIENT)
    await record(changes, undefined, () => client.deleteAlias({ alias_name: alias }))
    // At once, by both, and without the load's help: these were certainly sent afterwards.
    const after = await Promise.all(
      clients.both.map((other) => codeOf(other.encrypt({ key_id: alias, plaintext: Buffer.from('x') }))),
    )
    expect(after).toEqual(['KEY_NOT_FOUND', 'KEY_NOT_FOUND'])
    await record(changes, key, () => client.createAlias({ alias_name: alias, target_key_id: key }))
  }
  await load.stop()

  const outcomes = new Set(load.answers.map(({ code }) => code))
  expect(outcomes.has('OK')).toBe(true)
  expect([...outcomes].filter((code) => !['OK', 'KEY_NOT_FOUND', 'REVISION_CONFLICT'].includes(code))).toEqual([])
  const wrong = load.answers.filter((answer) => {
    const may = possible(changes, answer)
    return (answer.code === 'OK' && !may.has(key)) || (answer.code === 'KEY_NOT_FOUND' && !may.has(undefined))
  })
  expect(wrong).toEqual([])
  await checkAgainstLedger(
    alias,
    load.answers.filter(({ code }) => code === 'OK'),
  )
})
