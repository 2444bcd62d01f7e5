import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { readStorageUse } from '../../src/ledger/storageUse.ts'
import { eventOf } from '../fixtures/history.ts'
import { entryOf, never, unwrap } from '../fixtures/ledgerEntries.ts'
import { type LedgerStack, startLedgerStack, until } from '../fixtures/ledgerStack.ts'

const NATS_CONF = fileURLToPath(new URL('../../nats.conf', import.meta.url))
const LIMIT_BYTES = 2_000_000

let folder: string
let stack: LedgerStack | undefined
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kms-storage-'))
})
afterEach(async () => {
  await stack?.[Symbol.asyncDispose]()
  await rm(folder, { recursive: true, force: true })
})

/** Writes the repository's configuration with something else in it. */
const configure = async (find: string, replace: string): Promise<string> => {
  const text = await readFile(NATS_CONF, 'utf8')
  const configFile = join(folder, 'nats.conf')
  expect(text).toContain(find)
  await writeFile(configFile, text.replace(find, replace))
  return configFile
}

const start = async (find: string, replace: string): Promise<LedgerStack> => {
  stack = await startLedgerStack({ configFile: await configure(find, replace) })
  return stack
}

/** A record of about 50 KB. */
const large = () => entryOf([{ ...eventOf('LedgerHeadRead', {}), request_id: 'x'.repeat(50_000) }])

it('the status tells how full the server’s store is, and the log warns once from 70 % on', async () => {
  const started = await start('store_dir:', `max_file_store: ${LIMIT_BYTES}, store_dir:`)
  const { ledger } = await started.openWriter({ bounds: { storagePollMs: 20 } })
  const warnings = () => started.log.lines.filter(({ message }) => message === 'the storage of the ledger gets full')
  await until(() => ledger.status().storage !== undefined)
  expect(ledger.status().storage).toMatchObject({ limitBytes: LIMIT_BYTES, isWarning: false })
  expect(warnings()).toEqual([])
  for (let n = 0; n < 20; n += 1) unwrap(await ledger.append(large(), never))
  await until(() => (ledger.status().storage?.usedBytes ?? 0) > 20 * 50_000)
  expect([ledger.status().storage?.isWarning, warnings()]).toEqual([false, []])
  for (let n = 0; n < 12; n += 1) unwrap(await ledger.append(large(), never))
  await until(() => (ledger.status().storage?.usedBytes ?? 0) > 32 * 50_000)
  expect(ledger.status()).toMatchObject({ role: 'writer', storage: { isWarning: true } })
  expect(warnings()).toHaveLength(1)
  expect(warnings()[0]).toMatchObject({ level: 'warn', fields: { limit_bytes: LIMIT_BYTES } })
})

it('without a monitoring port the limit of the account counts, and without that nothing is known', async () => {
  const limited = await start('jetstream: enabled', `jetstream: { max_file: ${LIMIT_BYTES}, max_mem: 1000000 }`)
  const { ledger, connection } = await limited.openWriter()
  unwrap(await ledger.append(large(), never))
  const use = await readStorageUse(connection, [])
  expect(use).toMatchObject({ limitBytes: LIMIT_BYTES, isWarning: false })
  expect(use?.usedBytes).toBeGreaterThan(50_000)
  await limited[Symbol.asyncDispose]()
  const free = await start('jetstream: enabled', 'jetstream: enabled')
  expect(await readStorageUse(await free.connect('kms-ledger'), [])).toBeUndefined()
})

it('at the limit nothing that was acknowledged is lost, and the ledger goes on by itself when there is room', async () => {
  const started = await start('store_dir:', 'max_file_store: 500000, store_dir:')
  const { ledger } = await started.openWriter({ bounds: { storagePollMs: 20, appendDeadlineMs: 1000 } })
  const codes: string[] = []
  let acknowledged = 0
  while (!codes.includes('LEDGER_UNAVAILABLE')) {
    const answer = await ledger.append(large(), never)
    codes.push(answer.ok ? 'OK' : answer.error.code)
    if (answer.ok) acknowledged = answer.value.receipt.seq
    expect(codes.length).toBeLessThan(30)
  }
  expect(ledger.status()).toMatchObject({ role: 'writer', inDoubt: true, storage: { isWarning: true } })
  await started.server.halt()
  await configure('store_dir:', `max_file_store: ${LIMIT_BYTES}, store_dir:`)
  await started.server.resume()
  await until(() => !ledger.status().inDoubt)
  const { seq } = unwrap(await ledger.append(large(), never)).receipt
  expect(seq).toBe(acknowledged + 2)
  await until(() => ledger.status().storage?.isWarning === false)
})
