import type { ErrorCode } from '../../schemas/errors.ts'
import { LIMITS } from '../../schemas/limits.ts'
import type { AuthenticationReason, Principal, Scheduler, Telemetry } from '../core/ports.ts'
import type { Result } from '../core/result.ts'
import type { EventBody } from '../operations/operation.ts'
import { type Circumstances, type Subject, toServiceSubject } from './envelope.ts'

/** Appends one event in the background; refusals that were aggregated have nobody waiting for them. */
export type Append = (subject: Subject, body: EventBody, circumstances: Circumstances) => Promise<Result<unknown>>

interface Options {
  readonly origin: string
  readonly scheduler: Scheduler
  readonly telemetry: Telemetry
  readonly append: Append
}

/** Counts refusals so that neither strangers nor a broken client can fill the ledger. */
export interface Refusals {
  /** One failed authentication; recorded with all others of its second. */
  countAuthentication(reason: AuthenticationReason): void
  /** Whether this refusal is to be recorded on its own; otherwise it has been counted for the aggregate. */
  shouldRecord(principal: Principal, code: ErrorCode): boolean
  /** Records what was counted so far; for shutdown. */
  flush(): Promise<void>
}

interface Counted {
  readonly principal: Pick<Principal, 'id' | 'type' | 'method'>
  recorded: number
  readonly aggregated: Map<ErrorCode, number>
}

const LOST = 'counted refusals could not be recorded'
const OTHERS = 'others'
const WINDOW_MS = 1_000

export const createRefusals = ({ origin, scheduler, telemetry, append }: Options): Refusals => {
  let strangers = new Map<AuthenticationReason, number>()
  let callers = new Map<string, Counted>()
  let isScheduled = false
  let flushing: Promise<void> = Promise.resolve()

  const service = (action: string) => toServiceSubject(origin, `refusals-${action}`, action)

  const write: Append = async (subject, body, circumstances) => {
    const appended = await append(subject, body, circumstances)
    if (!appended.ok) telemetry.log('error', LOST, { code: appended.error.code })
    return appended
  }

  const drain = async () => {
    const reasons = [...strangers].map(([reason, count]) => ({ reason, count }))
    const counted = [...callers.values()]
    strangers = new Map()
    callers = new Map()
    const total = reasons.reduce((sum, { count }) => sum + count, 0)
    const failed = { outcome: 'failed' } as const
    if (total > 0)
      await write(
        service('kms:Authenticate'),
        { type: 'AuthenticationRefused', data: { count: total, reasons: reasons.slice(0, 16) } },
        { ...failed, code: 'UNAUTHENTICATED' },
      )
    for (const { principal, aggregated } of counted)
      for (const [code, count] of aggregated)
        await write(
          { ...service('kms:Refuse'), principal },
          { type: 'RequestRefused', data: { count } },
          { ...failed, code },
        )
  }
  const flush = () => {
    isScheduled = false
    flushing = flushing.then(drain).catch(() => telemetry.log('error', LOST))
    return flushing
  }
  const schedule = () => {
    if (isScheduled) return
    isScheduled = true
    scheduler.after(WINDOW_MS, () => void flush())
  }
  const findCounted = (principal: Principal): Counted => {
    // A principal is its type and id; no such pair reads like the one name of all others.
    const own = JSON.stringify([principal.type, principal.id])
    const isFull = callers.size >= LIMITS.refusalPrincipalsTrackedMax && !callers.has(own)
    const key = isFull ? OTHERS : own
    const found = callers.get(key)
    if (found !== undefined) return found
    const made: Counted = {
      principal: isFull ? { id: OTHERS, type: 'Service', method: 'internal' } : principal,
      recorded: 0,
      aggregated: new Map(),
    }
    callers.set(key, made)
    return made
  }

  return {
    countAuthentication(reason) {
      strangers.set(reason, (strangers.get(reason) ?? 0) + 1)
      schedule()
    },
    shouldRecord(principal, code) {
      schedule()
      const counted = findCounted(principal)
      if (counted.recorded < LIMITS.refusalsRecordedPerPrincipalPerSecond) {
        counted.recorded += 1
        return true
      }
      counted.aggregated.set(code, (counted.aggregated.get(code) ?? 0) + 1)
      return false
    },
    flush,
  }
}
