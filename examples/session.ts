/**
 * A first session over NATS against `npm start`: make a key, seal and open a value, keep the receipt.
 * Run it from the clone: npx tsx examples/session.ts
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { connect } from '@nats-io/transport-node'
import { createClient } from '../src/client/client.ts'
import { createNatsClientTransport } from '../src/client/natsTransport.ts'

const dataDir = process.env['KMS_DATA_DIR'] ?? '.data'
const readSecret = async (name: string) => (await readFile(join(dataDir, name), 'utf8')).trim()

const connection = await connect({
  servers: `127.0.0.1:${process.env['KMS_NATS_PORT'] ?? '4222'}`,
  user: 'app',
  pass: await readSecret('secrets/nats-app'),
  inboxPrefix: '_INBOX.app',
  noAsyncTraces: true,
})
const kms = createClient({
  transport: createNatsClientTransport({ connection, inboxPrefix: '_INBOX.app' }),
  token: () => readSecret('bootstrap-token'),
})

const { key } = await kms.createKey({ key_spec: 'AES_256', description: 'example' }, { idempotencyKey: 'example-key' })
const context = { order: '17' }
const sealed = await kms.encrypt({ key_id: key.key_id, plaintext: Buffer.from('hello'), encryption_context: context })
const opened = await kms.decrypt({ ciphertext_blob: sealed.ciphertext_blob, encryption_context: context })

console.log('key      ', key.key_id)
console.log('opened   ', Buffer.from(opened.plaintext).toString())
console.log('receipt  ', opened.receipt)
await kms.close()
await connection.close()
