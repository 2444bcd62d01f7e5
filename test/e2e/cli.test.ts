import { randomBytes } from 'node:crypto'
import { cp, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { KeySpecName } from '../../schemas/keys.ts'
import { OPERATION_NAMES, type OperationName, toContract } from '../../schemas/registry.ts'
import {
  findPlace,
  ROOT,
  runShell,
  type ServicePlace,
  type ServiceProcess,
  startServiceProcess,
} from '../../scripts/serviceProcess.ts'
import { toExampleLine } from '../../src/cli/example.ts'
import { type Client, createClient } from '../../src/client/client.ts'
import { createHttpClientTransport } from '../../src/client/httpTransport.ts'
import { isLongRun } from '../fixtures/counts.ts'
import { addToken } from '../fixtures/devTokens.ts'
import { wrapFor } from '../fixtures/softwareWrapping.ts'

let dir: string
let work: string
let place: ServicePlace
let service: ServiceProcess | undefined
const keys = { AES_256: '', ED25519: '', HMAC_256: '', other: '' }

/** Runs a command line of the help as it stands, with its variables set. */
const run = (line: string, variables: Readonly<Record<string, string>> = {}) =>
  runShell(place, work, [...Object.entries(variables).map(([name, value]) => `${name}=${value}`), line].join('\n'))

/** A client of the same service, which prepares in milliseconds what a process of the CLI would take seconds for. */
let client: Client

const createKey = async (key_spec: KeySpecName, exportable = false): Promise<string> =>
  (await client.createKey({ key_spec, exportable })).key.key_id

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'kms-cli-'))
  work = join(dir, 'work')
  await mkdir(work)
  place = await findPlace(join(dir, 'data'))
  service = await startServiceProcess(place)
  const token = (await readFile(join(place.KMS_DATA_DIR, 'bootstrap-token'), 'utf8')).trim()
  const transport = createHttpClientTransport({ url: `http://127.0.0.1:${place.KMS_HTTP_PORT}` })
  client = createClient({ transport, token })
  keys.AES_256 = await createKey('AES_256')
  keys.other = await createKey('AES_256')
  keys.ED25519 = await createKey('ED25519')
  keys.HMAC_256 = await createKey('HMAC_256')
  await addToken(place.KMS_DATA_DIR, 'second')
})

afterAll(async () => {
  await service?.stop()
  await rm(dir, { recursive: true, force: true })
})

/** What a verb's example needs before it can be pasted: a fitting key, and the files that other examples make. */
const SIGNING: readonly OperationName[] = ['Sign', 'Verify', 'GetPublicKey']
const AUTHENTICATING: readonly OperationName[] = ['GenerateMac', 'VerifyMac']
const EXPORTING: readonly OperationName[] = ['GetKeyMaterial', 'MakeKeyExportable', 'RevokeKeyExportability']

/** What the owner of a key does: wraps it as the parameters say. */
const wrapKey = async () => {
  const under = await readFile(join(work, 'wrapping-public-key.bin'))
  await writeFile(join(work, 'wrapped-key-material.bin'), wrapFor(under, 'RSA_AES_KEY_WRAP_SHA1', randomBytes(32)))
}

/** What is done to the key of an example before. */
const BEFORE: { readonly [N in OperationName]?: (key_id: string) => Promise<unknown> } = {
  EnableKey: (key_id) => client.disableKey({ key_id }),
  CancelKeyDeletion: (key_id) => client.scheduleKeyDeletion({ key_id, grace_period_days: 7 }),
  DestroyKeyVersion: (key_id) => client.rotateKey({ key_id }),
  MakeKeyExportable: (key_id) => client.revokeKeyExportability({ key_id }),
  ImportKey: wrapKey,
}

const OF_JOBS: readonly OperationName[] = ['AcknowledgeRotationJob', 'CompleteRotationJob', 'FailRotationJob']

/** A job of a key below this one, opened by its rotation. */
const openJob = async (key_id: string): Promise<string> => {
  const { key } = await client.createKey({ key_spec: 'AES_256', parent_key_id: key_id })
  await client.rotateKey({ key_id })
  return (await client.listRotationJobs({ key_id: key.key_id })).items[0]?.job_id ?? 'none'
}

/** The examples that leave what another one needs. */
const AFTER: Partial<Record<OperationName, OperationName>> = {
  Decrypt: 'Encrypt',
  DescribeNamespace: 'RegisterNamespace',
  GetKeyMaterial: 'GetParametersForImport',
  ImportKey: 'GetParametersForImport',
  ReEncrypt: 'Encrypt',
  Verify: 'Sign',
  VerifyMac: 'GenerateMac',
  DeleteAlias: 'CreateAlias',
  UpdateAlias: 'CreateAlias',
}

const OVER_REST: readonly OperationName[] = ['CreateKey', 'DescribeKey', 'ListKeys', 'Encrypt', 'Decrypt', 'Verify']

const specOf = (operation: OperationName): KeySpecName =>
  SIGNING.includes(operation) ? 'ED25519' : AUTHENTICATING.includes(operation) ? 'HMAC_256' : 'AES_256'

const ALIAS_LEFT: readonly OperationName[] = ['CreateAlias', 'UpdateAlias']

/** The line that `--help` prints, which a unit test compares, about a key of its own. */
const runExample = async (operation: OperationName, { key, more = '' }: { key?: string; more?: string } = {}) => {
  const KEY = key ?? (await createKey(specOf(operation), EXPORTING.includes(operation)))
  await BEFORE[operation]?.(KEY)
  const JOB = OF_JOBS.includes(operation) ? await openJob(KEY) : ''
  const line = `${toExampleLine(toContract(operation))}${more}`
  return run(line, { KEY, JOB, DESTINATION_KEY: keys.other, TARGET_KEY: keys.other })
}

/** The example, after the one that leaves what it needs. */
const runAfter = async (operation: OperationName, more = '') => {
  const after = AFTER[operation]
  const key = await createKey(specOf(operation), EXPORTING.includes(operation))
  if (after !== undefined) await runExample(after, { key })
  return runExample(operation, { key, more })
}

/** The id of a deleted connection is not used again, and the other examples need it. */
const LAST: OperationName = 'DeleteHsmConnection'

/** A process each: a short run takes every other one, and those that the others build on. All lines are parsed by unit tests. */
const EXAMPLES = OPERATION_NAMES.filter(
  (name, index) => name !== LAST && (isLongRun || index % 2 === 0 || name.includes('HsmConnection')),
)

describe('the examples of --help', () => {
  test.each([...EXAMPLES, LAST])('%s works as it is printed', async (operation) => {
    const answer = await runAfter(operation)
    expect(answer).toMatchObject({ code: 0, stderr: '' })
    expect(answer.stdout).toMatch(/^receipt:$/m)
    if (ALIAS_LEFT.includes(operation)) await client.deleteAlias({ alias_name: 'alias/orders' })
  })

  test.each(OVER_REST)('%s works over REST as well', async (operation) => {
    const answer = await runAfter(operation, ` --url http://127.0.0.1:${place.KMS_HTTP_PORT} --json`)
    expect(answer).toMatchObject({ code: 0, stderr: '' })
    expect(JSON.parse(answer.stdout)).toMatchObject({ receipt: { seq: expect.any(Number) } })
  })

  test('what an example writes is what it says, in files of mode 0600', async () => {
    await runExample('Encrypt')
    await runExample('Decrypt')
    expect(await readFile(join(work, 'plaintext.bin'), 'utf8')).toBe('hello')
    expect((await stat(join(work, 'plaintext.bin'))).mode & 0o777).toBe(0o600)
  })

  test.each(['ledger verify', 'ledger export'])('%s works as it is printed', async (command) => {
    const { stdout } = await run(`chatelaine ${command} --help`)
    const line = /Example:\n {2}(chatelaine .+)\n/.exec(stdout)?.[1] ?? 'false'
    // The head file follows the ledger within a second.
    await expect.poll(async () => (await run(line)).code, { timeout: 20_000 }).toBe(0)
  })
})

describe('answers', () => {
  test('bytes go through pipes', async () => {
    const line =
      'printf "a\\0b" | chatelaine encrypt "$KEY" --plaintext-file - --out - | chatelaine decrypt --ciphertext-blob-file - --out -'
    expect(await run(line, { KEY: keys.AES_256 })).toEqual({ code: 0, stdout: 'a\0b', stderr: '' })
  })

  test('a batch is read from a pipe, with bytes as base64, and answers for each item', async () => {
    const item = (text: string) =>
      JSON.stringify({ operation: 'Encrypt', request: { key_id: keys.AES_256, plaintext: btoa(text) } })
    const line = `printf '%s' '[${item('a')},${item('b')},{"operation":"CreateKey","request":{}}]' | chatelaine batch --operations-file - --json`
    const { code, stdout } = await run(line)
    expect(code).toBe(0)
    const { results } = JSON.parse(stdout)
    expect(results.map((result: { ok: boolean }) => result.ok)).toEqual([true, true, false])
    const blob = results[1].reply.ciphertext_blob
    const opened = await run(`chatelaine decrypt --ciphertext-blob-base64 ${blob} --out -`)
    expect(opened).toEqual({ code: 0, stdout: 'b', stderr: '' })
  })

  test('a refusal is exit code 1, with code and message, or the error body as JSON', async () => {
    const missing = `lid_${'0'.repeat(64)}`
    const plain = await run(`chatelaine describe-key ${missing}`)
    expect(plain).toMatchObject({ code: 1, stdout: '', stderr: expect.stringMatching(/^chatelaine: KEY_NOT_FOUND: /) })
    for (const more of ['', ` --url http://127.0.0.1:${place.KMS_HTTP_PORT}`]) {
      const { code, stderr, stdout } = await run(`chatelaine describe-key ${missing} --json${more}`)
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
      expect(JSON.parse(stderr)).toEqual({
        error: {
          code: 'KEY_NOT_FOUND',
          message: expect.any(String),
          request_id: expect.any(String),
          retryable: false,
        },
      })
    }
  })

  test('an idempotency key makes a repeated change one change', async () => {
    const line = 'chatelaine create-key --key-spec AES_256 --idempotency-key once --json'
    const [first, second] = [await run(line), await run(line)]
    expect(JSON.parse(second.stdout).key.key_id).toBe(JSON.parse(first.stdout).key.key_id)
  })

  test('tags, attributes and a parent arrive as they were typed', async () => {
    const { stdout } = await run(
      `chatelaine create-key --key-spec AES_256 --tags stage=dev --tags note='a = b' --attributes '{"n":7}' --parent-key-id ${keys.other} --json`,
    )
    expect(JSON.parse(stdout).key).toMatchObject({
      user_tags: [
        { key: 'stage', value: 'dev' },
        { key: 'note', value: 'a = b' },
      ],
      parent_key_id: keys.other,
    })
    expect(stdout).not.toContain('"n"')
  })

  test('a wrong token and a wrong NATS user are told apart', async () => {
    await writeFile(join(work, 'wrong'), 'certainly-not-the-right-token\n')
    expect(await run('chatelaine list-keys --token-file wrong')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('UNAUTHENTICATED'),
    })
    const address = `nats://127.0.0.1:${place.KMS_NATS_PORT}`
    expect(await run(`chatelaine list-keys --nats ${address} --user app --password-file wrong`)).toMatchObject({
      code: 3,
      stderr: expect.stringContaining('refuses the user app'),
    })
  })
})

describe('the ledger', () => {
  test('an export is verified elsewhere with the root key and a receipt alone; one byte less is named', async () => {
    await cp(join(dir, 'data', 'ledger-root.vkey'), join(work, 'root.vkey'))
    const elsewhere = { ...place, KMS_DATA_DIR: join(dir, 'nowhere') }
    const verify = (file: string) =>
      runShell(elsewhere, work, `chatelaine ledger verify --file ${file} --root-key root.vkey --receipt receipt.json`)
    let seq = 0
    // The service has records of its own to make, such as the refusal of a moment ago; then the receipt is not the last.
    await expect
      .poll(
        async () => {
          const { receipt } = JSON.parse((await run('chatelaine get-ledger-head --json')).stdout)
          seq = receipt.seq
          await writeFile(join(work, 'receipt.json'), JSON.stringify(receipt))
          expect((await run('chatelaine ledger export --out all.jsonl')).code).toBe(0)
          return verify('all.jsonl')
        },
        { timeout: 30_000 },
      )
      .toMatchObject({ code: 0, stdout: expect.stringContaining('anchored by receipt') })
    expect((await stat(join(work, 'all.jsonl'))).mode & 0o777).toBe(0o600)
    const lines = (await readFile(join(work, 'all.jsonl'), 'utf8')).trimEnd().split('\n')
    await writeFile(join(work, 'cut.jsonl'), `${lines.slice(0, -1).join('\n')}\n`)
    expect(await verify('cut.jsonl')).toMatchObject({
      code: 2,
      stdout: expect.stringContaining(`FAIL at ${seq}: shorter than anchor`),
    })
    await writeFile(join(work, 'gap.jsonl'), `${lines.filter((_line, at) => at !== 4).join('\n')}\n`)
    expect(await verify('gap.jsonl')).toMatchObject({ code: 2, stdout: expect.stringContaining('FAIL at 5:') })
  })

  test('an export to standard output is the same bytes', async () => {
    const { stdout } = await run('chatelaine ledger export')
    const [first] = stdout.split('\n')
    expect(first).toBe((await readFile(join(work, 'all.jsonl'), 'utf8')).split('\n')[0])
    expect(stdout.endsWith('\n')).toBe(true)
  })
})

describe('before the set-up', () => {
  test('bin/chatelaine says how to begin', async () => {
    const fresh = join(dir, 'fresh')
    await mkdir(join(fresh, 'bin'), { recursive: true })
    await cp(join(ROOT, 'bin/chatelaine'), join(fresh, 'bin/chatelaine'))
    const said = await runShell(place, fresh, './bin/chatelaine list-keys')
    expect(said).toMatchObject({ stdout: '', stderr: 'chatelaine: not set up yet: run `npm start` once\n' })
    expect(said.code).not.toBe(0)
  })

  test('without a running service a verb says where it looked and what to do', async () => {
    const elsewhere = { ...(await findPlace(join(dir, 'data'))), KMS_DATA_DIR: join(dir, 'data') }
    expect(await runShell(elsewhere, work, 'chatelaine list-keys')).toMatchObject({
      code: 3,
      stderr: expect.stringContaining(
        `no running service found at nats://127.0.0.1:${elsewhere.KMS_NATS_PORT}: run npm start`,
      ),
    })
  })
})
