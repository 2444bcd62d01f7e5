import { LIMITS } from '../../schemas/limits.ts'
import type { Duty } from '../operations/duty.ts'
import type { Attempt, Recording } from './attempt.ts'
import { toServiceSubject } from './envelope.ts'
import { describeFault } from './fault.ts'
import { perform, toFacts } from './run.ts'

export interface DutyRunner {
  start(): void
  /** Begins nothing more; resolves when what is under way has ended. */
  stop(): Promise<void>
}

type Tools = Pick<Attempt, 'ports' | 'settings' | 'lock' | 'newId'>

/**
 * Does the duties of the writer, each at its own pace: due work is planned from the newest view under the lock of its
 * subject, executed, and recorded as done by the service itself. While this process is not the writer nothing is done.
 * What failed is tried again, ever more rarely.
 */
export const createDutyRunner = (
  tools: Tools,
  duties: readonly Duty[],
  pollMs: number = LIMITS.dutyPollMs,
): DutyRunner => {
  const stopping = new AbortController()
  const running = new Set<Promise<void>>()
  const cancels = new Map<Duty, () => void>()

  const scheduleNext = (duty: Duty, retries: Retries, ms: number): void => {
    if (stopping.signal.aborted) return
    const run = () => {
      const turn = takeTurn(tools, duty, retries).then(
        (pauseMs) => scheduleNext(duty, retries, pauseMs ?? pollMs),
        (error: unknown) => {
          tools.ports.telemetry.log('error', 'a duty failed inside the service', {
            duty: duty.name,
            ...describeFault(error),
          })
          scheduleNext(duty, retries, pollMs)
        },
      )
      running.add(turn)
      void turn.finally(() => running.delete(turn))
    }
    cancels.set(duty, tools.ports.scheduler.after(ms, run))
  }

  return {
    start() {
      for (const duty of duties) scheduleNext(duty, createRetries(), 0)
    },
    async stop() {
      stopping.abort()
      for (const cancel of cancels.values()) cancel()
      await Promise.all(running)
    },
  }
}

/** One round of a duty. Gives the pause until the next, or nothing if there is nothing to do now. */
const takeTurn = async (tools: Tools, duty: Duty, retries: Retries): Promise<number | undefined> => {
  const { ledger, clock } = tools.ports
  const { role, overdue } = ledger.status()
  if (role !== 'writer' || overdue) return undefined
  if (duty.needsTrueTime && !(await isTimeTrue(tools, duty))) return undefined
  const facts = toFacts(tools)
  const { nowMs } = facts
  const paceMs = duty.paceMs?.(ledger.view(), facts)
  const due = takeDue(duty.findDue(ledger.view(), facts), retries, {
    nowMs,
    max: paceMs === undefined ? LIMITS.dutyItemsMax : 1,
  })
  if (due.length === 0) return undefined
  let done = 0
  await doConcurrently(due, async (subject) => {
    if (await doOne(tools, duty, subject)) {
      done += 1
      retries.forget(subject)
    } else retries.postpone(subject, clock.now())
  })
  return done === 0 ? undefined : (paceMs ?? 0)
}

/** Whether the clock that decides is right, as far as the storage's own can tell; if not, or if it does not tell, nothing is done. */
const isTimeTrue = async ({ ports }: Tools, duty: Duty): Promise<boolean> => {
  const skewMs = await ports.ledger.measureClockSkew(AbortSignal.timeout(LIMITS.natsRequestTimeoutMs))
  if (skewMs !== undefined && Math.abs(skewMs) <= LIMITS.clockSkewMsMax) return true
  ports.telemetry.log('error', 'the clocks of service and storage disagree: what cannot be undone waits', {
    duty: duty.name,
    ...(skewMs === undefined ? {} : { ms: skewMs }),
  })
  return false
}

const takeDue = (
  found: Iterable<string>,
  retries: Retries,
  { nowMs, max }: { readonly nowMs: number; readonly max: number },
): readonly string[] => {
  const due: string[] = []
  for (const subject of found) {
    if (retries.isWaiting(subject, nowMs)) continue
    due.push(subject)
    if (due.length >= max) break
  }
  return due
}

const doConcurrently = async (subjects: readonly string[], run: (subject: string) => Promise<void>): Promise<void> => {
  const left = subjects.values()
  const work = async () => {
    for (const subject of left) await run(subject)
  }
  await Promise.all(Array.from({ length: Math.min(LIMITS.dutyConcurrencyMax, subjects.length) }, work))
}

/** Whether the item was done. */
const doOne = async (tools: Tools, duty: Duty, subject: string): Promise<boolean> => {
  const { ports, settings, lock, newId } = tools
  const leased = await lock.lease(subject)
  if (!leased.ok) return false
  using _turn = leased.value
  const plan = duty.plan(subject, ports.ledger.view(), toFacts(tools))
  if (plan === undefined) return false
  // A backend that is away would only fill the ledger with failures.
  const backend = plan.instruction?.backend
  if (ports.hsm.status().some((status) => status.backend === backend && status.state === 'DOWN')) return false
  const requestId = newId()
  const recording: Recording = {
    requestId,
    signal: AbortSignal.timeout(LIMITS.requestDeadlineMs),
    subject: toServiceSubject(settings.origin, requestId, `kms:${duty.name}`),
    ports,
    newId,
  }
  const outgoing = await perform(recording, { found: [] }, plan)
  if (outgoing.ok) outgoing.dispose()
  else ports.telemetry.log('warn', 'a duty could not be done now', { duty: duty.name, code: outgoing.error.code })
  return outgoing.ok
}

interface Retries {
  isWaiting(subject: string, nowMs: number): boolean
  postpone(subject: string, nowMs: number): void
  forget(subject: string): void
}

/** When what failed may be tried again: the pause doubles with each failure. Bounded; the oldest is forgotten first. */
const createRetries = (): Retries => {
  const waiting = new Map<string, { readonly untilMs: number; readonly pauseMs: number }>()
  return {
    isWaiting: (subject, nowMs) => (waiting.get(subject)?.untilMs ?? 0) > nowMs,
    postpone(subject, nowMs) {
      const pauseMs = Math.min(LIMITS.dutyRetryMsMax, (waiting.get(subject)?.pauseMs ?? LIMITS.dutyRetryMs / 2) * 2)
      waiting.delete(subject)
      waiting.set(subject, { untilMs: nowMs + pauseMs, pauseMs })
      const [oldest] = waiting.keys()
      if (waiting.size > LIMITS.dutyRetriesMax && oldest !== undefined) waiting.delete(oldest)
    },
    forget: (subject) => void waiting.delete(subject),
  }
}
