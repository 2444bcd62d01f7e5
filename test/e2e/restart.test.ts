import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { isRecord } from '../../src/core/byteFields.ts'
import { toLedgerFiles } from '../../src/ledger/genesis.ts'
import { listDescendants, listProcesses } from '../fixtures/processes.ts'
import { findFreePort, type Stack, startStack } from '../fixtures/stack.ts'
import { codeOf, openClients, untilTrue } from '../fixtures/stackClients.ts'
import { readLedger } from '../fixtures/stackLedger.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const REFUSAL_DEADLINE_MS = 60_000
/** It builds first where sources have changed. */
const NPM_START_DEADLINE_MS = 300_000

let stack: Stack

beforeAll(async () => {
  stack = await startStack()
})
afterAll(async () => {
  await stack?.[Symbol.asyncDispose]()
})

const run = (
  command: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  more: { readonly detached?: boolean } = {},
): ChildProcess => {
  const { KMS_CONFIG: _unused, ...inherited } = process.env
  return spawn(command, args, { cwd: ROOT, env: { ...inherited, ...env }, stdio: ['ignore', 'pipe', 'pipe'], ...more })
}

/** Everything a child says, and how it ends. */
const listen = (child: ChildProcess) => {
  const chunks: string[] = []
  for (const stream of [child.stdout, child.stderr])
    stream?.setEncoding('utf8').on('data', (text: string) => void chunks.push(text))
  const ended = once(child, 'exit').then(([code]: unknown[]) => code)
  return { ended, said: () => chunks.join('') }
}

/** Starts the service where it cannot start; gives its exit code and last line. */
const startRefused = async (env: Readonly<Record<string, string>>) => {
  const child = run(process.execPath, ['dist/src/main.js'], env)
  const { ended, said } = listen(child)
  const timer = setTimeout(() => child.kill('SIGKILL'), REFUSAL_DEADLINE_MS)
  const code = await ended
  clearTimeout(timer)
  return { code, lastLine: said().trim().split('\n').at(-1) ?? '' }
}

describe('a restart', () => {
  test('finds every key, state, tag and ancestor as it was, and goes on with the same chain', async () => {
    const look = async () => {
      await using clients = await openClients(stack)
      const { items } = await clients.nats.listKeys({ max_results: 1000 })
      const relatives = await Promise.all(
        items.map(async ({ key_id }) => ({
          ancestors: (await clients.nats.getKeyAncestors({ key_id })).items,
          dependents: (await clients.rest.getKeyDependents({ key_id, recursive: true })).items,
        })),
      )
      return { items, relatives }
    }
    await using clients = await openClients(stack)
    const tags = [{ key: 'team', value: 'payments' }]
    const root = (await clients.nats.createKey({ key_spec: 'AES_256', tags })).key.key_id
    const middle = (await clients.rest.createKey({ key_spec: 'AES_256', parent_key_id: root })).key.key_id
    const leaf = (await clients.nats.createKey({ key_spec: 'ED25519', parent_key_id: middle })).key.key_id
    const usable = (await clients.nats.createKey({ key_spec: 'AES_256', attributes: { tenant: 'acme' } })).key.key_id
    const { ciphertext_blob } = await clients.nats.encrypt({ key_id: usable, plaintext: Buffer.from('kept') })
    const idempotencyKey = 'restart-test'
    const created = await clients.nats.createKey({ key_spec: 'AES_256' }, { idempotencyKey })
    await clients.rest.disableKey({ key_id: root })
    const before = await look()
    const saved = await readLedger(stack)

    expect(await stack.stop()).toBe(0)
    await stack.restart()
    expect(await look()).toEqual(before)
    expect(before.items.find(({ key_id }) => key_id === leaf)?.locked_by).toBe(root)
    expect(await codeOf(clients.nats.sign({ key_id: leaf, message: Buffer.of(1) }))).toBe('KEY_NOT_USABLE')
    expect(Buffer.from((await clients.nats.decrypt({ ciphertext_blob })).plaintext).toString()).toBe('kept')
    const replayed = await clients.nats.createKey({ key_spec: 'AES_256' }, { idempotencyKey })
    expect(replayed.key).toEqual(created.key)
    const { report, commits } = await readLedger(stack)
    expect(report.findings).toEqual([])
    expect(commits.slice(0, saved.commits.length).map(({ hash }) => hash)).toEqual(
      saved.commits.map(({ hash }) => hash),
    )
  })

  test('writes the head file at its stop, so that the whole ledger is anchored', async () => {
    expect(await stack.stop()).toBe(0)
    const head: unknown = JSON.parse(await readFile(toLedgerFiles(stack.dataDir).head, 'utf8'))
    await stack.restart()
    const { commits } = await readLedger(stack)
    const size = isRecord(head) ? Number(head['size']) : 0
    // The next commit was the next start's: it opened an epoch.
    expect(commits[size]?.events.map(({ type }) => type)).toEqual(['EpochOpened'])
    expect(isRecord(head) && head['hash']).toBe(Buffer.from(commits[size - 1]?.hash ?? []).toString('hex'))
  })
})

describe('a start is refused', () => {
  beforeAll(async () => {
    await stack.stop()
  })
  // Whatever was refused has changed nothing: with everything put back it starts.
  afterAll(() => stack.restart())

  test('without a head file, and says what to do', async () => {
    const { head } = toLedgerFiles(stack.dataDir)
    const saved = await readFile(head)
    await rm(head)
    const { code, lastLine } = await startRefused(stack.env)
    expect([code, lastLine]).toEqual([1, expect.stringMatching(/no head file .*--trust-on-first-use/)])
    await writeFile(head, saved)
  })

  test('where the head file remembers more than the stream has, and names what is missing', async () => {
    const { head } = toLedgerFiles(stack.dataDir)
    const saved = await readFile(head, 'utf8')
    const { size, ...rest } = JSON.parse(saved)
    await writeFile(head, JSON.stringify({ size: size + 2, ...rest }))
    const { code, lastLine } = await startRefused(stack.env)
    expect(code).toBe(1)
    expect(lastLine).toContain(`the stream ends at ${size}`)
    expect(lastLine).toContain(`commits ${size + 1} to ${size + 2} are missing`)
    await writeFile(head, saved)
  })

  test('where the head file remembers another commit than the stream has', async () => {
    const { head } = toLedgerFiles(stack.dataDir)
    const saved = await readFile(head, 'utf8')
    await writeFile(head, JSON.stringify({ ...JSON.parse(saved), hash: '00'.repeat(32) }))
    const { code, lastLine } = await startRefused(stack.env)
    expect([code, lastLine]).toEqual([1, expect.stringContaining('history was rewritten')])
    await writeFile(head, saved)
  })

  test.each(['KMS_NATS_PORT', 'KMS_HTTP_PORT'])('where a port is busy, and names %s', async (setting) => {
    const holder = createServer()
    const port = await findFreePort()
    await new Promise<void>((resolve) => holder.listen(port, '127.0.0.1', resolve))
    const { code, lastLine } = await startRefused({ ...stack.env, [setting]: `${port}` })
    await new Promise((resolve) => holder.close(resolve))
    expect([code, lastLine]).toEqual([1, expect.stringContaining(setting)])
    expect((await listProcesses()).filter(({ command }) => command.includes(stack.dataDir))).toEqual([])
  })
})

describe('npm start', () => {
  // Otherwise it would install packages, and so take them away from every test that runs beside this one.
  beforeAll(async () => {
    const [wanted, installed] = await Promise.all(
      ['package-lock.json', 'node_modules/.package-lock.json'].map((file) => stat(join(ROOT, file))),
    )
    expect(installed?.mtimeMs, 'run `npm run setup` first').toBeGreaterThanOrEqual(wanted?.mtimeMs ?? Infinity)
  })

  test.each([
    ['SIGTERM', 'to npm’s own process', 1],
    ['SIGINT', 'to npm’s own process', 1],
    ['SIGINT', 'to the whole group, as Ctrl-C in a terminal sends it', -1],
  ] as const)(
    'ends on %s %s, and leaves no process',
    async (signal, _to, sign) => {
      await stack.stop()
      const npm = run('npm', ['start'], stack.env, { detached: true })
      const { ended, said } = listen(npm)
      try {
        await untilTrue(() => said().includes('"msg":"ready"'), 'npm start is ready', NPM_START_DEADLINE_MS)
        const family = [npm.pid, ...(await listDescendants(npm.pid ?? 0)).map(({ pid }) => pid)]
        const natsServer = (await listProcesses()).find(({ command }) => command.includes(stack.dataDir))
        expect(family.length).toBeGreaterThanOrEqual(3)
        expect(natsServer).toBeDefined()
        process.kill(sign * (npm.pid ?? 0), signal)
        await ended
        const left = async () => (await listProcesses()).filter(({ pid }) => [...family, natsServer?.pid].includes(pid))
        await untilTrue(async () => (await left()).length === 0, 'all its processes are gone')
        expect(said()).toContain('"msg":"stopped"')
      } finally {
        for (const { pid } of await listDescendants(npm.pid ?? 0)) process.kill(pid)
        npm.kill()
      }
      await stack.restart()
      const { report } = await readLedger(stack)
      expect(report.findings).toEqual([])
    },
    NPM_START_DEADLINE_MS + 120_000,
  )
})
