import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Stack, startStack } from '../fixtures/stack.ts'
import { codeOf, openClients, untilTrue } from '../fixtures/stackClients.ts'
import { listEvents, readLedger } from '../fixtures/stackLedger.ts'
import { readTokenLabels } from '../fixtures/tokenLabels.ts'

const run = promisify(execFile)
const ROTATIONS = 5
const MANY_STARTS_MS = 120_000

let stack: Stack
beforeAll(async () => {
  stack = await startStack({ canCrash: true })
})
afterAll(() => stack?.[Symbol.asyncDispose]())

/** The objects on the token that were made for a key, as `<version>`, one entry an object. */
const listVersions = async (keyId: string): Promise<readonly number[]> =>
  (await readTokenLabels(stack.dataDir))
    .filter((label) => label.includes(`/${keyId}/`))
    .map((label) => Number(label.split('/').at(-1)))
    .sort((a, b) => a - b)

/** The versions that the ledger says the key was rotated to. */
const listRotations = async (keyId: string): Promise<readonly unknown[]> =>
  listEvents(await readLedger(stack))
    .filter(({ event }) => event.type === 'KeyRotated' && event.data['lid'] === keyId)
    .map(({ event }) => event.data['version'])

describe('a key on the real service', () => {
  test('decrypts and verifies everything of all its versions; a destroyed one is gone from the token', async () => {
    await using clients = await openClients(stack)
    const { nats, rest } = clients
    const { key_id } = (await nats.createKey({ key_spec: 'AES_256' })).key
    const signing = (await nats.createKey({ key_spec: 'ECDSA_P256' })).key.key_id
    const blobs: Uint8Array[] = []
    const signatures: { readonly signature: Uint8Array; readonly key_version: number }[] = []
    for (let round = 0; round <= ROTATIONS; round += 1) {
      blobs.push((await nats.encrypt({ key_id, plaintext: Buffer.from(`round ${round}`) })).ciphertext_blob)
      signatures.push(await rest.sign({ key_id: signing, message: Buffer.from('m') }))
      if (round === ROTATIONS) break
      await rest.rotateKey({ key_id })
      await nats.rotateKey({ key_id: signing })
    }
    for (const [round, ciphertext_blob] of blobs.entries())
      expect(Buffer.from((await rest.decrypt({ ciphertext_blob })).plaintext).toString()).toBe(`round ${round}`)
    for (const { signature, key_version } of signatures) {
      const request = { key_id: signing, message: Buffer.from('m'), signature, key_version }
      expect((await nats.verify(request)).signature_valid).toBe(true)
    }
    const { version } = await nats.destroyKeyVersion({ key_id, version: 2 })
    expect(version.state).toBe('destroyed')
    expect(await listVersions(key_id)).toEqual([1, 3, 4, 5, 6])
    const [, second] = blobs
    if (second === undefined) throw new Error('there are two ciphertexts')
    expect(await codeOf(nats.decrypt({ ciphertext_blob: second }))).toBe('KEY_NOT_USABLE')
    await nats.setMinDecryptionVersion({ key_id, version: 4 })
    const codes = []
    for (const ciphertext_blob of blobs) codes.push(await codeOf(rest.decrypt({ ciphertext_blob })))
    expect(codes).toEqual(['KEY_NOT_USABLE', 'KEY_NOT_USABLE', 'KEY_NOT_USABLE', 'OK', 'OK', 'OK'])
  })
})

describe('kill -9 while a key is rotated', () => {
  /** Kills the service before the commit leaves; gives what the token and the ledger hold after the next start. */
  const crash = async () => {
    let keyId = ''
    {
      await using clients = await openClients(stack)
      keyId = (await clients.nats.createKey({ key_spec: 'AES_256' })).key.key_id
    }
    await stack.crashAt('KeyRotated', 'before')
    {
      await using clients = await openClients(stack, { timeoutMs: 3_000 })
      expect(
        await clients.rest.rotateKey({ key_id: keyId }).then(
          () => 'answered',
          () => 'not answered',
        ),
      ).toBe('not answered')
    }
    await untilTrue(() => stack.hasEnded(), 'the service died at its crash point')
    const logged = stack.output().length
    await stack.restart()
    return { keyId, log: stack.output().slice(logged) }
  }

  test(
    'between HSM and ledger, no version is lost or doubled: its object is an orphan, beside the version made later, until it is swept',
    async () => {
      const { keyId, log } = await crash()
      expect(await listRotations(keyId)).toEqual([])
      expect(await listVersions(keyId)).toEqual([1, 2])
      expect(log).toMatch(new RegExp(`orphan.*${keyId}/2|${keyId}/2.*orphan`))
      {
        await using clients = await openClients(stack)
        expect((await clients.nats.rotateKey({ key_id: keyId })).new_version).toBe(2)
        expect(await listVersions(keyId)).toEqual([1, 2, 2])
      }
      expect(await stack.stop()).toBe(0)
      const { KMS_CONFIG: _unused, ...env } = process.env
      const sweep = (...flags: string[]) =>
        run(process.execPath, ['dist/src/cli/main.js', 'sweep', ...flags], { env: { ...env, ...stack.env } })
      expect((await sweep()).stdout).toContain(`${keyId}/2`)
      await sweep('--destroy', '--yes', '1')
      await stack.restart()
      expect(await listVersions(keyId)).toEqual([1, 2])
      await using clients = await openClients(stack)
      const { ciphertext_blob, key_version } = await clients.nats.encrypt({
        key_id: keyId,
        plaintext: Buffer.from('x'),
      })
      expect(key_version).toBe(2)
      expect(Buffer.from((await clients.rest.decrypt({ ciphertext_blob })).plaintext).toString()).toBe('x')
    },
    MANY_STARTS_MS,
  )
})
