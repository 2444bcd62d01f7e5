import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openFeed } from '../../src/client/feed.ts'
import { createGrantedClone, type GrantedClone } from '../fixtures/feedGrant.ts'
import { type Stack, startStack } from '../fixtures/stack.ts'
import { type Clients, codeOf, connectAs, openClients } from '../fixtures/stackClients.ts'

let clone: GrantedClone
let stack: Stack
let clients: Clients

beforeAll(async () => {
  clone = await createGrantedClone()
  stack = await startStack({ root: clone.root })
  clients = await openClients(stack)
})
afterAll(async () => {
  await clients?.[Symbol.asyncDispose]()
  await stack?.[Symbol.asyncDispose]()
  await clone?.[Symbol.asyncDispose]()
})

describe('an application that waits instead of polling', () => {
  test('hears of a key that is made, and uses it; hears that it is disabled, and finds it so', async () => {
    const connection = await connectAs(stack, 'app')
    try {
      const created = await openFeed({ connection, type: 'KeyCreated' })
      const { key } = await clients.rest.createKey({
        key_spec: 'AES_256',
        description: 'announced',
        attributes: { tenant: 'planted-tenant' },
      })
      for await (const message of created) {
        if (message.key_id !== key.key_id) continue
        expect(message.data).toMatchObject({ spec: 'AES_256', description: 'announced' })
        expect(JSON.stringify(message)).not.toContain('planted-tenant')
        break
      }
      const changes = await openFeed({ connection, keyId: key.key_id })
      const use = () => codeOf(clients.nats.encrypt({ key_id: key.key_id, plaintext: Buffer.from('x') }))
      expect(await use()).toBe('OK')
      const answer = await clients.rest.disableKey({ key_id: key.key_id })
      for await (const message of changes) {
        // Uses are not announced: the first message is of the change, and stands where the reply's receipt says.
        expect(message).toMatchObject({ type: 'KeyDisabled', data: { affected: 0 }, receipt: answer.receipt })
        break
      }
      expect(await use()).toBe('KEY_NOT_USABLE')
    } finally {
      await connection.close()
    }
  })

  test('is told of a cascade by one message about the root', async () => {
    const connection = await connectAs(stack, 'app')
    try {
      const root = (await clients.nats.createKey({ key_spec: 'AES_256' })).key.key_id
      for (let child = 0; child < 3; child++) await clients.nats.createKey({ key_spec: 'AES_256', parent_key_id: root })
      const disabled = await openFeed({ connection, type: 'KeyDisabled' })
      await clients.nats.disableKey({ key_id: root })
      for await (const message of disabled) {
        expect(message).toMatchObject({ key_id: root, data: { affected: 3 } })
        break
      }
    } finally {
      await connection.close()
    }
  })

  test('can see in the metrics that nothing was dropped', async () => {
    const text = await (await fetch(`${stack.httpUrl}/metrics`)).text()
    expect(text).toMatch(/^kms_feed_messages_total\{outcome="published"\} [1-9]/m)
    expect(text).not.toMatch(/kms_feed_messages_total\{outcome="dropped"\} [1-9]/)
  })
})
