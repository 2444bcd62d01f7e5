import { LIMITS } from '../../schemas/limits.ts'
import type { Clock, Scheduler, Telemetry } from '../core/ports.ts'
import { ok } from '../core/result.ts'
import { readIfThere, replaceFile } from './durableFile.ts'
import { describeError, faulty, type LedgerResult } from './fault.ts'

/** An anchor: the ledger of this origin had this hash (64 hex) at this size, so it can never again be shorter or other. */
export interface Head {
  readonly origin: string
  readonly size: number
  readonly hash: string
}

/** Reads the head file `{v: 1, origin, size, hash}`; nothing if there is none. Fault: `head_file_unreadable`. */
export const readHeadFile = async (path: string): Promise<LedgerResult<Head | undefined>> => {
  try {
    const text = await readIfThere(path)
    if (text === undefined) return ok(undefined)
    const head = toHead(JSON.parse(text))
    if (head !== undefined) return ok(head)
    return faulty('head_file_unreadable', `the head file ${path} is not {"v":1,"origin","size","hash"}; restore it`)
  } catch (error) {
    return faulty('head_file_unreadable', `cannot read the head file ${path}: ${describeError(error)}`)
  }
}

const toHead = (value: unknown): Head | undefined => {
  if (typeof value !== 'object' || value === null) return undefined
  const { v, origin, size, hash } = value as Readonly<Record<string, unknown>>
  if (v !== 1 || typeof origin !== 'string' || typeof size !== 'number' || typeof hash !== 'string') return undefined
  return Number.isSafeInteger(size) && size >= 1 && /^[0-9a-f]{64}$/.test(hash) ? { origin, size, hash } : undefined
}

export const formatHead = (head: Head): string =>
  `${JSON.stringify({ v: 1, origin: head.origin, size: head.size, hash: head.hash })}\n`

export interface HeadFile {
  /** Remembers the head; the file follows within `headFileLagMs`, off the caller's path. */
  note(head: Head): void
  /** Writes what is remembered now. Rejects if it cannot. */
  write(): Promise<void>
  /** Writes what is remembered now and stops the timer. */
  close(): Promise<void>
}

/** Keeps the head file at most `lagMs` behind what was noted, never going back, with one write at a time. */
export const createHeadFile = (
  path: string,
  ports: {
    readonly clock: Clock
    readonly scheduler: Scheduler
    readonly telemetry: Telemetry
    readonly lagMs?: number
  },
): HeadFile => {
  let noted: Head | undefined
  let writing: Promise<boolean> | undefined
  let cancel: (() => void) | undefined

  const write = async (): Promise<boolean> => {
    const head = noted
    noted = undefined
    if (head === undefined) return true
    try {
      await replaceFile(path, formatHead(head))
      return true
    } catch (error) {
      noted ??= head
      ports.telemetry.log('error', 'the head file could not be written', { error: describeError(error) })
      return false
    }
  }
  const start = (): Promise<boolean> => {
    cancel = undefined
    const now = write()
    writing = now.finally(() => {
      writing = undefined
      if (noted !== undefined) schedule()
    })
    return now
  }
  let closed = false
  const schedule = (): void => {
    if (closed || cancel !== undefined || writing !== undefined) return
    // Half the promised lag is waited, the other half is for the write itself.
    cancel = ports.scheduler.after((ports.lagMs ?? LIMITS.headFileLagMs) / 2, () => void start())
  }
  return {
    note(head) {
      noted = head
      schedule()
    },
    async write() {
      await writing
      cancel?.()
      if (!(await start())) throw new Error('the head file could not be written')
    },
    async close() {
      closed = true
      cancel?.()
      await writing
      await write()
    },
  }
}
