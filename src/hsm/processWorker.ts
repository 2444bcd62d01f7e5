import { type ChildProcess, spawn } from 'node:child_process'
import { createRequire } from 'node:module'
import { Socket } from 'node:net'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { LIMITS } from '../../schemas/limits.ts'
import type { HostConfig } from './host.ts'
import { discardSecrets, type Greeting, type HostReply } from './hostRequest.ts'
import { parseDescriptor } from './pin.ts'
import { createPipe, type Pipe } from './pipe.ts'
import { isGreeting, isReply, PIN_FD } from './processProtocol.ts'
import { type HsmWorker, LOST } from './worker.ts'

interface Pending {
  resolve(reply: HostReply): void
  reject(fault: Error): void
}

/** One child and the calls that wait for it. */
interface Running {
  readonly child: ChildProcess
  readonly pipe: Pipe
  readonly pending: Map<number, Pending>
  readonly exited: Promise<void>
}

/** A host in a child process of its own. Whatever the library does there, the service only loses the child. */
export const createProcessWorker = (config: HostConfig): HsmWorker => {
  let running: Running | undefined
  let nextId = 1
  let tellEnd = (): void => undefined

  const lose = (lost: Running): void => {
    const isRunning = running === lost
    if (isRunning) running = undefined
    for (const { resolve } of lost.pending.values()) resolve(LOST)
    lost.pending.clear()
    lost.child.kill('SIGKILL')
    if (isRunning) tellEnd()
  }
  const ask = (to: Running, message: unknown, isWanted: () => boolean): Promise<HostReply> =>
    new Promise((resolve, reject) => {
      const id = nextId
      nextId += 1
      to.pending.set(id, { resolve, reject })
      to.pipe.send({
        message: [id, message],
        isWanted: () => {
          if (isWanted()) return to.pending.has(id)
          to.pending.delete(id)
          resolve(LOST)
          return false
        },
      })
    })

  return {
    async start(): Promise<HostReply<Greeting>> {
      if (running !== undefined) lose(running)
      const fresh = spawnHost(config, lose)
      running = fresh
      const timer = setTimeout(() => lose(fresh), LIMITS.hsmStartDeadlineMs)
      try {
        const reply = await ask(fresh, { kind: 'hello', config: toChildConfig(config) }, () => true)
        if (reply.ok && isGreeting(reply.value)) return { ok: true, value: reply.value }
        lose(fresh)
        return reply.ok ? LOST : reply
      } finally {
        clearTimeout(timer)
      }
    },
    run: (request, isWanted) => (running === undefined ? Promise.resolve(LOST) : ask(running, request, isWanted)),
    onEnd(listener) {
      tellEnd = listener
    },
    kill() {
      if (running !== undefined) lose(running)
    },
    async stop() {
      const last = running
      if (last === undefined) return
      last.pipe.end()
      const timer = setTimeout(() => lose(last), LIMITS.hsmStopDeadlineMs)
      await last.exited
      clearTimeout(timer)
    },
  }
}

const spawnHost = (config: HostConfig, lose: (lost: Running) => void): Running => {
  const pinDescriptor = parseDescriptor(config.pinFile)
  const child = spawn(process.execPath, toChildArguments(), {
    stdio: ['ignore', 'ignore', 'inherit', 'pipe', ...(pinDescriptor === undefined ? [] : [pinDescriptor])],
    env: toChildEnvironment(),
  })
  const socket = child.stdio[3]
  if (!(socket instanceof Socket)) throw new Error('the pipe to a child process is not a socket')
  const pending = new Map<number, Pending>()
  const pipe = createPipe(socket, (message) => settle(pending, message))
  const exited = new Promise<void>((resolve) => {
    child.once('exit', () => resolve())
    child.once('error', () => resolve())
  })
  const running: Running = { child, pipe, pending, exited }
  socket.on('error', () => lose(running))
  socket.on('close', () => lose(running))
  void exited.then(() => lose(running))
  return running
}

const settle = (pending: Map<number, Pending>, message: unknown): void => {
  if (!Array.isArray(message)) throw new Error('a message is a pair of id and reply')
  const [id, reply]: unknown[] = message
  const waiting = typeof id === 'number' ? pending.get(id) : undefined
  if (typeof id === 'number') pending.delete(id)
  if (isReply(reply)) {
    if (waiting !== undefined) waiting.resolve(reply)
    else if (reply.ok) discardSecrets(reply.value)
    return
  }
  waiting?.reject(new Error(`the HSM host failed: ${readFault(reply)}`))
}

const readFault = (reply: unknown): string =>
  typeof reply === 'object' && reply !== null && 'fault' in reply ? String(reply.fault) : 'a reply of no known shape'

/** From sources the child needs the loader that this process was started with; built, it needs none. */
const toChildArguments = (): string[] => {
  const isSource = import.meta.url.endsWith('.ts')
  const script = fileURLToPath(new URL(isSource ? './child.ts' : './child.js', import.meta.url))
  if (!isSource) return [script]
  const loader = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href
  return ['--import', loader, script]
}

/** The library may need any variable; those of the service itself may hold secrets and are none of its business. */
const toChildEnvironment = (): NodeJS.ProcessEnv => {
  const kept = Object.entries(process.env).filter(([name]) => !name.startsWith('KMS_') && name !== 'NODE_OPTIONS')
  return { ...Object.fromEntries(kept), UV_THREADPOOL_SIZE: String(LIMITS.hsmSessionsMax) }
}

const toChildConfig = (config: HostConfig): HostConfig =>
  parseDescriptor(config.pinFile) === undefined ? config : { ...config, pinFile: `/dev/fd/${PIN_FD}` }
