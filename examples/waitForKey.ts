/**
 * Waits on the live feed instead of polling: makes a key, disables it, and hears of both.
 * The NATS user needs `kms.feed.>`: take the comment off that line of nats.conf, restart, then run it from the clone:
 * npx tsx examples/waitForKey.ts
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { connect } from '@nats-io/transport-node'
import { createClient } from '../src/client/client.ts'
import { openFeed } from '../src/client/feed.ts'
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

// Listen first, then look: what happens between the two is heard.
const feed = await openFeed({ connection })
const { key } = await kms.createKey({ key_spec: 'AES_256', description: 'watched' })
await kms.disableKey({ key_id: key.key_id })

for await (const { type, key_id, data, receipt } of feed) {
  if (key_id !== key.key_id) continue
  console.log(type, data, `commit ${receipt.seq}`)
  // A message is a hint; what is true now, the service says.
  if (type === 'KeyDisabled') {
    console.log('now', (await kms.describeKey({ key_id })).key.effective_state)
    break
  }
}
await kms.close()
await connection.close()
