import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

/** The clone. */
export const ROOT = fileURLToPath(new URL('../', import.meta.url))

const START_DEADLINE_MS = 120_000
const STOP_DEADLINE_MS = 30_000
const RUN_DEADLINE_MS = 60_000

/** `npm start` as a child process: the real script with a data directory and ports of its own. */
export interface ServiceProcess {
  /** What it wrote so far. */
  output(): string
  /** SIGTERM, then waits for its clean end; throws if there is none. */
  stop(): Promise<void>
}

/** The environment that makes start script and command line meet. */
export interface ServicePlace {
  readonly KMS_DATA_DIR: string
  readonly KMS_NATS_PORT: string
  readonly KMS_HTTP_PORT: string
}

/** A place for a service with two ports that are free now. */
export const findPlace = async (dataDir: string): Promise<ServicePlace> => {
  const [nats, http] = [createServer(), createServer()]
  const ports = await Promise.all([listen(nats), listen(http)])
  await Promise.all([nats, http].map((server) => new Promise((resolve) => server.close(resolve))))
  return { KMS_DATA_DIR: dataDir, KMS_NATS_PORT: String(ports[0]), KMS_HTTP_PORT: String(ports[1]) }
}

const listen = async (server: ReturnType<typeof createServer>): Promise<number> => {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('a TCP server has a port')
  return address.port
}

/** Starts the service and waits for its line `ready`; throws with its output if it ends or takes too long. */
export const startServiceProcess = async (place: ServicePlace): Promise<ServiceProcess> => {
  const child = spawn('sh', [join(ROOT, 'scripts/start.sh')], {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: toEnvironment(place),
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
  const endWithUs = () => child.kill('SIGTERM')
  process.once('exit', endWithUs)
  child.once('exit', () => process.removeListener('exit', endWithUs))
  const deadline = Date.now() + START_DEADLINE_MS
  while (!/^ready /m.test(output)) {
    if (hasEnded(child) || Date.now() > deadline) {
      await end(child)
      throw new Error(`the service did not start:\n${output}`)
    }
    await sleep(50)
  }
  return {
    output: () => output,
    stop: async () => {
      if (hasEnded(child)) throw new Error(`the service ended by itself:\n${output}`)
      await end(child)
      if (child.exitCode !== 0) throw new Error(`the service did not stop cleanly:\n${output}`)
    },
  }
}

/** What a command said. */
export interface CommandResult {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs one line of shell in `cwd` with `chatelaine` on the path, meeting the service at `place`. */
export const runShell = async (
  place: ServicePlace,
  cwd: string,
  line: string,
  deadlineMs: number = RUN_DEADLINE_MS,
): Promise<CommandResult> => {
  const child = spawn('sh', ['-c', line], {
    cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: deadlineMs,
    env: toEnvironment(place),
  })
  const said = { stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said.stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said.stderr += text
  })
  await once(child, 'close')
  return { code: child.exitCode, ...said }
}

const toEnvironment = (place: ServicePlace): NodeJS.ProcessEnv => {
  const { KMS_CONFIG: _unused, ...env } = process.env
  return { ...env, ...place, PATH: `${join(ROOT, 'bin')}:${env['PATH'] ?? ''}` }
}

const hasEnded = (child: ChildProcess): boolean => child.exitCode !== null || child.signalCode !== null

const end = async (child: ChildProcess): Promise<void> => {
  if (hasEnded(child)) return
  const exited = once(child, 'exit')
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_DEADLINE_MS)
  await exited
  clearTimeout(timer)
}
