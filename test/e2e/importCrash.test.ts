import { execFile } from 'node:child_process'
import { createDecipheriv, randomBytes } from 'node:crypto'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { isLongRun } from '../fixtures/counts.ts'
import { wrapFor } from '../fixtures/softwareWrapping.ts'
import { type Stack, startStack } from '../fixtures/stack.ts'
import { type Clients, codeOf, openClients, untilTrue } from '../fixtures/stackClients.ts'
import { listEvents, readLedger } from '../fixtures/stackLedger.ts'
import { readTokenLabels } from '../fixtures/tokenLabels.ts'

const run = promisify(execFile)
const MANY_STARTS_MS = 120_000
/** Longer than a busy machine takes to make an RSA pair; a request to a service that died fails at once, by REST. */
const SLOW_MS = 20_000
/** Of a ciphertext blob: header, nonce and tag. */
const [HEADER_BYTES, NONCE_BYTES, TAG_BYTES] = [80, 12, 16]

let stack: Stack
beforeAll(async () => {
  stack = await startStack({ canCrash: true })
})
afterAll(() => stack?.[Symbol.asyncDispose]())

/** The data of all events of a type, in order. */
const listData = async (type: string): Promise<readonly Readonly<Record<string, unknown>>[]> =>
  listEvents(await readLedger(stack)).flatMap(({ event }) => (event.type === type ? [event.data] : []))

/** The LIDs on the token, one entry an object, in order. */
const listObjects = async (): Promise<readonly string[]> =>
  (await readTokenLabels(stack.dataDir)).flatMap((label) => /lid_[0-9a-f]{64}/.exec(label) ?? []).sort()

/** What the service calls orphans in what it wrote. */
const listOrphans = (log: string): readonly string[] =>
  log.split('\n').flatMap((line) => (line.includes('orphan') ? (/lid_[0-9a-f]{64}/.exec(line) ?? []) : []))

/** Kills the service when it writes `text`, in the middle of `act` or on its own way; gives what it logs at the next start. */
const crash = async (text: string, when: 'before' | 'after', act: (clients: Clients) => Promise<unknown>) => {
  await stack.crashAt(text, when)
  {
    await using clients = await openClients(stack, { timeoutMs: SLOW_MS })
    await act(clients)
  }
  await untilTrue(() => stack.hasEnded(), `the service died ${when} ${text}`)
  const from = stack.output().length
  await stack.restart()
  await untilTrue(() => stack.output().slice(from).includes('token compared with ledger'), 'the token is compared')
  return stack.output().slice(from)
}

const sweep = async (...flags: string[]): Promise<string> => {
  const { KMS_CONFIG: _unused, ...env } = process.env
  const done = await run(process.execPath, ['dist/src/cli/main.js', 'sweep', ...flags], {
    env: { ...env, ...stack.env },
  })
  return done.stdout
}

/** A key of the caller's own, and all that it takes to bring it. */
const prepareImport = async ({ rest }: Clients) => {
  const material = randomBytes(32)
  const { wrapping_public_key, wrapping_algorithm, import_token } = await rest.getParametersForImport({
    key_spec: 'AES_256',
  })
  const wrapped_key_material = wrapFor(wrapping_public_key, wrapping_algorithm, material)
  return { material, request: { key_spec: 'AES_256', import_token, wrapped_key_material } as const }
}

/** Whether what the service encrypts under a key opens by the caller's own material. */
const isHisOwn = async ({ nats }: Clients, key_id: string, material: Uint8Array): Promise<boolean> => {
  const { ciphertext_blob: blob } = await nats.encrypt({ key_id, plaintext: Buffer.from('brought') })
  const nonceEnd = HEADER_BYTES + NONCE_BYTES
  const opening = createDecipheriv('aes-256-gcm', material, blob.subarray(HEADER_BYTES, nonceEnd))
  opening.setAAD(blob.subarray(0, HEADER_BYTES))
  opening.setAuthTag(blob.subarray(blob.length - TAG_BYTES))
  const plaintext = Buffer.concat([opening.update(blob.subarray(nonceEnd, blob.length - TAG_BYTES)), opening.final()])
  return plaintext.toString() === 'brought'
}

describe('kill -9 while a key is imported', () => {
  test.each(
    (
      [
        ['before', 'importKey', false],
        ['after', 'importKey', false],
        ['before', 'KeyImported', false],
        ['after', 'KeyImported', true],
      ] as const
    ).filter(([when, text]) => isLongRun || (when === 'before' && text === 'KeyImported')),
  )(
    '%s %s: it is there once or not at all, and the token is used or good accordingly',
    async (when, text, hasHappened) => {
      let prepared: Awaited<ReturnType<typeof prepareImport>> | undefined
      {
        await using clients = await openClients(stack)
        prepared = await prepareImport(clients)
      }
      const { material, request } = prepared
      const [imports, objects] = [await listData('KeyImported'), await listObjects()]
      const sending = { idempotencyKey: `${when}-${text}` }
      const log = await crash(text, when, async ({ rest }) =>
        expect(await codeOf(rest.importKey(request, sending))).not.toBe('OK'),
      )
      const recorded = (await listData('KeyImported')).slice(imports.length)
      expect(recorded).toHaveLength(hasHappened ? 1 : 0)
      // Whatever is on the token now and was not before is in the ledger, or reported.
      const appeared = (await listObjects()).filter((lid) => !objects.includes(lid))
      const explained = [...recorded.map(({ lid }) => lid), ...listOrphans(log)]
      expect(appeared.filter((lid) => !explained.includes(lid))).toEqual([])

      await using clients = await openClients(stack)
      const { nats, rest } = clients
      const { key } = await nats.importKey(request, sending)
      expect(await isHisOwn(clients, key.key_id, material)).toBe(true)
      if (hasHappened) expect(recorded.map(({ lid }) => lid)).toEqual([key.key_id])
      expect((await listData('KeyImported')).length).toBe(imports.length + 1)
      expect((await listObjects()).filter((lid) => lid === key.key_id)).toHaveLength(1)
      // Without the idempotency key it is another request, for which the token is spent.
      expect(await codeOf(rest.importKey(request))).toBe('INVALID_REQUEST')
    },
    MANY_STARTS_MS,
  )

  test(
    'before the record of a wrapping key, its object is an orphan; after the destruction of one, its end is recorded by the next start',
    async () => {
      const issued = await listData('ImportParametersIssued')
      const log = await crash('ImportParametersIssued', 'before', async ({ rest }) =>
        expect(await codeOf(rest.getParametersForImport({ key_spec: 'AES_256' }))).not.toBe('OK'),
      )
      expect(await listData('ImportParametersIssued')).toEqual(issued)
      const orphans = listOrphans(log)
      expect((await listObjects()).filter((lid) => orphans.includes(lid)).length).toBe(orphans.length)
      expect(orphans.length).toBeGreaterThan(0)

      const ended = (await listData('ImportWrappingKeyDestroyed')).length
      const listEnded = async () => (await listData('ImportWrappingKeyDestroyed')).slice(ended)
      // One that was used before may be its end already.
      await crash('ImportWrappingKeyDestroyed', 'before', (clients) =>
        codeOf(prepareImport(clients).then(({ request }) => clients.rest.importKey(request))),
      )
      await untilTrue(async () => (await listEnded()).length > 0, 'the end is recorded')
      const [first] = await listEnded()
      expect(first).toMatchObject({ confirmed: false })
      expect(await listObjects()).not.toContain(first?.['lid'])
    },
    MANY_STARTS_MS,
  )

  test(
    'leaves orphans that a sweep takes away, and nothing else',
    async () => {
      const used = (await listData('KeyImported')).length
      const countEnded = async () => (await listData('ImportWrappingKeyDestroyed')).length
      await untilTrue(async () => (await countEnded()) === used, 'every wrapping key that was used is destroyed')
      expect(await stack.stop()).toBe(0)
      const before = await listObjects()
      const listed = [...new Set((await sweep()).match(/lid_[0-9a-f]{64}/g) ?? [])]
      expect(listed.length).toBeGreaterThan(0)
      await sweep('--destroy', '--yes', `${listed.length}`)
      await stack.restart()
      expect(await listObjects()).toEqual(before.filter((lid) => !listed.includes(lid)))
      await using clients = await openClients(stack)
      for (const { lid } of await listData('KeyImported')) {
        const request = { key_id: String(lid), plaintext: Buffer.from('x') }
        expect(await codeOf(clients.nats.encrypt(request))).toBe('OK')
      }
    },
    MANY_STARTS_MS,
  )
})
