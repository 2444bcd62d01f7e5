/**
 * Forwards the audit trail to a SIEM as JSON lines on standard output, verified as it is read and each event once, also
 * over restarts: where it is stands in a file. Only what was refused, with `--refused`.
 * Run it from the clone beside a running service: npx tsx examples/siemForwarder.ts [--refused] [--once] >> audit.jsonl
 */
import { readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { connect } from '@nats-io/transport-node'
import { type LedgerEntry, type LedgerPosition, openLedgerReader } from '../src/client/ledgerReader.ts'
import { parseVkey } from '../src/verify/vkey.ts'

const { values: flags } = parseArgs({ options: { refused: { type: 'boolean' }, once: { type: 'boolean' } } })
const dataDir = process.env['KMS_DATA_DIR'] ?? '.data'
const positionFile = process.env['POSITION_FILE'] ?? 'siem-position.json'
const readSecret = async (name: string) => (await readFile(join(dataDir, name), 'utf8')).trim()

const pin = parseVkey(await readSecret('ledger-root.vkey'))
if (!pin.ok) throw new Error(pin.error)
const connection = await connect({
  servers: `127.0.0.1:${process.env['KMS_NATS_PORT'] ?? '4222'}`,
  user: 'auditor',
  pass: await readSecret('secrets/nats-auditor'),
  inboxPrefix: '_INBOX.auditor',
  noAsyncTraces: true,
  maxReconnectAttempts: -1,
  // Else a connection that is lost while it is being made is noticed after 20 s only.
  timeout: 5_000,
})

const readPosition = async (): Promise<LedgerPosition | undefined> => {
  const text = await readFile(positionFile, 'utf8').catch(() => undefined)
  return text === undefined ? undefined : JSON.parse(text)
}
/** After the line is out: at worst a line comes twice after a crash, never not at all. */
const savePosition = async (position: LedgerPosition): Promise<void> => {
  await writeFile(`${positionFile}.new`, JSON.stringify(position), { mode: 0o600 })
  await rename(`${positionFile}.new`, positionFile)
}
const toLine = ({ seq, index, hash, timeMs, fields }: LedgerEntry): string =>
  JSON.stringify({ time: new Date(timeMs).toISOString(), receipt: { seq, index, hash }, ...fields }, (_name, value) =>
    value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value,
  )

const stopping = new AbortController()
for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stopping.abort())

const from = await readPosition()
const reader = openLedgerReader({
  connection,
  pin: pin.value,
  signal: stopping.signal,
  ...(from === undefined ? {} : { from }),
  ...(flags.once ? { until: 'last' } : {}),
})
let lastSeq = 0
for await (const entry of reader) {
  if (!flags.refused || entry.fields['outcome'] !== 'success') process.stdout.write(`${toLine(entry)}\n`)
  // Once a commit, not once an event.
  if (entry.seq !== lastSeq) await savePosition(reader.position())
  lastSeq = entry.seq
}
await savePosition(reader.position())
await connection.close()
