import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { text } from 'node:stream/consumers'

/** What a fresh process took, start included, as `/usr/bin/time -v` tells it. */
export interface ProcessCost {
  readonly wallSeconds: number
  readonly cpuSeconds: number
  readonly rssMib: number
  readonly stdout: string
}

const TIME = '/usr/bin/time'

/** Runs Node with these arguments and without what this process was started with. */
export const runTimed = async (args: readonly string[], exitCode: number): Promise<ProcessCost> => {
  if (!existsSync(TIME)) throw new Error(`${TIME} is missing: apt-get install time`)
  const begin = performance.now()
  const child = spawn(TIME, ['-v', process.execPath, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  const [stdout, stderr, code] = await Promise.all([text(child.stdout), text(child.stderr), ended])
  const wallSeconds = (performance.now() - begin) / 1000
  if (code !== exitCode) throw new Error(`the measured process ended with ${code}: ${stdout}${stderr}`)
  const read = (name: string): number => Number(new RegExp(`${name}[^:]*: ([0-9.]+)`).exec(stderr)?.[1])
  return {
    wallSeconds,
    cpuSeconds: read('User time') + read('System time'),
    rssMib: read('Maximum resident set size') / 1024,
    stdout,
  }
}
