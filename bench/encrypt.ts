import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { connect } from '@nats-io/transport-node'
import { createClient } from '../src/client/client.ts'
import { createNatsClientTransport } from '../src/client/natsTransport.ts'
import { type Stack, startStack } from '../test/fixtures/stack.ts'
import type { BenchOptions } from './main.ts'

const PLAINTEXT_BYTES = 1024
const WARM_UP_SECONDS = 1

/** Small synced writes a second in the same directory: what the disk gives before anything of ours. */
const measureFloor = (dir: string): number => {
  const file = openSync(join(dir, 'floor'), 'w')
  const block = Buffer.alloc(PLAINTEXT_BYTES)
  const begin = performance.now()
  let writes = 0
  while (performance.now() - begin < 1000) {
    writeSync(file, block)
    fsyncSync(file)
    writes += 1
  }
  closeSync(file)
  return Math.round(writes / ((performance.now() - begin) / 1000))
}

const readCounter = async (stack: Stack, name: string): Promise<number> => {
  const text = await (await fetch(`${stack.httpUrl}/metrics`)).text()
  const line = text.split('\n').find((candidate) => candidate.startsWith(`${name} `))
  return Number(line?.split(' ')[1] ?? Number.NaN)
}

const percentile = (sorted: readonly number[], share: number): number =>
  Number((sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN).toFixed(2))

/** Runs `inFlight` callers until the time is over; gives each operation's milliseconds. */
const drive = async (inFlight: number, seconds: number, operate: () => Promise<unknown>): Promise<number[]> => {
  const times: number[] = []
  const end = performance.now() + seconds * 1000
  const caller = async () => {
    while (performance.now() < end) {
      const begin = performance.now()
      await operate()
      times.push(performance.now() - begin)
    }
  }
  await Promise.all(Array.from({ length: inFlight }, caller))
  return times.sort((a, b) => a - b)
}

/**
 * Encrypts of 1 KiB by NATS and MessagePack against the whole product on its dev profile: Cedar, SoftHSM in a child
 * process, signed commits in JetStream with `sync_interval: always`; the load runs on the same cores.
 */
export const benchEncrypt = async ({ inFlight, seconds, isJson }: BenchOptions): Promise<void> => {
  await using stack = await startStack()
  const pass = (await readFile(join(stack.dataDir, 'secrets', 'nats-app'), 'utf8')).trim()
  const connection = await connect({
    servers: `127.0.0.1:${stack.natsPort}`,
    user: 'app',
    pass,
    inboxPrefix: '_INBOX.app',
    noAsyncTraces: true,
  })
  const client = createClient({
    transport: createNatsClientTransport({ connection, inboxPrefix: '_INBOX.app' }),
    token: stack.token,
  })
  const { key } = await client.createKey({ key_spec: 'AES_256' })
  const operate = () =>
    client.encrypt({
      key_id: key.key_id,
      plaintext: Buffer.alloc(PLAINTEXT_BYTES, 1),
      encryption_context: { bench: 'encrypt' },
    })
  const floor = measureFloor(stack.dataDir)
  await drive(inFlight, WARM_UP_SECONDS, operate)
  const before = await readCounters(stack)
  const begin = performance.now()
  const times = await drive(inFlight, seconds, operate)
  const elapsed = (performance.now() - begin) / 1000
  const after = await readCounters(stack)
  const result = {
    bench: 'encrypt-nats-msgpack',
    in_flight: inFlight,
    seconds: Number(elapsed.toFixed(1)),
    operations: times.length,
    ops_per_s: Math.round(times.length / elapsed),
    p50_ms: percentile(times, 0.5),
    p99_ms: percentile(times, 0.99),
    events_per_commit: Number(((after.events - before.events) / (after.commits - before.commits)).toFixed(1)),
    floor_fsyncs_per_s: floor,
    ops_per_fsync: Number((times.length / elapsed / floor).toFixed(2)),
    sync_interval: 'always',
  }
  await client.close()
  await connection.close()
  if (isJson) process.stdout.write(`${JSON.stringify(result)}\n`)
  else for (const [name, value] of Object.entries(result)) process.stdout.write(`${name.padEnd(20)} ${value}\n`)
}

const readCounters = async (stack: Stack) => ({
  events: await readCounter(stack, 'kms_ledger_events_per_commit_sum'),
  commits: await readCounter(stack, 'kms_ledger_events_per_commit_count'),
})
