import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { connect, type NatsConnection } from '@nats-io/transport-node'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { openStoredLedger } from '../../src/client/storedLedger.ts'
import { createVerifier } from '../../src/verify/verifier.ts'
import { verifyMessages } from '../../src/verify/verifyExport.ts'
import { createSampleHistory } from '../fixtures/ledgerHistory.ts'
import { type NatsServer, startNatsServer } from '../fixtures/natsServer.ts'

/** The ledger's account exports what a mirror needs: to make its consumer, flow control, the deliveries. */
const CONFIG = `
host: $KMS_NATS_HOST
port: $KMS_NATS_PORT
http_port: $KMS_NATS_MONITOR_PORT
jetstream { store_dir: $KMS_NATS_STORE_DIR }
accounts {
  LEDGER {
    jetstream: enabled
    users: [{ user: ledger, password: ledger }]
    exports: [
      { service: "$JS.API.CONSUMER.>" }
      { service: "$JS.FC.KMS_LEDGER.>" }
      { stream: "audit.>" }
    ]
  }
  AUDIT {
    jetstream: enabled
    users: [{ user: audit, password: audit }]
    imports: [
      { service: { account: LEDGER, subject: "$JS.API.CONSUMER.>" }, to: "ledger.API.CONSUMER.>" }
      { service: { account: LEDGER, subject: "$JS.FC.KMS_LEDGER.>" } }
      { stream: { account: LEDGER, subject: "audit.>" } }
    ]
  }
}
`

const history = createSampleHistory(9)
let dir: string
let server: NatsServer
const connections: NatsConnection[] = []
const open = async (user: string): Promise<NatsConnection> => {
  const connection = await connect({ servers: server.url, user, pass: user })
  connections.push(connection)
  return connection
}
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'kms-mirror-'))
  await writeFile(join(dir, 'nats.conf'), CONFIG)
  server = await startNatsServer({ configFile: join(dir, 'nats.conf') })
})
afterAll(async () => {
  for (const connection of connections) await connection.close()
  await server.stop()
  await rm(dir, { recursive: true, force: true })
})

it('a mirror in another account verifies like the ledger that it mirrors', async () => {
  const ledger = await open('ledger')
  await (await jetstreamManager(ledger)).streams.add({ name: 'KMS_LEDGER', subjects: ['kms.ledger.>'] })
  for (const { subject, payload } of history.messages) await jetstream(ledger).publish(subject, payload)
  const audit = await open('audit')
  await (await jetstreamManager(audit)).streams.add({
    name: 'LEDGER_COPY',
    mirror: { name: 'KMS_LEDGER', external: { api: 'ledger.API', deliver: 'audit' } },
  })
  const openCopy = () => openStoredLedger(audit, { stream: 'LEDGER_COPY', timeoutMs: 20_000 })
  await expect.poll(async () => (await openCopy()).lastSeq, { timeout: 20_000 }).toBe(history.messages.length)
  const verifier = createVerifier({ pin: history.pin, anchors: [] })
  const messages = (await openCopy()).messages(1, AbortSignal.timeout(20_000))
  const report = await verifyMessages(verifier, messages, history.messages.length)
  expect(report).toMatchObject({ verdict: 1, lastSeq: history.messages.length, findings: [] })
})
