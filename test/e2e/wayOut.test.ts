import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Client, createClient } from '../../src/client/client.ts'
import { createHttpClientTransport } from '../../src/client/httpTransport.ts'
import { type SecondService, startSecondService } from '../fixtures/secondService.ts'
import { type Stack, startStack } from '../fixtures/stack.ts'
import { codeOf, openClients, untilTrue } from '../fixtures/stackClients.ts'
import { listEvents, readLedger } from '../fixtures/stackLedger.ts'

const BUDGET = 12
const POLLS_MS = 60_000

let stack: Stack
beforeAll(async () => {
  stack = await startStack()
})
afterAll(() => stack?.[Symbol.asyncDispose]())

const seal = async (client: Client, key_id: string, text = 'text'): Promise<Uint8Array> =>
  Uint8Array.from((await client.encrypt({ key_id, plaintext: Buffer.from(text) })).ciphertext_blob)
const open = async (client: Client, blob: Uint8Array): Promise<string> =>
  Buffer.from((await client.decrypt({ ciphertext_blob: Uint8Array.from(blob) })).plaintext).toString()

describe('the way out of a compromised hierarchy', () => {
  test('what is below a compromised key only opens and checks; a key under another parent takes over, and the old ones go', async () => {
    await using clients = await openClients(stack)
    const { nats, rest } = clients
    const create = async (parent_key_id?: string) =>
      (await nats.createKey({ key_spec: 'AES_256', ...(parent_key_id === undefined ? {} : { parent_key_id }) })).key
        .key_id
    const [root, otherRoot] = [await create(), await create()]
    const middle = await create(root)
    const leaf = await create(middle)
    const blob = await seal(nats, leaf)

    await rest.reportKeyCompromise({ key_id: root, reason: 'a copy of the HSM backup is gone' })
    const { key } = await nats.describeKey({ key_id: leaf })
    expect([key.state, key.effective_state, key.locked_by]).toEqual(['enabled', 'compromised', root])
    expect(await codeOf(seal(rest, leaf))).toBe('KEY_NOT_USABLE')
    expect(await codeOf(create(middle))).toBe('PARENT_NOT_USABLE')
    expect(await codeOf(nats.enableKey({ key_id: root }))).toBe('INVALID_STATE_TRANSITION')
    expect(await open(nats, blob)).toBe('text')

    const successor = await create(otherRoot)
    const moved = await rest.reEncrypt({ ciphertext_blob: Uint8Array.from(blob), destination_key_id: successor })
    expect(await open(nats, moved.ciphertext_blob)).toBe('text')
    await nats.scheduleKeyDeletion({ key_id: root, grace_period_days: 7, cascade: true })
    expect(await codeOf(open(rest, blob))).toBe('KEY_NOT_USABLE')
    expect(await open(rest, moved.ciphertext_blob)).toBe('text')
    // Back from the deletion it is what it was, and no better.
    expect((await nats.cancelKeyDeletion({ key_id: root })).key.state).toBe('compromised')
    expect(await open(rest, blob)).toBe('text')
  })
})

describe('invariant 13: nonce budget, on a service configured with a lower one', () => {
  let second: SecondService
  let client: Client
  const keys = { plain: '', rotated: '' }

  beforeAll(async () => {
    {
      await using clients = await openClients(stack)
      keys.plain = (await clients.nats.createKey({ key_spec: 'AES_256' })).key.key_id
      keys.rotated = (await clients.nats.createKey({ key_spec: 'AES_256' })).key.key_id
      await clients.rest.setKeyRotationPolicy({ key_id: keys.rotated, enabled: true, rotation_interval_days: 90 })
    }
    second = await startSecondService(stack, { limits: { gcm_messages_per_version_max: BUDGET } })
    // Its NATS server stays, and the configured service takes over.
    await stack.kill()
    const transport = createHttpClientTransport({ url: second.httpUrl })
    client = createClient({ token: stack.token, transport })
    await untilTrue(async () => (await codeOf(client.describeKey({ key_id: keys.plain }))) === 'OK', 'it writes')
  })
  afterAll(async () => {
    await client?.close()
    await second?.[Symbol.asyncDispose]()
  })

  test('half of it is warned of, a policy rotates the key, and a key without one is exhausted at the end', async () => {
    const first: Uint8Array[] = []
    for (let n = 0; n < BUDGET / 2; n += 1)
      for (const key_id of [keys.plain, keys.rotated]) first.push(await seal(client, key_id, `${n}`))
    const isRotated = async () => (await client.describeKey({ key_id: keys.rotated })).key.current_key_version === 2
    await untilTrue(isRotated, 'the policy rotates the key', POLLS_MS)

    for (let n = BUDGET / 2; n < BUDGET; n += 1) await seal(client, keys.plain)
    expect(await codeOf(seal(client, keys.plain))).toBe('KEY_EXHAUSTED')
    expect(await codeOf(client.generateDataKey({ key_id: keys.plain }))).toBe('KEY_EXHAUSTED')
    for (const [at, blob] of first.entries()) expect(await open(client, blob)).toBe(`${Math.floor(at / 2)}`)
    const { items } = await client.listKeyVersions({ key_id: keys.plain })
    expect(items.map(({ encrypt_count }) => encrypt_count)).toEqual([BUDGET])
    await client.rotateKey({ key_id: keys.plain })
    expect(await open(client, await seal(client, keys.plain))).toBe('text')

    const warned = listEvents(await readLedger(stack)).filter(({ event }) => event.type === 'BudgetWarned')
    const named = warned.map(({ event }) => [event.data['lid'], event.data['version'], event.data['count']])
    expect(named.filter(([, version]) => version === 1)).toEqual(
      expect.arrayContaining([keys.plain, keys.rotated].map((lid) => [lid, 1, BUDGET / 2])),
    )
  })
})
