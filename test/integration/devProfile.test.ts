import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { connect } from '@nats-io/transport-node'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type DevProfile, findDevConfig, startDevProfile } from '../../src/cli/dev/profile.ts'

const run = promisify(execFile)
const logged: string[] = []
const log = (level: string, message: string) => void logged.push(`${level} ${message}`)

let dataDir: string
let env: Record<string, string | undefined>
const cleanups: (() => unknown)[] = []

beforeEach(async () => {
  logged.length = 0
  dataDir = await mkdtemp(join(tmpdir(), 'kms dev ')) // The space is meant: a clone may lie anywhere.
  const [nats, http] = [await listen(), await listen()]
  env = { KMS_DATA_DIR: dataDir, KMS_NATS_PORT: portOf(nats), KMS_HTTP_PORT: portOf(http) }
  await close(nats)
  await close(http)
})

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
  await rm(dataDir, { recursive: true, force: true })
})

const listen = async (): Promise<Server> => {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return server
}
const portOf = (server: Server): string => {
  const address = server.address()
  return typeof address === 'object' && address !== null ? String(address.port) : ''
}
const close = (server: Server) => new Promise((resolve) => server.close(resolve))

const start = async (): Promise<DevProfile> => {
  const started = await startDevProfile(env, log)
  if (!started.ok) throw new Error(started.error.message)
  cleanups.push(started.value.stop)
  return started.value
}

const faultOf = async (): Promise<string> => {
  const started = await startDevProfile(env, log)
  if (!started.ok) return started.error.message
  await started.value.stop()
  return 'started'
}

const natsPid = async (): Promise<number> => Number(await readFile(join(dataDir, 'nats', 'nats-server.pid'), 'utf8'))

/** A process that is a zombie has no command line any more. */
const isRunning = async (pid: number): Promise<boolean> =>
  (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')) !== ''

const readAll = async (dir: string): Promise<Record<string, string>> => {
  const names = (await readdir(dir, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile())
  const texts = names.map(async (entry) => {
    const path = join(entry.parentPath, entry.name)
    return [path, await readFile(path, 'base64')] as const
  })
  return Object.fromEntries(await Promise.all(texts))
}

/** Starts a dev profile in a process of its own, which the test may kill. */
const startElsewhere = async (): Promise<ChildProcess> => {
  const profile = fileURLToPath(new URL('../../src/cli/dev/profile.ts', import.meta.url))
  const program = `
    import { startDevProfile } from ${JSON.stringify(profile)}
    const started = await startDevProfile(process.env, () => undefined)
    process.stdout.write(started.ok ? 'started' : started.error.message)
    setInterval(() => undefined, 1000)`
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', program], {
    cwd: fileURLToPath(new URL('../../', import.meta.url)),
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  cleanups.push(() => child.kill('SIGKILL'))
  const [said] = await once(child.stdout, 'data')
  expect(String(said)).toBe('started')
  return child
}

describe('a dev profile', () => {
  test('gives a configuration whose parts are there and work', async () => {
    const { config, bootstrapTokenFile } = await start()
    const answer: unknown = await (await fetch(`${config.nats.monitor_url}/jsz?config=1`)).json()
    expect(answer).toMatchObject({ config: { sync_always: true } })
    const { user, password_file } = config.nats.front
    const pass = (await readFile(password_file, 'utf8')).trim()
    const nc = await connect({ servers: [...config.nats.servers], user, pass })
    await nc.close()
    expect(bootstrapTokenFile).toBe(join(dataDir, 'bootstrap-token'))
    expect((await readFile(bootstrapTokenFile, 'utf8')).trim().length).toBeGreaterThanOrEqual(32)
    expect(await readdir(config.pdp.cedar.policy_dir)).toContain('schema.cedarschema')
    const { stdout } = await run('softhsm2-util', ['--show-slots'], { env: { ...process.env, ...env } })
    expect(stdout).toMatch(/Label:\s+chatelaine\s/)
    expect(config.hsm).toMatchObject({
      ledger_backend: 'softhsm',
      backends: [{ id: 'softhsm', token_label: 'chatelaine' }],
    })
  })

  test('keeps every secret in a file that only its user reads, and out of the log and the process list', async () => {
    const { config, bootstrapTokenFile } = await start()
    const files = [
      bootstrapTokenFile,
      config.nats.front.password_file,
      config.nats.ledger.password_file,
      ...config.hsm.backends.map(({ pin_file }) => pin_file),
    ]
    const commandLine = await readFile(`/proc/${await natsPid()}/cmdline`, 'utf8')
    for (const file of files) {
      expect([file, (await stat(file)).mode & 0o777]).toEqual([file, 0o600])
      const secret = (await readFile(file, 'utf8')).trim()
      expect(logged.join('\n')).not.toContain(secret)
      expect(commandLine).not.toContain(secret)
    }
    expect((await stat(dataDir)).mode & 0o777).toBe(0o700)
  })

  test('ends its nats-server when it stops, and leaves no lock, pid or port file', async () => {
    const profile = await start()
    const pid = await natsPid()
    expect(await isRunning(pid)).toBe(true)
    await profile.stop()
    expect(await isRunning(pid)).toBe(false)
    const left = (await readdir(dataDir, { recursive: true })).filter((name) =>
      /service\.lock|\.pid$|\.ports$/.test(name),
    )
    expect(left).toEqual([])
    expect(logged.filter((line) => line.startsWith('error'))).toEqual([])
  })

  test('finds everything as it was at a second start', async () => {
    await (await start()).stop()
    await writeFile(join(dataDir, 'policies', 'mine.cedar'), '// mine')
    const before = { ...(await readAll(join(dataDir, 'secrets'))), ...(await readAll(join(dataDir, 'softhsm'))) }
    const token = await readFile(join(dataDir, 'bootstrap-token'), 'utf8')
    await start()
    expect({ ...(await readAll(join(dataDir, 'secrets'))), ...(await readAll(join(dataDir, 'softhsm'))) }).toEqual(
      before,
    )
    expect(await readFile(join(dataDir, 'bootstrap-token'), 'utf8')).toBe(token)
    expect(await readFile(join(dataDir, 'policies', 'mine.cedar'), 'utf8')).toBe('// mine')
  })

  test('makes a new bootstrap token when the time of the old one is over', async () => {
    await (await start()).stop()
    const file = join(dataDir, 'bootstrap-token')
    const old = await readFile(file, 'utf8')
    const longAgo = new Date(Date.now() - 31 * 24 * 3600 * 1000)
    await utimes(file, longAgo, longAgo)
    const { config } = await start()
    expect(await readFile(file, 'utf8')).not.toBe(old)
    const [entry] = config.authn.chain
    expect(entry?.kind === 'bootstrap_token' && Date.parse(entry.expires_at) > Date.now()).toBe(true)
  })

  test('runs nats-server in a process group of its own', async () => {
    await start()
    const pid = await natsPid()
    const fields = (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ')[1]?.split(' ') ?? []
    expect(Number(fields[2])).toBe(pid)
  })

  test('says so when nats-server ends by itself', async () => {
    await start()
    process.kill(await natsPid(), 'SIGKILL')
    await expect.poll(() => logged, { timeout: 5_000 }).toContain('error nats-server ended by itself')
  })
})

describe('a busy port', () => {
  test.each(['KMS_NATS_PORT', 'KMS_HTTP_PORT'])('is an error that names %s', async (variable) => {
    const holder = await listen()
    cleanups.push(() => close(holder))
    env[variable] = portOf(holder)
    expect(await faultOf()).toBe(`port ${portOf(holder)} is in use: set ${variable}`)
    expect(existsSync(join(dataDir, 'nats', 'nats-server.pid'))).toBe(false)
  })
})

describe('what an earlier service left behind', () => {
  test('a nats-server of a killed service is ended, and a new one started', async () => {
    const service = await startElsewhere()
    const left = await natsPid()
    service.kill('SIGKILL')
    await once(service, 'exit')
    expect(await isRunning(left)).toBe(true)
    await start()
    expect(await isRunning(left)).toBe(false)
    expect(await natsPid()).not.toBe(left)
  })

  test('a pid file whose id belongs to another program by now ends nothing', async () => {
    await (await start()).stop()
    const bystander = spawn('sleep', ['60'], { stdio: 'ignore' })
    cleanups.push(() => bystander.kill('SIGKILL'))
    await writeFile(join(dataDir, 'nats', 'nats-server.pid'), String(bystander.pid))
    await start()
    expect(await isRunning(bystander.pid ?? 0)).toBe(true)
  })

  test('a nats-server on another store is not ours', async () => {
    await (await start()).stop()
    const otherDir = await mkdtemp(join(tmpdir(), 'kms-other-'))
    cleanups.push(() => rm(otherDir, { recursive: true, force: true }))
    const [nats, http] = [await listen(), await listen()]
    const otherEnv = { KMS_DATA_DIR: otherDir, KMS_NATS_PORT: portOf(nats), KMS_HTTP_PORT: portOf(http) }
    await close(nats)
    await close(http)
    const other = await startDevProfile(otherEnv, log)
    if (!other.ok) throw new Error(other.error.message)
    cleanups.push(other.value.stop)
    const pid = await readFile(join(otherDir, 'nats', 'nats-server.pid'), 'utf8')
    await writeFile(join(dataDir, 'nats', 'nats-server.pid'), pid)
    await start()
    expect(await isRunning(Number(pid))).toBe(true)
  })

  test('a second service on the same directory is refused while the first lives', async () => {
    await start()
    env['KMS_HTTP_PORT'] = '1'
    expect(await faultOf()).toBe(`KMS_DATA_DIR: a service (process ${process.pid}) already runs on this directory`)
  })

  test('a lock of a process that is gone, or of another with the same id, does not keep a start', async () => {
    await (await start()).stop()
    await writeFile(join(dataDir, 'service.lock'), '4194303 12345')
    await (await start()).stop()
    await writeFile(join(dataDir, 'service.lock'), `${process.pid} 1`)
    expect(await faultOf()).toBe('started')
  })
})

describe('the command line beside a dev profile', () => {
  test('finds the configuration of a running one', async () => {
    const { config } = await start()
    expect(await findDevConfig(env)).toEqual({ ok: true, value: config })
  })

  test('is told to start one where there is none', async () => {
    const found = await findDevConfig(env)
    expect(found.ok ? '' : found.error.message).toMatch(/run `npm start` once/)
  })
})
