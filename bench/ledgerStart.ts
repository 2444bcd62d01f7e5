import { connectNats } from '../src/ledger/connections.ts'
import { createLedger } from '../src/ledger/ledger.ts'
import { systemTime } from '../test/fixtures/fakeLedger.ts'
import { createMemoryRoot } from '../test/fixtures/memoryRoot.ts'
import { createTelemetryLog } from '../test/fixtures/telemetryLog.ts'

/** What the measured process is told, as its only argument in JSON. */
export interface StartOrder {
  readonly url: string
  readonly dataDir: string
  readonly treeFile: string
  readonly origin: string
  /** The genesis root's public key, in hex. */
  readonly rootKey: string
  readonly usesSnapshot: boolean
}

/** The body of a measured process: a ledger as the service opens it, up to where it is ready; then it stops. */
const order: StartOrder = JSON.parse(process.argv[2] ?? '')
const telemetry = createTelemetryLog()
const connect = async (user: string) => {
  const passwordFile = `${order.dataDir}/${user}.password`
  const made = await connectNats({ servers: [order.url], user, passwordFile, telemetry })
  if (!made.ok) throw new Error(made.error.message)
  return made.value
}
const [connection, front] = [await connect('kms-ledger'), await connect('kms-front')]
// It knows no root key, so that it never writes.
const hsm = createMemoryRoot()
hsm.away = true
const folder = `${order.treeFile}.start`
const made = await createLedger({
  ...{ connection, front, hsm, telemetry, clock: systemTime, scheduler: systemTime },
  pin: { origin: order.origin, rootPublicKey: Buffer.from(order.rootKey, 'hex') },
  ...{ replicas: 1, backend: 'main', writer: 'bench', trustOnFirstUse: true },
  sync: { monitorUrls: [], assumeSyncAlways: true },
  headFile: `${folder}.head`,
  checkpoints: {
    ...{ file: `${folder}.checkpoint`, treeFile: order.treeFile, anchors: [] },
    ...{ required: 1, requiredWitnesses: 0, intervalMs: 60_000, witnessIntervalMs: 60_000 },
  },
  ...(order.usesSnapshot ? { snapshots: { intervalMs: 3_600_000, commitsMin: Number.MAX_SAFE_INTEGER } } : {}),
})
if (!made.ok) throw new Error(made.error.message)
const ready = await made.value.whenReady()
const { inMsgs } = connection.stats()
if (!ready.ok) throw new Error(ready.error.message)
const { seq } = made.value.status()
await made.value.stop()
await Promise.all([connection.close(), front.close()])
console.log(JSON.stringify({ seq, messages: inMsgs, told: telemetry.lines.filter(({ level }) => level !== 'info') }))
