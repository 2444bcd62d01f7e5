import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Client } from '../../src/client/client.ts'
import { type Stack, startStack } from '../fixtures/stack.ts'
import { type Clients, codeOf, openClients } from '../fixtures/stackClients.ts'

let stack: Stack
let clients: Clients
let aes: string

beforeAll(async () => {
  stack = await startStack()
  clients = await openClients(stack)
  aes = (await clients.nats.createKey({ key_spec: 'AES_256' })).key.key_id
})
afterAll(async () => {
  await clients?.[Symbol.asyncDispose]()
  await stack?.[Symbol.asyncDispose]()
})

const encryptAll = async (client: Client, texts: readonly string[]) => {
  const operations = texts.map((text) => ({
    operation: 'Encrypt' as const,
    request: { key_id: aes, plaintext: Buffer.from(text), encryption_context: { purpose: 'batch' } },
  }))
  return client.batch({ operations })
}

describe.each(['nats', 'rest'] as const)('a batch over %s', (transport) => {
  test('of 100 encrypts is one reply and two commits, and what it sealed opens in another', async () => {
    const client = clients[transport]
    const texts = Array.from({ length: 100 }, (_, at) => `value ${at}`)
    const sealed = await encryptAll(client, texts)
    const replies = sealed.results.flatMap((result) => (result.ok ? [result.reply] : []))
    expect(replies.length).toBe(100)
    const commits = new Set([...replies.map(({ receipt }) => receipt.seq), sealed.receipt.seq])
    expect(commits.size).toBe(2)
    expect(replies.map(({ receipt }) => receipt.index)).toEqual(texts.map((_, at) => at))
    const opened = await client.batch({
      operations: replies.map(({ ciphertext_blob }) => ({
        operation: 'Decrypt' as const,
        request: { ciphertext_blob: Buffer.from(ciphertext_blob), encryption_context: { purpose: 'batch' } },
      })),
    })
    const plaintexts = opened.results.map((result) => (result.ok ? Buffer.from(result.reply.plaintext).toString() : ''))
    expect(plaintexts).toEqual(texts)
  })

  test('gives each place the reply of its operation, or its own error', async () => {
    const { results } = await clients[transport].batch({
      operations: [
        { operation: 'GenerateRandom', request: { number_of_bytes: 8 } },
        { operation: 'GenerateDataKey', request: { key_id: `lid_${'0'.repeat(64)}` } },
        { operation: 'GenerateDataKey', request: { key_id: aes } },
      ],
    })
    const [random, missing, dataKey] = results
    expect(random.ok && random.reply.random_bytes.length).toBe(8)
    expect(missing.ok || missing.error.code).toBe('KEY_NOT_FOUND')
    expect(dataKey.ok && dataKey.reply.plaintext_data_key.length).toBe(32)
  })

  test('that no reply may come of is refused as a whole', async () => {
    expect(await codeOf(clients[transport].batch({ operations: [] }))).toBe('INVALID_REQUEST')
  })
})
