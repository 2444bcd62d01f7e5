import { type ChildProcess, spawn } from 'node:child_process'
import { mkdir, open, readdir, readFile, rm } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { LIMITS } from '../../../schemas/limits.ts'
import { ok, type Result } from '../../core/result.ts'
import { fault, type OperatorFault } from '../config.ts'
import type { DevPaths } from './devFiles.ts'
import { type NatsUser, toNatsEnvironment } from './natsEnvironment.ts'
import { checkPortFree } from './ports.ts'
import { readCommandLine } from './procfs.ts'

const POLL_MS = 15

/** A nats-server of the dev profile. */
export interface NatsProcess {
  readonly pid: number
  readonly monitorPort: number
  /** Resolves when the server ends, asked to or not. */
  readonly ended: Promise<void>
  /** SIGTERM, then SIGKILL at the deadline; resolves when it is gone. */
  stop(): Promise<void>
}

export interface NatsProcessOptions {
  readonly binary: string
  readonly configFile: string
  readonly paths: DevPaths
  readonly port: number
  readonly passwords: Readonly<Record<NatsUser, string>>
}

/**
 * Starts nats-server in a process group of its own, so that Ctrl-C in the terminal does not end it before the service
 * has drained. One that an earlier service left behind is ended first. Resolves when it answers as healthy.
 */
export const startNatsProcess = async (options: NatsProcessOptions): Promise<Result<NatsProcess, OperatorFault>> => {
  const { binary, paths, port } = options
  await endLeftover(options)
  const free = await checkPortFree(port, 'KMS_NATS_PORT')
  if (!free.ok) return free
  await mkdir(paths.natsStore, { recursive: true, mode: 0o700 })
  const log = await open(paths.natsLog, 'w', 0o600)
  const settings = { host: '127.0.0.1', port, monitorPort: -1, storeDir: paths.natsStore, passwords: options.passwords }
  const child = spawn(binary, toArguments(options), {
    detached: true,
    stdio: ['ignore', 'ignore', log.fd],
    env: { PATH: process.env['PATH'], ...toNatsEnvironment(settings) },
  })
  const ended = new Promise<void>((resolve) => {
    child.once('exit', () => resolve())
    child.once('error', () => resolve())
  })
  await log.close()
  const stop = async (): Promise<void> => {
    if (!hasEnded(child)) {
      child.kill('SIGTERM')
      const timer = setTimeout(() => child.kill('SIGKILL'), LIMITS.devNatsStopMs)
      await ended
      clearTimeout(timer)
    }
    await removeTraces(paths)
  }
  const monitorPort = await untilHealthy(child, paths)
  if (monitorPort === undefined || child.pid === undefined) {
    await stop()
    return fault(await explainFailure(paths.natsLog, port))
  }
  return ok({ pid: child.pid, monitorPort, ended, stop })
}

/** The monitoring port of the running server; undefined if none of this data directory and configuration runs. */
export const findMonitorPort = async (
  options: Pick<NatsProcessOptions, 'configFile' | 'paths'>,
): Promise<number | undefined> => {
  const pid = await findOwnServer(options)
  return pid === undefined ? undefined : readMonitorPort(options.paths, pid)
}

const toArguments = ({ configFile, paths }: Pick<NatsProcessOptions, 'configFile' | 'paths'>): readonly string[] => [
  '--config',
  configFile,
  '--pid',
  paths.natsPidFile,
  '--ports_file_dir',
  paths.natsDir,
]

/**
 * The id in the pid file, if that process is a nats-server with exactly our arguments: after a crash the id may belong to
 * anything, and a server of another data directory (the pid file's place is an argument) is not ours.
 */
const findOwnServer = async (
  options: Pick<NatsProcessOptions, 'configFile' | 'paths'>,
): Promise<number | undefined> => {
  const text = await readFile(options.paths.natsPidFile, 'utf8').catch(() => '')
  const pid = /^\d+$/.test(text.trim()) ? Number(text) : undefined
  if (pid === undefined) return undefined
  const [command = '', ...args] = (await readCommandLine(pid)) ?? []
  const wanted = toArguments(options)
  const same = args.length === wanted.length && args.every((arg, at) => arg === wanted[at])
  return basename(command) === 'nats-server' && same ? pid : undefined
}

const endLeftover = async (options: NatsProcessOptions): Promise<void> => {
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    const pid = await findOwnServer(options)
    if (pid === undefined) break
    sendSignal(pid, signal)
    const deadline = Date.now() + LIMITS.devNatsStopMs
    while ((await findOwnServer(options)) === pid && Date.now() < deadline) await sleep(POLL_MS)
  }
  // One that does not even die of SIGKILL still holds the port, which is told next.
  await removeTraces(options.paths)
}

const sendSignal = (pid: number, signal: 'SIGTERM' | 'SIGKILL'): void => {
  try {
    process.kill(pid, signal)
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error
  }
}

/** The pid and port files, which a killed server leaves behind. */
const removeTraces = async (paths: DevPaths): Promise<void> => {
  await rm(paths.natsPidFile, { force: true })
  const names = await readdir(paths.natsDir)
  for (const name of names.filter((one) => one.endsWith('.ports'))) await rm(join(paths.natsDir, name), { force: true })
}

const hasEnded = (child: ChildProcess): boolean =>
  child.pid === undefined || child.exitCode !== null || child.signalCode !== null

/** Waits until it answers as healthy, which comes after JetStream's recovery; undefined if it ends or the time is over. */
const untilHealthy = async (child: ChildProcess, paths: DevPaths): Promise<number | undefined> => {
  const deadline = Date.now() + LIMITS.devNatsStartMs
  while (!hasEnded(child) && Date.now() < deadline) {
    const port = child.pid === undefined ? undefined : await readMonitorPort(paths, child.pid)
    if (port !== undefined && (await isHealthy(port))) return port
    await sleep(POLL_MS)
  }
  return undefined
}

const readMonitorPort = async (paths: DevPaths, pid: number): Promise<number | undefined> => {
  const text = await readFile(join(paths.natsDir, `nats-server_${pid}.ports`), 'utf8').catch(() => '')
  const port = /"http:\/\/127\.0\.0\.1:(\d+)"/.exec(text)?.[1]
  return port === undefined ? undefined : Number(port)
}

const isHealthy = (port: number): Promise<boolean> =>
  fetch(`http://127.0.0.1:${port}/healthz`, { signal: AbortSignal.timeout(LIMITS.devNatsStartMs) }).then(
    (answer) => answer.ok,
    () => false,
  )

const explainFailure = async (logFile: string, port: number): Promise<string> => {
  const log = await readFile(logFile, 'utf8').catch(() => '')
  if (log.includes('address already in use')) return `port ${port} is in use: set KMS_NATS_PORT`
  const last = log.trimEnd().split('\n').at(-1) ?? ''
  return `nats-server did not start (${last === '' ? 'it said nothing' : last}); its log is ${logFile}`
}
