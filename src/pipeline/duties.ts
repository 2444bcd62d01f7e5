import { LIMITS } from '../../schemas/limits.ts'
import type { Duty, Spread } from '../operations/duty.ts'
import type { Attempt, Recording } from './attempt.ts'
import { toServiceSubject } from './envelope.ts'
import { describeFault } from './fault.ts'
import { perform, toFacts } from './run.ts'

export interface DutyRunner {
  start(): void
  /** Begins nothing more; resolves when what is under way has ended. */
  stop(): Promise<void>
}

type Tools = Pick<Attempt, 'ports' | 'settings' | 'lock' | 'newId' | 'making'>

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

  const scheduleNext = (duty: Duty, agenda: Agenda, ms: number): void => {
    if (stopping.signal.aborted) return
    const run = () => {
      const turn = takeTurn(tools, duty, agenda).then(
        (pauseMs) => scheduleNext(duty, agenda, pauseMs ?? pollMs),
        (error: unknown) => {
          tools.ports.telemetry.log('error', 'a duty failed inside the service', {
            duty: duty.name,
            ...describeFault(error),
          })
          scheduleNext(duty, agenda, pollMs)
        },
      )
      running.add(turn)
      void turn.finally(() => running.delete(turn))
    }
    cancels.set(duty, tools.ports.scheduler.after(ms, run))
  }

  return {
    start() {
      for (const duty of duties) scheduleNext(duty, { retries: createRetries(), left: [], paceMs: 0 }, 0)
    },
    async stop() {
      stopping.abort()
      for (const cancel of cancels.values()) cancel()
      await Promise.all(running)
    },
  }
}

/** What a duty is at: when what failed may be tried again, and the rest of what was found to be spread. */
interface Agenda {
  readonly retries: Retries
  left: string[]
  paceMs: number
}

/** One round of a duty. Gives the pause until the next, or nothing if there is nothing to do now. */
const takeTurn = async (tools: Tools, duty: Duty, agenda: Agenda): Promise<number | undefined> => {
  const { role, overdue, expired } = tools.ports.ledger.status()
  if (role !== 'writer' || overdue || expired) {
    agenda.left = []
    return undefined
  }
  if (agenda.left.length > 0) return takeStep(tools, duty, agenda)
  const facts = toFacts(tools)
  const found = duty.findDue(tools.ports.ledger.view(), facts)
  if (!isSpread(found)) return takeAll(tools, duty, agenda, takeDue(found, agenda.retries, facts.nowMs))
  agenda.left = takeDue(found.subjects, agenda.retries, facts.nowMs)
  agenda.paceMs = found.paceMs
  return takeStep(tools, duty, agenda)
}

const isSpread = (found: Iterable<string> | Spread): found is Spread => 'paceMs' in found

/** Does what was found side by side. */
const takeAll = async (tools: Tools, duty: Duty, { retries }: Agenda, due: readonly string[]) => {
  if (due.length === 0 || !(await isTimeTrue(tools, duty))) return undefined
  let isAnyDone = false
  await doConcurrently(due, async (subject) => {
    if ((await tryOne(tools, duty, retries, subject)) === 'done') isAnyDone = true
  })
  return isAnyDone || due.length === LIMITS.dutyItemsMax ? 0 : undefined
}

/** Does one item of what was found to be spread; items that cannot be tried now cost no pause. */
const takeStep = async (tools: Tools, duty: Duty, agenda: Agenda): Promise<number | undefined> => {
  if (agenda.left.length === 0 || !(await isTimeTrue(tools, duty))) return undefined
  const wasFull = agenda.left.length === LIMITS.dutyItemsMax
  for (let subject = agenda.left.shift(); subject !== undefined; subject = agenda.left.shift())
    if ((await tryOne(tools, duty, agenda.retries, subject)) !== 'skipped') return agenda.paceMs
  return wasFull ? 0 : undefined
}

/**
 * Whether the clock that decides is right, as far as the storage's own can tell at this moment. What cannot be undone
 * is not done if it is not, or if the storage does not tell.
 */
const isTimeTrue = async ({ ports }: Tools, duty: Duty): Promise<boolean> => {
  if (!duty.needsTrueTime) return true
  const skewMs = await ports.ledger.measureClockSkew(AbortSignal.timeout(LIMITS.natsRequestTimeoutMs))
  if (skewMs !== undefined && Math.abs(skewMs) <= LIMITS.clockSkewMsMax) return true
  ports.telemetry.log('error', 'the clocks of service and storage disagree: what cannot be undone waits', {
    duty: duty.name,
    ...(skewMs === undefined ? {} : { ms: skewMs }),
  })
  return false
}

/**
 * The first of what was found, each once, though it be due for two reasons; what failed before comes last, and only when
 * it may be tried again.
 */
const takeDue = (found: Iterable<string>, retries: Retries, nowMs: number): string[] => {
  const due = new Set<string>()
  const again = new Set<string>()
  for (const subject of found) {
    const untilMs = retries.findWaitMs(subject)
    if (untilMs === undefined) due.add(subject)
    else if (untilMs <= nowMs) again.add(subject)
    if (due.size >= LIMITS.dutyItemsMax) break
  }
  return [...due, ...again].slice(0, LIMITS.dutyItemsMax)
}

const doConcurrently = async (subjects: readonly string[], run: (subject: string) => Promise<void>): Promise<void> => {
  const left = subjects.values()
  const work = async () => {
    for (const subject of left) await run(subject)
  }
  await Promise.all(Array.from({ length: Math.min(LIMITS.dutyConcurrencyMax, subjects.length) }, work))
}

/** `skipped`: nothing was tried, and nothing recorded. */
type Outcome = 'done' | 'failed' | 'skipped'

const tryOne = async (tools: Tools, duty: Duty, retries: Retries, subject: string): Promise<Outcome> => {
  const outcome = await doOne(tools, duty, subject)
  if (outcome === 'done') retries.forget(subject)
  else retries.postpone(subject, tools.ports.clock.now())
  return outcome
}

const isUp = ({ hsm }: Tools['ports'], backend: string): boolean =>
  hsm.status().some((status) => status.backend === backend && status.state !== 'DOWN')

const doOne = async (tools: Tools, duty: Duty, subject: string): Promise<Outcome> => {
  const { ports, settings, lock, newId, making } = tools
  const leased = await lock.lease(subject)
  if (!leased.ok) return 'skipped'
  using _turn = leased.value
  const plan = duty.plan(subject, ports.ledger.view(), toFacts(tools))
  if (plan === undefined) return 'skipped'
  // A backend that is away would only fill the ledger with failures.
  if (plan.instruction !== undefined && !isUp(ports, plan.instruction.backend)) return 'skipped'
  const requestId = newId()
  const recording: Recording = {
    requestId,
    signal: AbortSignal.timeout(LIMITS.requestDeadlineMs),
    subject: toServiceSubject(settings.origin, requestId, `kms:${duty.name}`),
    ports,
    newId,
    making,
  }
  const outgoing = await perform(recording, { found: [] }, plan)
  if (outgoing.ok) outgoing.dispose()
  else ports.telemetry.log('warn', 'a duty could not be done now', { duty: duty.name, code: outgoing.error.code })
  return outgoing.ok ? 'done' : 'failed'
}

interface Retries {
  /** When it may be tried again; nothing if it has not failed. */
  findWaitMs(subject: string): number | undefined
  postpone(subject: string, nowMs: number): void
  forget(subject: string): void
}

/** When what failed may be tried again: the pause doubles with each failure. Bounded; the oldest is forgotten first. */
const createRetries = (): Retries => {
  const waiting = new Map<string, { readonly untilMs: number; readonly pauseMs: number }>()
  return {
    findWaitMs: (subject) => waiting.get(subject)?.untilMs,
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
