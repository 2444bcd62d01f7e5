import { afterAll, beforeAll, expect, test } from 'vitest'
import { countOf } from '../fixtures/counts.ts'
import { listDescendants, type RunningProcess } from '../fixtures/processes.ts'
import { type Stack, startStack } from '../fixtures/stack.ts'
import { type Clients, codeOf, openClients, untilTrue } from '../fixtures/stackClients.ts'
import { listEvents, readLedger } from '../fixtures/stackLedger.ts'

const KILLS = countOf('childKills')
const WORKERS_PER_CLIENT = 4

let stack: Stack
let clients: Clients
let keyId: string
let signingKeyId: string
/** How often the load was told HSM_UNAVAILABLE. */
let told = 0

beforeAll(async () => {
  stack = await startStack()
  clients = await openClients(stack)
  keyId = (await clients.nats.createKey({ key_spec: 'AES_256' })).key.key_id
  signingKeyId = (await clients.nats.createKey({ key_spec: 'ED25519' })).key.key_id
})
afterAll(async () => {
  await clients?.[Symbol.asyncDispose]()
  await stack?.[Symbol.asyncDispose]()
})

const findHsmChild = async (): Promise<RunningProcess> => {
  const children = (await listDescendants(stack.pid)).filter(({ command }) => !command.includes('nats-server'))
  const [child, ...others] = children
  if (child === undefined || others.length > 0) throw new Error(`not one HSM child: ${JSON.stringify(children)}`)
  return child
}

interface Load {
  readonly codes: Map<string, number>
  readonly wrong: string[]
  readonly stored: { readonly plaintext: Buffer; readonly ciphertext: Uint8Array }[]
  stop(): Promise<void>
}

/** Encrypts, decrypts, signs and verifies without pause; every result is compared with what it must be. */
const startLoad = (): Load => {
  const load = { codes: new Map<string, number>(), wrong: [] as string[], stored: [] as Load['stored'] }
  let isStopped = false
  const note = (code: string): void => void load.codes.set(code, (load.codes.get(code) ?? 0) + 1)
  const work = async (client: Clients['nats'], worker: number): Promise<void> => {
    for (let turn = 0; !isStopped; turn++) {
      const plaintext = Buffer.from(`worker ${worker}, turn ${turn}`)
      const round = async (): Promise<void> => {
        const { ciphertext_blob } = await client.encrypt({ key_id: keyId, plaintext })
        load.stored.push({ plaintext, ciphertext: ciphertext_blob })
        const decrypted = await client.decrypt({ ciphertext_blob })
        if (!plaintext.equals(decrypted.plaintext)) load.wrong.push(`decrypt of ${plaintext}`)
        const { signature } = await client.sign({ key_id: signingKeyId, message: plaintext })
        const verified = await client.verify({ key_id: signingKeyId, message: plaintext, signature })
        if (!verified.signature_valid) load.wrong.push(`verify of ${plaintext}`)
      }
      note(await codeOf(round()))
    }
  }
  const running = Promise.all(
    clients.both.flatMap((client, which) =>
      Array.from({ length: WORKERS_PER_CLIENT }, (_, at) => work(client, which * WORKERS_PER_CLIENT + at)),
    ),
  )
  return {
    ...load,
    stop: async () => {
      isStopped = true
      await running
    },
  }
}

const readReady = async () => {
  const response = await fetch(`${stack.httpUrl}/readyz`)
  return { status: response.status, text: await response.text() }
}

test.each(Array.from({ length: KILLS }, (_, at) => at + 1))(
  'an HSM child killed under load, time %i, gives HSM_UNAVAILABLE for a while and no wrong result, and is back by itself',
  async () => {
    const service = stack.pid
    const child = await findHsmChild()
    const load = startLoad()
    await untilTrue(() => load.stored.length > 20, 'the load runs')
    process.kill(child.pid, 'SIGKILL')
    await untilTrue(() => (load.codes.get('HSM_UNAVAILABLE') ?? 0) > 0, 'somebody is told HSM_UNAVAILABLE')
    await untilTrue(
      async () => (await codeOf(clients.rest.generateRandom({ number_of_bytes: 8 }))) === 'OK',
      'it is back',
    )
    const okAtReturn = load.codes.get('OK') ?? 0
    await untilTrue(() => (load.codes.get('OK') ?? 0) > okAtReturn + 20, 'the load runs again')
    await load.stop()

    expect(load.wrong).toEqual([])
    told += load.codes.get('HSM_UNAVAILABLE') ?? 0
    expect([...load.codes.keys()].sort()).toEqual(['HSM_UNAVAILABLE', 'OK'])
    expect(stack.pid).toBe(service)
    expect((await findHsmChild()).pid).not.toBe(child.pid)
    expect((await readReady()).status).toBe(200)
    for (const { plaintext, ciphertext } of load.stored.slice(-100))
      expect(Buffer.from((await clients.nats.decrypt({ ciphertext_blob: ciphertext })).plaintext)).toEqual(plaintext)
  },
)

test('a hung HSM child (SIGSTOP) is ended at its deadline and replaced, and the service answers meanwhile', async () => {
  const child = await findHsmChild()
  process.kill(child.pid, 'SIGSTOP')
  const encrypts = Promise.all(
    Array.from({ length: 8 }, (_, at) => codeOf(clients.nats.encrypt({ key_id: keyId, plaintext: Buffer.of(at) }))),
  )
  // What needs no HSM is answered while they hang.
  const described = codeOf(clients.nats.describeKey({ key_id: keyId }))
  expect(await Promise.race([described, encrypts])).toBe('OK')
  const codes = await encrypts
  expect(codes.filter((code) => code !== 'HSM_UNAVAILABLE' && code !== 'TIMEOUT')).toEqual([])
  await untilTrue(
    async () => (await codeOf(clients.nats.encrypt({ key_id: keyId, plaintext: Buffer.of(1) }))) === 'OK',
    'another child answers',
  )
  expect((await findHsmChild()).pid).not.toBe(child.pid)
})

test('every failure that a caller was told is on record, and the ledger verifies', async () => {
  const { report, ...ledger } = await readLedger(stack)
  expect(report.findings).toEqual([])
  const recorded = listEvents(ledger).filter(({ event }) => event['code'] === 'HSM_UNAVAILABLE')
  expect(recorded.length).toBeGreaterThanOrEqual(told)
  expect(told).toBeGreaterThan(0)
})
