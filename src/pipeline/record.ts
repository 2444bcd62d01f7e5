import type { Guard } from '../../projections/guards.ts'
import type { Event } from '../../schemas/events.ts'
import type { Verdict } from '../core/ports.ts'
import type { Outgoing } from '../core/request.ts'
import type { Failure } from '../core/result.ts'
import type { EventBody, RecordedAs, ResourceRef } from '../operations/operation.ts'
import type { Permitted, Recording } from './attempt.ts'
import { type Circumstances, toEvent } from './envelope.ts'
import { describeFault, findAbortCode } from './fault.ts'

/** What a caller is told of a fault of the service. */
export const FAULT: Failure = { code: 'INTERNAL', message: 'the service failed; its log has the request id' }

/** A signal that never fires: what happened is recorded whether or not the caller still waits. */
const NEVER = new AbortController().signal

/** Codes after which the ledger certainly does not hold the record, so that what the HSM made can be undone. */
const CERTAINLY_ABSENT: ReadonlySet<string> = new Set(['OVERLOADED', 'CANCELLED', 'TIMEOUT', 'INTERNAL'])

export const toFailed = ({ requestId }: Pick<Recording, 'requestId'>, error: Failure): Outgoing => ({
  ok: false,
  requestId,
  error,
})

const appendFailure = async (attempt: Recording, body: EventBody, around: Circumstances, failure: Failure) => {
  const event = toEvent(attempt.newId(), attempt.subject, body, { ...around, code: failure.code })
  const appended = await attempt.ports.ledger.append({ events: [event], guards: [], toFailed: () => event }, NEVER)
  return toFailed(attempt, appended.ok ? failure : appended.error)
}

/** The decision of a request and what it was about, as its record shows them. */
const toAround = ({ found, decision }: Permitted): Omit<Circumstances, 'outcome'> => ({
  resources: found.flatMap(({ target, record }): Event['resources'] => {
    if (target.kind === 'resource') return [{ type: target.type, id: target.id }]
    return record === undefined ? [] : [{ type: 'Key', id: record.lid }]
  }),
  ...withDecision(decision),
})

export const withDecision = (decision: Omit<Verdict, 'decision'> | undefined) =>
  decision === undefined ? {} : { decision }

/** Records a denial, then answers it. */
export const recordDenial = (attempt: Recording, permitted: Permitted, failure: Failure): Promise<Outgoing> =>
  appendFailure(attempt, { type: 'AccessDenied', data: {} }, { ...toAround(permitted), outcome: 'denied' }, failure)

/** Records that a permitted operation failed, then answers it. */
export const recordFailure = (attempt: Recording, permitted: Permitted, failure: Failure): Promise<Outgoing> =>
  appendFailure(attempt, { type: 'OperationFailed', data: {} }, { ...toAround(permitted), outcome: 'failed' }, failure)

/**
 * Records and answers a request that ended by an exception: CANCELLED or TIMEOUT if its signal fired, INTERNAL with a
 * line in the log otherwise. Throws only if the ledger does.
 */
export const recordFault = (attempt: Recording, permitted: Permitted, error: unknown): Promise<Outgoing> => {
  const aborted = findAbortCode(attempt.signal)
  if (aborted === undefined)
    attempt.ports.telemetry.log('error', 'an operation failed', {
      request_id: attempt.requestId,
      ...describeFault(error),
    })
  return recordFailure(attempt, permitted, aborted ?? FAULT)
}

/** Records that an authenticated request was refused, without its content, then answers it. */
export const recordRefusal = (attempt: Recording, failure: Failure): Promise<Outgoing> =>
  appendFailure(attempt, { type: 'RequestRefused', data: { count: 1 } }, { outcome: 'failed' }, failure)

const compensate = async ({ ports }: Recording, recorded: RecordedAs<object>) => {
  if (recorded.compensation === undefined) return
  const undone = await ports.hsm.execute(recorded.compensation, NEVER)
  if (!undone.ok) ports.telemetry.log('warn', 'an HSM object without a record was left for the sweep')
}

const toResource = (ref: ResourceRef): Event['resources'][number] =>
  'lid' in ref
    ? { type: 'Key', id: ref.lid, ...(ref.version === undefined ? {} : { version: ref.version }) }
    : { type: ref.type, id: ref.id }

const toSuccessAround = (permitted: Permitted, recorded: RecordedAs<object>) => ({
  resources: recorded.resources.map(toResource),
  ...withDecision(permitted.decision),
  ...(recorded.contextHash === undefined ? {} : { contextHash: recorded.contextHash }),
})

export interface Release {
  readonly permitted: Permitted
  readonly recorded: RecordedAs<object>
  readonly guards: readonly Guard[]
}

/**
 * Appends the record of a success, and only then lets the reply out: no result leaves before its record is durable
 * (invariant 2). On every other way out the computed secrets are zeroed, and what the HSM made is undone if the ledger
 * certainly does not name it.
 */
export const release = async (attempt: Recording, { permitted, recorded, guards }: Release): Promise<Outgoing> => {
  const { subject } = attempt
  const around = toSuccessAround(permitted, recorded)
  const dispose = () => {
    for (const secret of recorded.secrets ?? []) secret[Symbol.dispose]()
  }
  const event = toEvent(attempt.newId(), subject, recorded.event, { ...around, outcome: 'success' })
  let isReleased = false
  try {
    const appended = await attempt.ports.ledger.append(
      {
        events: [event],
        guards,
        toFailed: ({ code }) =>
          toEvent(event.id, subject, { type: 'OperationFailed', data: {} }, { ...around, outcome: 'failed', code }),
      },
      attempt.signal,
    )
    if (!appended.ok) {
      if (!CERTAINLY_ABSENT.has(appended.error.code)) return toFailed(attempt, appended.error)
      await compensate(attempt, recorded)
      // A full queue would refuse this record too. In all other cases what was tried is recorded, as a failure.
      return appended.error.code === 'OVERLOADED'
        ? toFailed(attempt, appended.error)
        : recordFailure(attempt, permitted, appended.error)
    }
    if (appended.value.refused !== undefined) {
      await compensate(attempt, recorded)
      return toFailed(attempt, appended.value.refused)
    }
    const body = { ...recorded.toReply(appended.value.view), receipt: appended.value.receipt }
    isReleased = true
    return { ok: true, requestId: attempt.requestId, body, dispose }
  } finally {
    if (!isReleased) dispose()
  }
}
