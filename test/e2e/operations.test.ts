import { randomBytes } from 'node:crypto'
import { Compile } from 'typebox/compile'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { KEY_SPECS } from '../../schemas/keys.ts'
import { CONTRACTS, OPERATION_NAMES, type OperationName, type Request } from '../../schemas/registry.ts'
import { KmsError } from '../../src/client/kmsError.ts'
import { addToken, toDevPlace } from '../fixtures/devTokens.ts'
import { createNamedKeys } from '../fixtures/namedKeys.ts'
import { settle } from '../fixtures/settledReply.ts'
import { callersKey, wrapFor } from '../fixtures/softwareWrapping.ts'
import { type Stack, startStack } from '../fixtures/stack.ts'
import { type Clients, openClients } from '../fixtures/stackClients.ts'
import { callBy } from '../fixtures/stackSystem.ts'

/**
 * Every operation through both transports: the same request gives the same answer, but for what is new each time
 * (random bytes, ids, times, receipts), and every answer keeps to its contract.
 */
let stack: Stack
let clients: Clients

const MESSAGE = Buffer.from('a message to be signed')
const PLAINTEXT = Buffer.from('what nobody may read')
const CONTEXT = { purpose: 'operations test' }

const { create, id } = createNamedKeys(() => clients)

beforeAll(async () => {
  stack = await startStack()
  clients = await openClients(stack)
  await create('aes', {
    key_spec: 'AES_256',
    tags: [{ key: 'team & co', value: 'blue=1' }],
    attributes: { tenant: 'acme' },
  })
  await create('other', { key_spec: 'AES_256' })
  const root = await create('root', { key_spec: 'AES_256' })
  const middle = await create('middle', { key_spec: 'AES_256', parent_key_id: root })
  await create('leaf', { key_spec: 'AES_256', parent_key_id: middle })
  for (const alias_name of ['alias/orders', 'alias/a/b', 'alias/c'])
    await clients.nats.createAlias({ alias_name, target_key_id: id('aes') })
  const rules = [
    { match: { team: '${team}', shard: 7 }, parent: 'alias/${team}' },
    { match: { team: 'secret-*', shard: 7 }, deny: 'not here' },
    { _attachment_: 'rest' },
  ]
  await clients.nats.registerNamespace({ name: 'rest', rules: [] })
  await clients.nats.registerNamespace({ name: 'shop', rules })
  for (const spec of KEY_SPECS) await create(spec, { key_spec: spec })
  await clients.nats.createHsmConnection({ connection_id: 'shared', pkcs11: await addToken(stack.dataDir, 'shared') })
})
afterAll(async () => {
  await clients?.[Symbol.asyncDispose]()
  await stack?.[Symbol.asyncDispose]()
})

/** One operation by one transport. */
const call = (transport: 'nats' | 'rest', operation: OperationName, request: object) =>
  callBy(clients[transport], operation, request)

/** What each request may be about: a ciphertext of the key `aes`, and an AES key that nothing has used yet. */
interface Given {
  readonly blob: Uint8Array
  readonly subject: string
  /** What the preparation gave: the id of a rotation job. */
  readonly job: string
}

type Requests = { readonly [N in OperationName]: (given: Given) => Request<N> | Promise<Request<N>> }

/** An alias of the subject's own, which needs percent-encoding in a path. */
const nameOf = (subject: string) => `alias/of/${subject}`
const nameIt = (subject: string) => clients.nats.createAlias({ alias_name: nameOf(subject), target_key_id: subject })

/** Opens a job for a key below the subject, and gives its id. */
const openJob = async (subject: string): Promise<string> => {
  const { key } = await clients.nats.createKey({ key_spec: 'AES_256', parent_key_id: subject })
  await clients.nats.rotateKey({ key_id: subject })
  const { items } = await clients.nats.listRotationJobs({ key_id: key.key_id })
  return items[0]?.job_id ?? 'none'
}

/** A token and a connection for each subject. */
const nameOfToken = (subject: string) => `t-${subject.slice(4, 20)}`
const connectionOf = (subject: string): Request<'CreateHsmConnection'> => ({
  connection_id: nameOfToken(subject),
  pkcs11: toDevPlace(nameOfToken(subject)),
})

/** What has to be done to the subject before. */
const PREPARE: { readonly [N in OperationName]?: (key_id: string) => Promise<unknown> } = {
  CreateHsmConnection: (key_id) => addToken(stack.dataDir, nameOfToken(key_id)),
  DeleteHsmConnection: async (key_id) => {
    await addToken(stack.dataDir, nameOfToken(key_id))
    await clients.nats.createHsmConnection(connectionOf(key_id))
  },
  MakeKeyExportable: (key_id) => clients.nats.revokeKeyExportability({ key_id }),
  EnableKey: (key_id) => clients.nats.disableKey({ key_id }),
  DestroyKeyVersion: (key_id) => clients.nats.rotateKey({ key_id }),
  GetKeyRotationHistory: (key_id) => clients.nats.rotateKey({ key_id }),
  CancelKeyDeletion: (key_id) => clients.nats.scheduleKeyDeletion({ key_id, grace_period_days: 7 }),
  UpdateAlias: nameIt,
  DeleteAlias: nameIt,
  AcknowledgeRotationJob: openJob,
  CompleteRotationJob: openJob,
  FailRotationJob: openJob,
}

const REQUESTS: Requests = {
  CreateKey: () => ({
    key_spec: 'AES_256',
    description: 'made twice',
    tags: [{ key: 'a', value: 'b' }],
    attributes: { region: 'eu' },
  }),
  DescribeKey: () => ({ key_id: id('aes') }),
  ListKeys: () => ({ tags: [{ key: 'team & co', value: 'blue=1' }], max_results: 5 }),
  DisableKey: ({ subject }) => ({ key_id: subject }),
  EnableKey: ({ subject }) => ({ key_id: subject }),
  UpdateKey: ({ subject }) => ({ key_id: subject, description: 'changed' }),
  RotateKey: ({ subject }) => ({ key_id: subject }),
  ReportKeyCompromise: ({ subject }) => ({ key_id: subject }),
  ScheduleKeyDeletion: ({ subject }) => ({ key_id: subject, grace_period_days: 7 }),
  CancelKeyDeletion: ({ subject }) => ({ key_id: subject }),
  TagResource: ({ subject }) => ({ key_id: subject, tags: [{ key: 'a=&b', value: 'ü/?' }] }),
  UntagResource: ({ subject }) => ({ key_id: subject, tag_keys: ['a=&b', 'c'], if_revision: 1 }),
  ListResourceTags: () => ({ key_id: id('aes') }),
  CreateAlias: ({ subject }) => ({ alias_name: nameOf(subject), target_key_id: subject }),
  UpdateAlias: ({ subject }) => ({ alias_name: nameOf(subject), target_key_id: id('other') }),
  DeleteAlias: ({ subject }) => ({ alias_name: nameOf(subject) }),
  ListAliases: () => ({ key_id: id('aes'), max_results: 2 }),
  ListRotationJobs: () => ({ key_id: id('leaf') }),
  AcknowledgeRotationJob: ({ job }) => ({ job_id: job }),
  CompleteRotationJob: ({ job }) => ({ job_id: job }),
  FailRotationJob: ({ job }) => ({ job_id: job, reason: 'read-only' }),
  ListKeyVersions: ({ subject }) => ({ key_id: subject }),
  GetKeyVersion: ({ subject }) => ({ key_id: subject, version: 1 }),
  DestroyKeyVersion: ({ subject }) => ({ key_id: subject, version: 1 }),
  SetMinDecryptionVersion: ({ subject }) => ({ key_id: subject, version: 1 }),
  EnableKeyRotation: ({ subject }) => ({ key_id: subject }),
  DisableKeyRotation: ({ subject }) => ({ key_id: subject }),
  GetKeyRotationStatus: ({ subject }) => ({ key_id: subject }),
  GetKeyRotationHistory: ({ subject }) => ({ key_id: subject }),
  GetKeyRotationPolicy: ({ subject }) => ({ key_id: subject }),
  SetKeyRotationPolicy: ({ subject }) => ({ key_id: subject, enabled: true, rotation_interval_days: 30 }),
  GetKeyDependents: () => ({ key_id: id('root'), recursive: true }),
  GetKeyAncestors: () => ({ key_id: id('leaf') }),
  GetPublicKey: () => ({ key_id: id('ECDSA_P256') }),
  Batch: ({ blob }) => ({
    operations: [
      {
        operation: 'Encrypt',
        request: { key_id: id('aes'), plaintext: Buffer.from(PLAINTEXT), encryption_context: CONTEXT },
      },
      { operation: 'Decrypt', request: { ciphertext_blob: Buffer.from(blob) } },
      { operation: 'Decrypt', request: { ciphertext_blob: Buffer.from(blob), encryption_context: CONTEXT } },
      { operation: 'Verify', request: { key_id: id('ED25519'), message: MESSAGE, signature: Buffer.alloc(64) } },
      { operation: 'GenerateRandom', request: { number_of_bytes: 2048 } },
    ],
  }),
  Encrypt: () => ({ key_id: id('aes'), plaintext: Buffer.from(PLAINTEXT), encryption_context: CONTEXT }),
  Decrypt: ({ blob }) => ({ ciphertext_blob: Buffer.from(blob), encryption_context: CONTEXT }),
  ReEncrypt: ({ blob }) => ({
    ciphertext_blob: Buffer.from(blob),
    source_encryption_context: CONTEXT,
    destination_key_id: id('other'),
  }),
  GenerateDataKey: () => ({ key_id: id('aes'), number_of_bytes: 48 }),
  GenerateDataKeyWithoutPlaintext: () => ({ key_id: id('aes'), key_spec: 'AES_128' }),
  GenerateDataKeyPair: () => ({ key_id: id('aes'), key_pair_spec: 'ED25519', encryption_context: CONTEXT }),
  GenerateDataKeyPairWithoutPlaintext: () => ({ key_id: id('aes'), key_pair_spec: 'ECC_NIST_P384' }),
  GetParametersForImport: () => ({ key_spec: 'RSA_2048', wrapping_algorithm: 'RSA_AES_KEY_WRAP_SHA1' }),
  ImportKey: async () => {
    const parameters = await clients.nats.getParametersForImport({ key_spec: 'AES_256' })
    const { import_token, wrapping_public_key, wrapping_algorithm } = parameters
    return {
      key_spec: 'AES_256',
      import_token: Buffer.from(import_token),
      wrapped_key_material: wrapFor(wrapping_public_key, wrapping_algorithm, randomBytes(32)),
      attributes: { region: 'eu' },
    }
  },
  GetKeyMaterial: ({ subject }) => ({ key_id: subject, wrapping_public_key: Buffer.from(callersKey().spki) }),
  MakeKeyExportable: ({ subject }) => ({ key_id: subject }),
  RevokeKeyExportability: ({ subject }) => ({ key_id: subject }),
  GenerateRandom: () => ({ number_of_bytes: 16 }),
  Sign: () => ({ key_id: id('ED25519'), message: Buffer.from(MESSAGE) }),
  Verify: () => ({ key_id: id('ED25519'), message: Buffer.from(MESSAGE), signature: Buffer.alloc(64) }),
  GenerateMac: () => ({ key_id: id('HMAC_256'), message: Buffer.from(MESSAGE) }),
  VerifyMac: () => ({ key_id: id('HMAC_384'), message: Buffer.from(MESSAGE), mac: Buffer.alloc(48) }),
  RegisterNamespace: () => ({ name: 'registered', rules: [{ match: { team: '${team}' }, parent: 'alias/${team}' }] }),
  ListNamespaces: () => ({ max_results: 1 }),
  DescribeNamespace: () => ({ name: 'shop' }),
  ExplainRouting: () => ({ namespace: 'shop', attributes: { team: 'orders', shard: 7 } }),
  CreateHsmConnection: ({ subject }) => connectionOf(subject),
  GetHsmConnection: () => ({ connection_id: 'shared' }),
  GetHsmConnectionStatus: () => ({ connection_id: 'shared' }),
  ListHsmConnections: () => ({ max_results: 1 }),
  DeleteHsmConnection: ({ subject }) => ({ connection_id: connectionOf(subject).connection_id }),
  GetLedgerHead: () => ({}),
  GetLedgerProof: () => ({ seq: 1, index: 0, tree_size: 2, from_size: 1 }),
  ListLedgerEvents: () => ({
    types: ['KeyCreated', 'AliasCreated'],
    key_id: 'alias/orders',
    outcome: 'success',
    from_time: '2020-01-01T00:00:00.000Z',
    to_seq: 40,
    max_results: 2,
  }),
}

describe('every operation, by both transports', () => {
  test('is in the table', () => {
    expect(Object.keys(REQUESTS).sort()).toEqual([...OPERATION_NAMES])
  })

  test.each(Object.keys(REQUESTS) as OperationName[])(
    '%s answers the same over NATS and REST, and as its contract says',
    async (operation) => {
      const { ciphertext_blob: blob } = await clients.nats.encrypt({
        key_id: id('aes'),
        plaintext: Buffer.from(PLAINTEXT),
        encryption_context: CONTEXT,
      })
      const reply: Record<string, unknown>[] = []
      for (const transport of ['nats', 'rest'] as const) {
        // A change can be made once, so each transport has a key of its own.
        const subject = (await clients.nats.createKey({ key_spec: 'AES_256', exportable: true })).key.key_id
        const job = String(await PREPARE[operation]?.(subject))
        reply.push(await call(transport, operation, await REQUESTS[operation]({ blob, subject, job })))
      }
      expect(settle(reply[0])).toEqual(settle(reply[1]))
      for (const body of reply) expect([...Compile(CONTRACTS[operation].reply).Errors(body)]).toEqual([])
    },
  )

  test.each([
    ['a key that does not exist', 'DescribeKey', { key_id: `lid_${'0'.repeat(64)}` }, 'KEY_NOT_FOUND'],
    ['an alias that nobody made', 'DescribeKey', { key_id: 'alias/none' }, 'KEY_NOT_FOUND'],
    ['a ciphertext that is none', 'Decrypt', { ciphertext_blob: Buffer.alloc(200) }, 'INVALID_CIPHERTEXT'],
    ['a wrong kind of key', 'Sign', () => ({ key_id: id('aes'), message: MESSAGE }), 'INVALID_REQUEST'],
    ['an unknown field', 'DescribeKey', { key_id: `lid_${'0'.repeat(64)}`, colour: 'red' }, 'INVALID_REQUEST'],
    [
      'a plaintext that is too long',
      'Encrypt',
      () => ({ key_id: id('aes'), plaintext: Buffer.alloc(65_537) }),
      'INVALID_REQUEST',
    ],
  ] as const)('%s is the same error over both', async (_name, operation, request, code) => {
    const failures: unknown[] = []
    for (const transport of ['nats', 'rest'] as const)
      failures.push(
        await call(transport, operation, typeof request === 'function' ? request() : request).catch(
          (error: unknown) => error,
        ),
      )
    const [nats, rest] = failures
    expect(nats).toBeInstanceOf(KmsError)
    expect(rest).toBeInstanceOf(KmsError)
    if (nats instanceof KmsError && rest instanceof KmsError) {
      expect([nats.code, nats.message]).toEqual([code, rest.message])
      expect(rest.code).toBe(code)
    }
  })
})
