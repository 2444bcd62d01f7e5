import { afterAll, beforeAll, expect, test } from 'vitest'
import { countOf, isLongRun } from '../fixtures/counts.ts'
import { type Acknowledged, EVENT_OF, type MixedLoad, startMixedLoad } from '../fixtures/mixedLoad.ts'
import { writeResults } from '../fixtures/results.ts'
import { type Stack, startStack } from '../fixtures/stack.ts'
import { type Clients, openClients, untilTrue } from '../fixtures/stackClients.ts'
import { type ReadLedger, readLedger } from '../fixtures/stackLedger.ts'
import { auditToken } from '../fixtures/tokenAudit.ts'

const KILLS = countOf('kills')
const ACKNOWLEDGED_MIN = 20
const WORKERS_PER_CLIENT = 6

let stack: Stack
let keyId: string
const rows: string[] = []
const acknowledged: Acknowledged[] = []

beforeAll(async () => {
  stack = await startStack()
  await using clients = await openClients(stack)
  keyId = (await clients.nats.createKey({ key_spec: 'AES_256' })).key.key_id
})
afterAll(async () => {
  await stack?.[Symbol.asyncDispose]()
})

const hasEveryKind = (load: MixedLoad): boolean =>
  (['create', 'disable', 'encrypt'] as const).every((kind) => load.acknowledged.some((one) => one.kind === kind))

/** Kills in the middle of the load; what was acknowledged up to then is what must be found later. */
const killUnderLoad = async (): Promise<MixedLoad> => {
  await using clients = await openClients(stack, { timeoutMs: 2_000 })
  const load = startMixedLoad(clients.both, { keyId, workers: WORKERS_PER_CLIENT })
  await untilTrue(() => load.acknowledged.length >= ACKNOWLEDGED_MIN && hasEveryKind(load), 'the load is acknowledged')
  await new Promise((resolve) => setTimeout(resolve, Math.random() * 150))
  await stack.kill()
  await load.stop()
  return load
}

/** Each receipt names the stored event of its operation, on the right key; throws or fails otherwise. */
const checkReceipts = (ledger: ReadLedger): void => {
  for (const one of acknowledged) {
    const event = ledger.find(one.receipt)
    const lid = one.kind === 'encrypt' ? one.keyId : one.key.key_id
    expect([event.type, event.data['lid'], event['outcome']]).toEqual([EVENT_OF[one.kind], lid, 'success'])
  }
}

const withoutCounts = <K extends { readonly key_versions: readonly object[] }>(key: K) => ({
  ...key,
  key_versions: key.key_versions.map((version) => ({ ...version, encrypt_count: undefined })),
})

/** Keys read as they were acknowledged: disabled ones by the reply of their disable, others by that of their creation. */
const checkKeys = async ({ nats }: Clients, disabling: ReadonlySet<string>): Promise<void> => {
  const last = new Map<string, Extract<Acknowledged, { kind: 'create' | 'disable' }>>()
  for (const one of acknowledged) if (one.kind !== 'encrypt') last.set(one.key.key_id, one)
  for (const [key_id, one] of last) {
    const { key } = await nats.describeKey({ key_id })
    // A disable that was in flight at the kill may have been recorded: the outcome was unknown to its caller.
    if (one.kind === 'create' && disabling.has(key_id) && key.state === 'disabled') continue
    expect(withoutCounts(key)).toEqual(withoutCounts(one.key))
  }
}

const checkCiphertexts = async (clients: Clients): Promise<number> => {
  const encrypted = acknowledged.filter((one) => one.kind === 'encrypt')
  for (const [at, one] of encrypted.entries()) {
    const client = at % 2 === 0 ? clients.nats : clients.rest
    const request = { ciphertext_blob: one.ciphertext, encryption_context: one.context }
    expect(Buffer.from((await client.decrypt(request)).plaintext)).toEqual(Buffer.from(one.plaintext))
  }
  return encrypted.length
}

const disabling = new Set<string>()

test.each(Array.from({ length: KILLS }, (_, at) => at + 1))(
  'after kill -9 under load, time %i, nothing acknowledged is missing and no HSM object is unexplained',
  async (time) => {
    const load = await killUnderLoad()
    acknowledged.push(...load.acknowledged)
    for (const key of load.disabling) disabling.add(key)
    const logged = stack.output().length
    await stack.restart()
    const log = stack.output().slice(logged)
    await using clients = await openClients(stack)
    const ledger = await readLedger(stack)
    expect(ledger.report.findings).toEqual([])
    expect(ledger.report.verdict).toBeLessThan(2)
    checkReceipts(ledger)
    expect(log).toContain('token compared with ledger')
    const { objects, orphans, unexplained, missing } = await auditToken(stack, ledger, log)
    expect({ unexplained, missing }).toEqual({ unexplained: [], missing: [] })
    await checkKeys(clients, disabling)
    const decrypted = await checkCiphertexts(clients)
    rows.push(
      `| ${time} | ${load.acknowledged.length} | ${acknowledged.length} | ${decrypted} | ${objects.length} | ${orphans.length} | ${ledger.report.lastSeq} |`,
    )
  },
)

test('a view rebuilt after all kills equals the one before a clean restart', async () => {
  const look = async () => {
    await using clients = await openClients(stack)
    const { items } = await clients.nats.listKeys({ max_results: 1000 })
    return items
  }
  const before = await look()
  expect(before.length).toBeGreaterThanOrEqual(KILLS)
  expect(await stack.stop()).toBe(0)
  await stack.restart()
  expect(await look()).toEqual(before)
})

afterAll(async () => {
  if (!isLongRun) return
  await writeResults('kill', 'kill -9 of the service under load', [
    'Each time every receipt acknowledged so far was found in the stream with its hash, the chain verified, every',
    'ciphertext decrypted and every HSM object was in the ledger or reported as an orphan.',
    '',
    '| kill | acknowledged before it | receipts found | ciphertexts decrypted | HSM objects | orphans reported | last commit |',
    '|---:|---:|---:|---:|---:|---:|---:|',
    ...rows,
  ])
})
