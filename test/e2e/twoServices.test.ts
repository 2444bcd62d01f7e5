import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { createClient } from '../../src/client/client.ts'
import { createHttpClientTransport } from '../../src/client/httpTransport.ts'
import { countOf, isLongRun } from '../fixtures/counts.ts'
import { type Acknowledged, EVENT_OF, type MixedLoad, startMixedLoad } from '../fixtures/mixedLoad.ts'
import { writeResults } from '../fixtures/results.ts'
import { type SecondService, startSecondService } from '../fixtures/secondService.ts'
import { type Stack, startStack } from '../fixtures/stack.ts'
import { type Clients, codeOf, openClients, untilTrue } from '../fixtures/stackClients.ts'
import { listEvents, readLedger } from '../fixtures/stackLedger.ts'

const TAKE_OVERS = countOf('takeOvers')
const CALL_MS = 2_000
/** Three questions without an answer, a second of jitter, an epoch to open; on a machine that does other things too. */
const TAKE_OVER_MS = 30_000

let stack: Stack
let second: SecondService
let clients: Clients
let keyId: string
const rows: string[] = []

beforeAll(async () => {
  stack = await startStack()
  clients = await openClients(stack, { timeoutMs: CALL_MS })
  keyId = (await clients.nats.createKey({ key_spec: 'AES_256' })).key.key_id
  second = await startSecondService(stack)
})
afterAll(async () => {
  await clients?.[Symbol.asyncDispose]()
  await second?.[Symbol.asyncDispose]()
  await stack?.[Symbol.asyncDispose]()
})

type Side = 'first' | 'second'
const urlOf = (side: Side): string => (side === 'first' ? stack.httpUrl : second.httpUrl)
const outputOf = (side: Side): string => (side === 'first' ? stack.output() : second.output())
const signalTo = (side: Side, signal: 'SIGSTOP' | 'SIGCONT'): void => {
  if (side === 'second') second.signal(signal)
  else process.kill(stack.pid, signal)
}
const other = (side: Side): Side => (side === 'first' ? 'second' : 'first')

const clientOf = (side: Side) =>
  createClient({
    token: stack.token,
    attemptsMax: 1,
    timeoutMs: CALL_MS,
    transport: createHttpClientTransport({ url: urlOf(side) }),
  })
const readReady = async (side: Side): Promise<number> =>
  (await fetch(`${urlOf(side)}/readyz`, { signal: AbortSignal.timeout(5_000) })).status
const isWriter = async (side: Side): Promise<boolean> => (await readReady(side).catch(() => 0)) === 200

let load: MixedLoad | undefined
const startLoad = (): MixedLoad => {
  const started = startMixedLoad([clients.nats, clientOf('first'), clientOf('second')], { keyId, workers: 3 })
  load = started
  return started
}
afterEach(async () => {
  await load?.stop()
})

/** Everything any of the two acknowledged stands in the one chain where its receipt says, and the chain has no fault. */
const checkLedger = async (acknowledged: readonly Acknowledged[]) => {
  const ledger = await readLedger(stack)
  expect(ledger.report.findings).toEqual([])
  for (const one of acknowledged) expect(ledger.find(one.receipt).type).toBe(EVENT_OF[one.kind])
  const epochs = listEvents(ledger).filter(({ event }) => event.type === 'EpochOpened').length
  return { epochs, lastSeq: ledger.report.lastSeq }
}

const CODES_OF_A_CHANGE = ['HSM_UNAVAILABLE', 'LEDGER_UNAVAILABLE', 'TIMEOUT', 'UNREACHABLE']
const checkFailures = ({ failures }: MixedLoad): void =>
  expect([...new Set(failures)].filter((code) => !CODES_OF_A_CHANGE.includes(code))).toEqual([])

describe('a second service on the same ledger', () => {
  test('follows: it answers LEDGER_UNAVAILABLE by REST, is not ready, and leaves NATS to the writer', async () => {
    await untilTrue(() => second.output().includes('"role":"follower"'), 'it follows')
    expect(await readReady('second')).toBe(503)
    expect(await readReady('first')).toBe(200)
    const rest = clientOf('second')
    expect(await codeOf(rest.describeKey({ key_id: keyId }))).toBe('LEDGER_UNAVAILABLE')
    expect(await codeOf(rest.encrypt({ key_id: keyId, plaintext: Buffer.of(1) }))).toBe('LEDGER_UNAVAILABLE')
    const codes = await Promise.all(
      Array.from({ length: 50 }, () => codeOf(clients.nats.encrypt({ key_id: keyId, plaintext: Buffer.of(1) }))),
    )
    expect(new Set(codes)).toEqual(new Set(['OK']))
    expect(second.output()).not.toContain('"role":"writer"')
  })

  test('ends cleanly on SIGTERM while it only stands by', async () => {
    expect(await second.stop()).toBe(0)
    await second.start()
    await untilTrue(async () => second.output().split('"role":"follower"').length > 2, 'it follows again')
  })

  test.each(Array.from({ length: 2 * TAKE_OVERS }, (_, at): [Side, number] => [at % 2 ? 'second' : 'first', at + 1]))(
    'takes over while the %s is frozen, and that one demotes when it comes back (time %i)',
    async (frozen, _time) => {
      const heir = other(frozen)
      expect(await isWriter(frozen)).toBe(true)
      const running = startLoad()
      await untilTrue(() => running.acknowledged.length > 20, 'the load runs')
      const [said, before] = [outputOf(frozen).length, running.acknowledged.length]
      signalTo(frozen, 'SIGSTOP')
      const frozenAt = Date.now()
      try {
        await untilTrue(() => isWriter(heir), `the ${heir} has taken over`, TAKE_OVER_MS)
      } finally {
        signalTo(frozen, 'SIGCONT')
      }
      const tookMs = Date.now() - frozenAt
      await untilTrue(() => outputOf(frozen).slice(said).includes('"role":"follower"'), `the ${frozen} has demoted`)
      await untilTrue(async () => (await readReady(frozen)) === 503, `the ${frozen} says that it is not ready`)
      const rest = clientOf(frozen)
      expect(await codeOf(rest.encrypt({ key_id: keyId, plaintext: Buffer.of(1) }))).toBe('LEDGER_UNAVAILABLE')
      const after = running.acknowledged.length
      await untilTrue(() => running.acknowledged.length > after + 20, 'the load runs on the new writer')
      await running.stop()
      checkFailures(running)
      const { epochs, lastSeq } = await checkLedger(running.acknowledged)
      rows.push(
        `| ${frozen} frozen | ${before} | ${running.acknowledged.length} | ${tookMs} | ${epochs} | ${lastSeq} |`,
      )
    },
  )

  test.each(['second', 'first'] as const)('takes over when the writer, the %s, is killed', async (killed) => {
    const heir = other(killed)
    // Whoever is to be killed has to write first: the other one is frozen for as long as that takes.
    if (!(await isWriter(killed))) {
      signalTo(heir, 'SIGSTOP')
      await untilTrue(() => isWriter(killed), `the ${killed} writes`, TAKE_OVER_MS).finally(() =>
        signalTo(heir, 'SIGCONT'),
      )
      await untilTrue(async () => (await readReady(heir)) === 503, `the ${heir} has demoted`)
    }
    const running = startLoad()
    await untilTrue(() => running.acknowledged.length > 20, 'the load runs')
    const before = running.acknowledged.length
    await (killed === 'second' ? second.kill() : stack.kill())
    const killedAt = Date.now()
    await untilTrue(() => isWriter(heir), `the ${heir} has taken over`, TAKE_OVER_MS)
    const tookMs = Date.now() - killedAt
    const after = running.acknowledged.length
    await untilTrue(() => running.acknowledged.length > after + 20, 'the load runs on the new writer')
    await running.stop()
    checkFailures(running)
    const { epochs, lastSeq } = await checkLedger(running.acknowledged)
    if (killed === 'second') await second.start()
    rows.push(`| ${killed} killed | ${before} | ${running.acknowledged.length} | ${tookMs} | ${epochs} | ${lastSeq} |`)
  })
})

afterAll(async () => {
  if (!isLongRun) return
  await writeResults('two-services', 'Two services on one ledger', [
    'After each the chain verified, without a fork, and held every operation that any of the two had acknowledged.',
    '',
    '| the writer was | acknowledged before | acknowledged in all | ms to take over | epochs | last commit |',
    '|---|---:|---:|---:|---:|---:|',
    ...rows,
  ])
})
