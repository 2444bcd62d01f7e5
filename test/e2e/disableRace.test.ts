import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Client } from '../../src/client/client.ts'
import { countOf, isLongRun } from '../fixtures/counts.ts'
import { writeResults } from '../fixtures/results.ts'
import { type Stack, startStack } from '../fixtures/stack.ts'
import { type Clients, codeOf, openClients } from '../fixtures/stackClients.ts'
import { type ReadLedger, readLedger } from '../fixtures/stackLedger.ts'

type Place = { readonly seq: number; readonly index: number; readonly hash: string }

const DECRYPTS = countOf('racingDecrypts')
const ATTEMPTS_MAX = 25

let stack: Stack
let clients: Clients

beforeAll(async () => {
  stack = await startStack()
  clients = await openClients(stack)
})
afterAll(async () => {
  await clients?.[Symbol.asyncDispose]()
  await stack?.[Symbol.asyncDispose]()
})

const isBefore = (a: Place, b: Place): boolean => a.seq < b.seq || (a.seq === b.seq && a.index < b.index)

interface Race {
  readonly permitted: readonly { readonly receipt: Place; readonly plaintext: Uint8Array }[]
  readonly refused: readonly string[]
  readonly disabled: Place
}

/** Half of the decrypts by each transport; the disable starts once `lead` of them are answered. */
const race = async (key_id: string, ciphertext_blob: Uint8Array, lead: number): Promise<Race> => {
  const permitted: { receipt: Place; plaintext: Uint8Array }[] = []
  const refused: string[] = []
  let answered = 0
  let begin: () => void = () => undefined
  const begun = new Promise<void>((resolve) => {
    begin = resolve
  })
  const decrypt = async (client: Client): Promise<void> => {
    const code = await codeOf(client.decrypt({ ciphertext_blob }).then((reply) => void permitted.push(reply)))
    if (code !== 'OK') refused.push(code)
    answered++
    if (answered === lead) begin()
  }
  const inFlight = Array.from({ length: DECRYPTS }, (_, at) => decrypt(at % 2 === 0 ? clients.nats : clients.rest))
  if (lead === 0) begin()
  const disabling = begun.then(() => clients.nats.disableKey({ key_id }))
  await Promise.all(inFlight)
  return { permitted, refused, disabled: (await disabling).receipt }
}

/** A disable that starts late finds every record written, one that starts at once none: which is late depends on the machine. */
const LEADS = [1, 0, 200, 30, 260, 100] as const

/** Runs races until one has both outcomes. */
const raceThatCounts = async (disableWhat: 'key' | 'root') => {
  for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt++) {
    const root = (await clients.nats.createKey({ key_spec: 'AES_256' })).key.key_id
    const middle = (await clients.nats.createKey({ key_spec: 'AES_256', parent_key_id: root })).key.key_id
    const key = (await clients.nats.createKey({ key_spec: 'AES_256', parent_key_id: middle })).key.key_id
    const plaintext = Buffer.from(`attempt ${attempt}`)
    const { ciphertext_blob } = await clients.nats.encrypt({ key_id: key, plaintext })
    const result = await race(disableWhat === 'key' ? key : root, ciphertext_blob, LEADS[attempt % LEADS.length] ?? 0)
    if (result.permitted.length > 0 && result.refused.length > 0) return { ...result, attempt, plaintext }
  }
  throw new Error(`none of ${ATTEMPTS_MAX} races had a permitted and a refused decrypt`)
}

const checkAgainstLedger = (ledger: ReadLedger, { permitted, disabled }: Race): void => {
  expect(ledger.find(disabled).type).toBe('KeyDisabled')
  for (const { receipt } of permitted) expect(ledger.find(receipt).type).toBe('DataDecrypted')
  expect(ledger.report.findings).toEqual([])
}

const rows: string[] = []

test.each(['key', 'root'] as const)(
  'no plaintext is released whose record does not precede the disable of its %s',
  async (disableWhat) => {
    const result = await raceThatCounts(disableWhat)
    const { permitted, refused, disabled } = result
    expect(permitted.length + refused.length).toBe(DECRYPTS)
    expect(permitted.filter(({ receipt }) => !isBefore(receipt, disabled))).toEqual([])
    expect(new Set(refused)).toEqual(new Set(['KEY_NOT_USABLE']))
    for (const { plaintext } of permitted) expect(Buffer.from(plaintext)).toEqual(result.plaintext)
    checkAgainstLedger(await readLedger(stack), result)
    rows.push(`| ${disableWhat} | ${DECRYPTS} | ${permitted.length} | ${refused.length} | ${result.attempt} |`)
  },
)

afterAll(async () => {
  if (!isLongRun) return
  await writeResults('disable-race', 'A disable racing with decrypts in flight', [
    '| disabled | decrypts in flight | permitted, all before the disable | refused | attempt that counted |',
    '|---|---:|---:|---:|---:|',
    ...rows,
  ])
})
