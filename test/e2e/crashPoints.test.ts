import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { isLongRun } from '../fixtures/counts.ts'
import { writeResults } from '../fixtures/results.ts'
import { crashingAt, withClockAhead } from '../fixtures/shims.ts'
import { type Stack, startStack } from '../fixtures/stack.ts'
import { type Clients, openClients, untilTrue } from '../fixtures/stackClients.ts'
import { listEvents, type ReadLedger, readLedger } from '../fixtures/stackLedger.ts'
import { auditToken } from '../fixtures/tokenAudit.ts'

const run = promisify(execFile)
const DAY_MS = 24 * 3600 * 1000
const MANY_STARTS_MS = 120_000

/** One request that goes through the HSM, and where its process can die on the way. */
interface Course {
  readonly name: string
  /** In order: instructions to the HSM and records to the ledger, by what is written of them. */
  readonly points: readonly string[]
  /** The event that says it happened; it is there exactly once in the end. */
  readonly event: string
  /** The clock of the service while it prepares, if that matters. */
  readonly aheadMs?: number
  /** Makes the key it is about, if it is about one. */
  prepare(clients: Clients): Promise<string>
  act(clients: Clients, keyId: string): Promise<unknown>
  /** Brings it to its end after the next start, if the service itself does not. */
  finish(clients: Clients, keyId: string, hasHappened: boolean): Promise<void>
}

const create = async ({ nats }: Clients): Promise<string> => (await nats.createKey({ key_spec: 'AES_256' })).key.key_id

const hasDestroyed = async ({ rest }: Clients, key_id: string): Promise<boolean> =>
  (await rest.getKeyVersion({ key_id, version: 1 })).version.state === 'destroyed'

const COURSES: readonly Course[] = [
  {
    name: 'CreateKey',
    points: ['generateKey', 'KeyCreated'],
    event: 'KeyCreated',
    prepare: async () => '',
    act: ({ rest }) => rest.createKey({ key_spec: 'ECDSA_P256' }),
    async finish({ rest }, _keyId, hasHappened) {
      if (!hasHappened) await rest.createKey({ key_spec: 'ECDSA_P256' })
    },
  },
  {
    name: 'RotateKey',
    points: ['generateKey', 'KeyRotated'],
    event: 'KeyRotated',
    prepare: create,
    act: ({ rest }, key_id) => rest.rotateKey({ key_id }),
    async finish({ nats, rest }, key_id, hasHappened) {
      if (!hasHappened) await nats.rotateKey({ key_id })
      const { ciphertext_blob, key_version } = await rest.encrypt({ key_id, plaintext: Buffer.from('x') })
      expect(key_version).toBe(2)
      expect(Buffer.from((await nats.decrypt({ ciphertext_blob })).plaintext).toString()).toBe('x')
    },
  },
  {
    name: 'DestroyKeyVersion',
    points: ['KeyVersionDestructionStarted', 'destroyKey', 'KeyVersionDestroyed'],
    event: 'KeyVersionDestroyed',
    async prepare(clients) {
      const key_id = await create(clients)
      await clients.nats.rotateKey({ key_id })
      return key_id
    },
    act: ({ rest }, key_id) => rest.destroyKeyVersion({ key_id, version: 1 }),
    async finish(clients, key_id) {
      const { version } = await clients.nats.getKeyVersion({ key_id, version: 1 })
      // What was begun goes on by itself; what was not begun never happened.
      if (version.state === 'enabled') await clients.nats.destroyKeyVersion({ key_id, version: 1 })
      await untilTrue(() => hasDestroyed(clients, key_id), 'the version is destroyed')
    },
  },
  {
    name: 'the deletion of a key',
    points: ['KeyDestructionStarted', 'destroyKey', 'KeyDestroyed'],
    event: 'KeyDestroyed',
    aheadMs: -8 * DAY_MS,
    async prepare(clients) {
      const key_id = await create(clients)
      await clients.nats.scheduleKeyDeletion({ key_id, grace_period_days: 7 })
      return key_id
    },
    // By the true clock it is due: the service does it by itself, and may be dead before a request reaches it.
    act: async () => {},
    async finish({ rest }, key_id) {
      const isDestroyed = async () => (await rest.describeKey({ key_id })).key.state === 'destroyed'
      await untilTrue(isDestroyed, 'the key is destroyed')
    },
  },
]

/** All of them in a long run; else one of each course: two before a record, one after it, one after the HSM. */
const CASES = COURSES.flatMap((course) =>
  course.points.flatMap((point) =>
    (['before', 'after'] as const).map((when) => ({ course, name: course.name, point, when })),
  ),
).filter((_, at) => isLongRun || at % 5 === 2)

let stack: Stack
const rows: string[] = []

beforeAll(async () => {
  stack = await startStack({ canCrash: true })
})
afterAll(() => stack?.[Symbol.asyncDispose]())

const countEvents = (ledger: ReadLedger, type: string): number =>
  listEvents(ledger).filter(({ event }) => event.type === type && event['outcome'] === 'success').length

/** What the service wrote since its last start. */
const restart = async (environment: Readonly<Record<string, string>> = {}): Promise<() => string> => {
  const from = stack.output().length
  await stack.restart(environment)
  return () => stack.output().slice(from)
}

/** Kills the service on its way through the course; gives how often the course's event is recorded by then. */
const crash = async (course: Course, point: string, when: 'before' | 'after') => {
  let keyId = ''
  if (course.aheadMs !== undefined) {
    await stack.stop()
    await restart(withClockAhead(course.aheadMs))
  }
  {
    await using clients = await openClients(stack)
    keyId = await course.prepare(clients)
  }
  const before = countEvents(await readLedger(stack), course.event)
  if (course.aheadMs === undefined) await stack.crashAt(point, when)
  else {
    await stack.stop()
    await restart(crashingAt(point, when)).catch((error: unknown) => {
      if (!stack.hasEnded()) throw error
    })
  }
  if (!stack.hasEnded()) {
    await using clients = await openClients(stack, { timeoutMs: 3_000 })
    await course.act(clients, keyId).catch(() => undefined)
  }
  await untilTrue(() => stack.hasEnded(), 'the service died at its crash point')
  return { keyId, before }
}

describe('kill -9 on the way through the HSM and the ledger', () => {
  test.each(CASES)(
    '$name, $when $point: nothing is lost or doubled, and no object is unexplained',
    async ({ course, point, when }) => {
      const { keyId, before } = await crash(course, point, when)
      const log = await restart()
      await untilTrue(() => log().includes('token compared with ledger'), 'the token is compared')
      const ledger = await readLedger(stack)
      expect(ledger.report.findings).toEqual([])
      const hasHappened = countEvents(ledger, course.event) > before
      const audit = await auditToken(stack, ledger, log())
      expect({ ...audit, objects: 0, orphans: 0 }).toEqual({ objects: 0, orphans: 0, missing: [], unexplained: [] })

      // A read that meets the service's own change of the key is asked for again, as callers do.
      await using clients = await openClients(stack, { attemptsMax: 5 })
      await course.finish(clients, keyId, hasHappened)
      const after = await readLedger(stack)
      expect(countEvents(after, course.event)).toBe(before + 1)
      expect((await auditToken(stack, after, log())).missing).toEqual([])
      rows.push(`| ${course.name} | ${when} ${point} | ${hasHappened ? 'yes' : 'no'} | ${audit.orphans.length} |`)
    },
    MANY_STARTS_MS,
  )

  test(
    'after a sweep the token holds what the ledger names, one object a version',
    async () => {
      await stack.stop()
      const seen = await restart()
      await untilTrue(() => seen().includes('token compared with ledger'), 'the token is compared')
      const { orphans } = await auditToken(stack, await readLedger(stack), seen())
      await stack.stop()
      const { KMS_CONFIG: _unused, ...env } = process.env
      const sweep = (...flags: string[]) =>
        run(process.execPath, ['dist/src/cli/main.js', 'sweep', ...flags], { env: { ...env, ...stack.env } })
      expect(orphans.length).toBeGreaterThan(0)
      await sweep('--destroy', '--yes', `${orphans.length}`)
      const log = await restart()
      await untilTrue(() => log().includes('token compared with ledger'), 'the token is compared')
      const { objects, ...others } = await auditToken(stack, await readLedger(stack), log())
      expect(others).toEqual({ missing: [], unexplained: [], orphans: [] })
      expect(objects.length).toBe(new Set(objects).size)
    },
    MANY_STARTS_MS,
  )
})

afterAll(async () => {
  if (!isLongRun) return
  await writeResults('crash-points', 'kill -9 before and after every HSM call and every append', [
    'After each: the ledger verifies, every living version is on the token, every other object was reported as an orphan,',
    'and the request, asked again or finished by the service itself, has one record.',
    '',
    '| operation | killed | had happened | orphans reported so far |',
    '|---|---|---|---:|',
    ...rows,
  ])
})
