import { execFile } from 'node:child_process'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { NatsConnection } from '@nats-io/transport-node'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createLeakScanner, type Leak, type LeakScanner, type Marker } from '../fixtures/leakScanner.ts'
import { type Answer, askOverNats, askOverRest, plantMarkers, sendMarkedTraffic } from '../fixtures/markedTraffic.ts'
import { listDescendants } from '../fixtures/processes.ts'
import { type Stack, startStack } from '../fixtures/stack.ts'
import { type Clients, codeOf, connectAs, openClients, untilTrue } from '../fixtures/stackClients.ts'
import { readLedger } from '../fixtures/stackLedger.ts'

const run = promisify(execFile)
const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** May stand in the exact bytes of the ledger, which are for auditors; never anywhere else. */
const IN_EXACT_BYTES = ['identity tag']

let stack: Stack
let clients: Clients
let connection: NatsConnection
let scanner: LeakScanner
const planted = plantMarkers()
const answers: Answer[] = []
const cliOutput: string[] = []

beforeAll(async () => {
  stack = await startStack()
  clients = await openClients(stack)
  connection = await connectAs(stack, 'app')
  const pin = (await readFile(join(stack.dataDir, 'softhsm', 'pin'), 'utf8')).trim()
  const keyBytes: Marker[] = []
  const asks = [
    askOverNats(connection, stack.token, 'json'),
    askOverNats(connection, stack.token, 'msgpack'),
    askOverRest(stack),
  ]
  for (const ask of asks) {
    const sent = await sendMarkedTraffic(ask, planted)
    answers.push(...sent.answers)
    keyBytes.push(...sent.keyBytes)
    await sendDenied(ask, sent.signingKeyId)
    await sendWhileHsmIsAway(ask, sent.keyId)
  }
  // The PIN is read again at each login, here twice more; the view is built again from what was stored.
  await stack.stop()
  await stack.restart()
  await clients.nats.listKeys({})
  scanner = createLeakScanner([
    { name: 'plaintext', bytes: Buffer.from(planted.plaintext) },
    { name: 'context key', bytes: Buffer.from(planted.contextKey) },
    { name: 'context value', bytes: Buffer.from(planted.contextValue) },
    { name: 'identity tag', bytes: Buffer.from(planted.identityTag) },
    { name: 'wrong token', bytes: Buffer.from(planted.wrongToken) },
    { name: 'token', bytes: Buffer.from(stack.token) },
    { name: 'PIN', bytes: Buffer.from(pin) },
    ...keyBytes,
  ])
})
afterAll(async () => {
  await connection?.close()
  await clients?.[Symbol.asyncDispose]()
  await stack?.[Symbol.asyncDispose]()
})

/** Denied by a policy, with markers in the question. */
const sendDenied = async (ask: ReturnType<typeof askOverRest>, key_id: string): Promise<void> => {
  const file = join(stack.dataDir, 'policies', 'denied.cedar')
  await writeFile(file, '@id("denied") forbid (principal, action == Action::"kms:Sign", resource);')
  const sign = { key_id, message: Buffer.from(planted.plaintext) }
  await untilTrue(async () => (await codeOf(clients.nats.sign(sign))) === 'ACCESS_DENIED', 'the policy is in force')
  answers.push(await ask({ operation: 'Sign', request: sign }))
  await writeFile(file, '')
  await untilTrue(async () => (await codeOf(clients.nats.sign(sign))) === 'OK', 'the policy is gone')
}

/** Failed in the HSM, which is killed with markers on their way to it. */
const sendWhileHsmIsAway = async (ask: ReturnType<typeof askOverRest>, key_id: string): Promise<void> => {
  const child = (await listDescendants(stack.pid)).find(({ command }) => !command.includes('nats-server'))
  if (child === undefined) throw new Error('there is no HSM child')
  process.kill(child.pid, 'SIGKILL')
  const encryption_context = { [planted.contextKey]: planted.contextValue }
  const request = { key_id, plaintext: Buffer.from(planted.plaintext), encryption_context }
  answers.push(...(await Promise.all(Array.from({ length: 8 }, () => ask({ operation: 'Encrypt', request })))))
  await untilTrue(
    async () => (await codeOf(clients.nats.generateRandom({ number_of_bytes: 8 }))) === 'OK',
    'it is back',
  )
}

const runCli = async (...args: readonly string[]): Promise<string> => {
  const { stdout, stderr } = await run(join(ROOT, 'bin', 'chatelaine'), args, {
    env: { ...process.env, ...stack.env },
    maxBuffer: 64 * 1024 * 1024,
  }).catch((error: { readonly stdout: string; readonly stderr: string }) => error)
  cliOutput.push(stdout, stderr)
  return stdout
}

const readExport = async () =>
  (await runCli('ledger', 'export'))
    .trim()
    .split('\n')
    .map((line) => {
      const { message, ...rest } = JSON.parse(line)
      return { message: Buffer.from(message, 'base64'), decoded: JSON.stringify(rest) }
    })

const listFiles = async (...folder: readonly string[]): Promise<readonly string[]> => {
  const found = await readdir(join(stack.dataDir, ...folder), { recursive: true, withFileTypes: true })
  return found.filter((one) => one.isFile()).map((one) => join(one.parentPath, one.name))
}

/** What a file holds; nothing if it is gone by now: a file is replaced under another name, which is listed for a moment. */
const readListed = (file: string): Promise<Buffer> =>
  readFile(file).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return Buffer.alloc(0)
    throw error
  })

const scanFiles = async (files: readonly string[], belongs: readonly string[]): Promise<readonly Leak[]> => {
  const leaks: Leak[] = []
  for (const file of files) leaks.push(...scanner.scan(file, await readListed(file), belongs))
  return leaks
}

/** Where things are meant to be secret, and the stream's files, which hold the ledger's exact bytes. */
const IS_SECRET = /\/(bootstrap-token|secrets\/.*|softhsm\/pin)$/
const IS_STORE = /\/nats\/store\//

describe('no marker, in any encoding, is', () => {
  test('in an answer or an error, but where it belongs', () => {
    expect(answers.length).toBeGreaterThan(100)
    expect(answers.flatMap(({ what, raw, belongs }) => scanner.scan(what, raw, belongs))).toEqual([])
    const statuses = new Set(answers.map(({ status }) => status))
    expect([...statuses]).toEqual(expect.arrayContaining([200, 201, 400, 401, 403, 404, 415, 503]))
  })

  test('in what the service writes to stdout and stderr', () => {
    expect(stack.output()).toContain('"msg":"ready"')
    expect(scanner.scan('output', stack.output())).toEqual([])
  })

  test('in metrics, health or the API’s description', async () => {
    for (const path of ['/metrics', '/healthz', '/readyz', '/openapi.json'])
      expect(scanner.scan(path, await (await fetch(`${stack.httpUrl}${path}`)).text())).toEqual([])
  })

  test('in the log of nats-server, or any file of the data directory but those of secrets and of the stream', async () => {
    const files = (await listFiles()).filter((file) => !IS_SECRET.test(file) && !IS_STORE.test(file))
    expect(files.filter((file) => file.endsWith('nats-server.log'))).toHaveLength(1)
    expect(files.length).toBeGreaterThan(10)
    expect(await scanFiles(files, [])).toEqual([])
  })

  test('in the arguments or the environment of a process', async () => {
    const processes = [stack.pid, ...(await listDescendants(stack.pid)).map(({ pid }) => pid)]
    expect(processes.length).toBeGreaterThanOrEqual(3)
    for (const pid of processes)
      for (const file of ['cmdline', 'environ'])
        expect(scanner.scan(`${file} of ${pid}`, await readFile(`/proc/${pid}/${file}`))).toEqual([])
  })

  test('in the decoded view of an export', async () => {
    const lines = await readExport()
    expect(lines.length).toBeGreaterThan(50)
    expect(lines.flatMap(({ decoded }, at) => scanner.scan(`decoded ${at + 1}`, decoded))).toEqual([])
  })

  test('in what the command line prints about keys and the ledger', async () => {
    await runCli('list-keys', '--json')
    await runCli('list-keys')
    await runCli('ledger', 'verify')
    const printed = cliOutput.filter((text) => !text.startsWith('{"stream"'))
    expect(printed.join('\n')).toContain('valid commits')
    expect(scanner.scan('command line', printed.join('\n'))).toEqual([])
  })
})

describe('no marker but identity tags is', () => {
  test('in the exact bytes of the ledger', async () => {
    const messages = (await readExport()).map(({ message }) => message)
    expect(messages.flatMap((bytes, at) => scanner.scan(`commit ${at + 1}`, bytes, IN_EXACT_BYTES))).toEqual([])
    const { payloads } = await readLedger(stack)
    expect(payloads.flatMap((bytes, at) => scanner.scan(`stored ${at + 1}`, bytes, IN_EXACT_BYTES))).toEqual([])
  })

  test('in the stream’s files on disk', async () => {
    const files = await listFiles('nats', 'store')
    expect(files.some((file) => /\.blk$/.test(file))).toBe(true)
    expect(await scanFiles(files, IN_EXACT_BYTES)).toEqual([])
  })
})

describe('a control run with deliberate leaks', () => {
  const ENCODINGS = ['raw', 'base64', 'hex', 'HEX', 'utf16le'] as const
  const encode = (text: string, encoding: (typeof ENCODINGS)[number]): string => {
    if (encoding === 'raw') return text
    if (encoding === 'utf16le') return [...text].map((letter) => `${letter}\0`).join('')
    if (encoding === 'HEX') return Buffer.from(text).toString('hex').toUpperCase()
    return Buffer.from(`x${text}`).toString(encoding)
  }

  test.each(ENCODINGS)(
    'is caught on every surface of the ledger where a description holds the plaintext as %s',
    async (encoding) => {
      const description = encode(planted.plaintext, encoding)
      const ask = askOverNats(connection, stack.token, 'msgpack')
      const { raw } = await ask({ operation: 'CreateKey', request: { key_spec: 'AES_256', description } })
      const last = (await readExport()).slice(-4)
      const files = (await listFiles('nats', 'store')).filter((file) => file.endsWith('.blk'))
      const found = {
        answer: scanner.scan('answer', raw),
        decoded: last.flatMap(({ decoded }) => scanner.scan('decoded', decoded)),
        message: last.flatMap(({ message }) => scanner.scan('message', message)),
        files: await scanFiles(files, []),
      }
      // JSON writes a zero byte as an escape, so UTF-16 is only found where text is stored as it is.
      const plain = ['answer', 'message', 'files'] as const
      const surfaces = encoding === 'utf16le' ? plain : ([...plain, 'decoded'] as const)
      for (const surface of surfaces)
        expect(found[surface].map(({ marker, encoding: as }) => `${marker} ${as}`)).toContain(`plaintext ${encoding}`)
    },
  )

  test('is caught where the exact bytes hold an identity tag, which belongs there, and where an answer holds what belongs in another', () => {
    const tag = Buffer.from(planted.identityTag)
    expect(scanner.scan('bytes', tag, IN_EXACT_BYTES)).toEqual([])
    expect(scanner.scan('decoded', tag)).toHaveLength(1)
    const decrypted = answers.find(({ belongs }) => belongs.includes('plaintext'))
    expect(scanner.scan('answer', decrypted?.raw ?? '')).not.toEqual([])
  })
})
