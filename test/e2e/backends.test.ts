import { readdir, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { addToken, toDevPlace } from '../fixtures/devTokens.ts'
import { listDescendants } from '../fixtures/processes.ts'
import { type Stack, startStack } from '../fixtures/stack.ts'
import { type Clients, codeOf, openClients, untilTrue } from '../fixtures/stackClients.ts'

/** Two SoftHSM tokens behind one service: the second is opened at run time, goes away, and comes back. */
let stack: Stack
let clients: Clients
let tokenOfSecond: string
let onFirst: string
let onSecond: string
let sealedOnSecond: Uint8Array
/** Placed by rules, on the second and on the first. */
let routed: readonly string[] = []

const SECOND = 'second'
const tokens = () => join(stack.dataDir, 'softhsm', 'tokens')
const findHosts = async (): Promise<readonly number[]> =>
  (await listDescendants(stack.pid)).filter(({ command }) => command.includes('hsm/child')).map(({ pid }) => pid)
const statusOf = async (connection_id: string) => (await clients.nats.getHsmConnectionStatus({ connection_id })).status
const encryptOn = (key_id: string) => clients.nats.encrypt({ key_id, plaintext: Buffer.from('text') })
const decryptIt = async (ciphertext_blob: Uint8Array): Promise<string> =>
  Buffer.from((await clients.rest.decrypt({ ciphertext_blob: Uint8Array.from(ciphertext_blob) })).plaintext).toString()

beforeAll(async () => {
  stack = await startStack()
  clients = await openClients(stack)
  onFirst = (await clients.nats.createKey({ key_spec: 'AES_256' })).key.key_id
  const before = await readdir(tokens())
  await addToken(stack.dataDir, SECOND)
  const [made] = (await readdir(tokens())).filter((name) => !before.includes(name))
  tokenOfSecond = made ?? ''
})
afterAll(async () => {
  await clients?.[Symbol.asyncDispose]()
  await stack?.[Symbol.asyncDispose]()
})

test('a connection opens a second token, and keys are placed there by backend_id', async () => {
  const { connection } = await clients.rest.createHsmConnection({ connection_id: SECOND, pkcs11: toDevPlace(SECOND) })
  expect(connection).toMatchObject({ connection_id: SECOND, status: 'HEALTHY', pkcs11: toDevPlace(SECOND) })
  const { key } = await clients.nats.createKey({ key_spec: 'AES_256', backend_id: SECOND })
  onSecond = key.key_id
  expect([key.backend_id, key.key_versions[0]?.backend_id]).toEqual([SECOND, SECOND])
  sealedOnSecond = (await encryptOn(onSecond)).ciphertext_blob
  expect(await decryptIt(sealedOnSecond)).toBe('text')
})

test('routing rules choose the token by identity tags, and each key and version shows the one it is bound to', async () => {
  const parent = onFirst
  await clients.nats.registerNamespace({
    name: 'regions',
    rules: [
      { match: { region: 'vault-*' }, parent, backend_id: SECOND },
      { match: { region: '*' }, parent, backend_id: 'softhsm' },
    ],
  })
  const make = async (region: string) => {
    const { key } = await clients.rest.createKey({
      key_spec: 'AES_256',
      namespace: 'regions',
      attributes: { region },
    })
    return key.key_id
  }
  const placed = { [await make('vault-1')]: SECOND, [await make('north')]: 'softhsm' }
  for (const [key_id, backend_id] of Object.entries(placed)) {
    expect((await clients.nats.describeKey({ key_id })).key).toMatchObject({ backend_id, parent_key_id: parent })
    const { items } = await clients.rest.listKeyVersions({ key_id })
    expect(items.map((version) => version.backend_id)).toEqual([backend_id])
    expect(await decryptIt((await encryptOn(key_id)).ciphertext_blob)).toBe('text')
  }
  const explained = await clients.nats.explainRouting({ namespace: 'regions', attributes: { region: 'vault-2' } })
  expect(explained).toMatchObject({ outcome: 'ALLOW', selected_backend_id: SECOND })
  const missing = { name: 'wrong', rules: [{ match: {}, backend_id: 'third' }] }
  expect(await codeOf(clients.nats.registerNamespace(missing))).toBe('INVALID_REQUEST')
  routed = Object.keys(placed)
})

test('no request makes the service load another library or read a PIN elsewhere', async () => {
  const place = toDevPlace(SECOND)
  for (const wrong of [{ lib_path: '/usr/lib/x86_64-linux-gnu/libc.so.6' }, { pin_ref: '../pin' }, { pin_ref: '..' }])
    expect(
      await codeOf(clients.nats.createHsmConnection({ connection_id: 'evil', pkcs11: { ...place, ...wrong } })),
    ).toBe('INVALID_REQUEST')
  expect((await clients.nats.listHsmConnections({})).items.map(({ connection_id }) => connection_id)).toEqual([SECOND])
})

test('re-encryption moves a ciphertext to a key on the other token', async () => {
  const { ciphertext_blob } = await clients.rest.reEncrypt({
    ciphertext_blob: Uint8Array.from(sealedOnSecond),
    destination_key_id: onFirst,
  })
  expect(await decryptIt(ciphertext_blob)).toBe('text')
})

test('a token that goes away fails its own keys at once and no other; it is back by itself', async () => {
  const hosts = await findHosts()
  await rename(join(tokens(), tokenOfSecond), join(stack.dataDir, tokenOfSecond))
  // Session copies outlive the token's files; a fresh child does not find the token.
  for (const pid of hosts) process.kill(pid, 'SIGKILL')
  await untilTrue(async () => (await codeOf(encryptOn(onFirst))) === 'OK', 'the first backend is up again')
  await untilTrue(async () => (await statusOf(SECOND)) === 'DOWN', 'the second backend is down')
  for (let round = 0; round < 20; round += 1) {
    expect(await codeOf(encryptOn(onSecond))).toBe('HSM_UNAVAILABLE')
    expect(await codeOf(encryptOn(onFirst))).toBe('OK')
  }
  expect(await Promise.all(routed.map((key_id) => codeOf(encryptOn(key_id))))).toEqual(['HSM_UNAVAILABLE', 'OK'])
  const ready = await fetch(`${stack.httpUrl}/readyz`)
  expect([ready.status, await ready.json()]).toMatchObject([
    200,
    {
      status: 'ready',
      components: expect.arrayContaining([
        { name: 'hsm:softhsm', status: 'ready' },
        { name: `hsm:${SECOND}`, status: 'not_ready', detail: 'HSM_UNAVAILABLE', optional: true },
      ]),
    },
  ])
  const metrics = await (await fetch(`${stack.httpUrl}/metrics`)).text()
  expect(metrics).toContain(`kms_hsm_breaker_open{backend="${SECOND}"} 1`)
  expect(metrics).toContain('kms_hsm_breaker_open{backend="softhsm"} 0')
  await rename(join(stack.dataDir, tokenOfSecond), join(tokens(), tokenOfSecond))
  await untilTrue(async () => (await codeOf(encryptOn(onSecond))) === 'OK', 'the second backend is back')
  expect(await decryptIt(sealedOnSecond)).toBe('text')
  expect(await statusOf(SECOND)).toBe('HEALTHY')
})

test('connections are opened again from the ledger after a stop and after a crash', async () => {
  for (const end of [stack.stop, stack.kill]) {
    await clients[Symbol.asyncDispose]()
    await end()
    await stack.restart()
    clients = await openClients(stack)
    expect(await decryptIt(sealedOnSecond)).toBe('text')
    expect(await statusOf(SECOND)).toBe('HEALTHY')
  }
})

test('rotation moves a key to the first token, what was encrypted before still decrypts on the second', async () => {
  const { key } = await clients.nats.rotateKey({ key_id: onSecond, backend_id: 'softhsm' })
  expect(key.key_versions.map(({ backend_id }) => backend_id)).toEqual([SECOND, 'softhsm'])
  const moved = await encryptOn(onSecond)
  expect(moved.key_version).toBe(2)
  expect([await decryptIt(sealedOnSecond), await decryptIt(moved.ciphertext_blob)]).toEqual(['text', 'text'])
})

test('a key that rules placed moves too, and its new version is where it was asked to be', async () => {
  const [key_id = ''] = routed
  const before = (await encryptOn(key_id)).ciphertext_blob
  const { key } = await clients.rest.rotateKey({ key_id, backend_id: 'softhsm' })
  expect([key.backend_id, ...key.key_versions.map(({ backend_id }) => backend_id)]).toEqual([
    'softhsm',
    SECOND,
    'softhsm',
  ])
  expect(await decryptIt(before)).toBe('text')
  await clients.nats.destroyKeyVersion({ key_id, version: 1 })
  expect(await codeOf(decryptIt(before))).toBe('KEY_NOT_USABLE')
})

test('a connection is deleted, and its process ended, once no version needs it', async () => {
  const remove = () => codeOf(clients.nats.deleteHsmConnection({ connection_id: SECOND }))
  expect(await remove()).toBe('KEY_HAS_DEPENDENTS')
  await clients.nats.destroyKeyVersion({ key_id: onSecond, version: 1 })
  const before = (await findHosts()).length
  expect(await remove()).toBe('OK')
  await untilTrue(async () => (await findHosts()).length === before - 1, 'the process of the second token has ended')
  expect(await codeOf(clients.nats.getHsmConnection({ connection_id: SECOND }))).toBe('NOT_FOUND')
  const again = clients.nats.createHsmConnection({ connection_id: SECOND, pkcs11: toDevPlace(SECOND) })
  expect(await codeOf(again)).toBe('ALREADY_EXISTS')
  expect(await codeOf(encryptOn(onSecond))).toBe('OK')
})
