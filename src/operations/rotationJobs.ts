import { findJobState, isUnended, type RotationJob, type RotationJobsState } from '../../projections/rotationJobs.ts'
import type { View } from '../../projections/view.ts'
import type { RotationJobStateName } from '../../schemas/keys.ts'
import type { Body } from '../../schemas/registry.ts'
import { fail, must, ok, type Result } from '../core/result.ts'
import { parseCursor, toKeyPlace } from './cursor.ts'
import type { Duty } from './duty.ts'
import { toTimestamp } from './keyBody.ts'
import {
  type Candidate,
  type EventBody,
  guardKey,
  type Operation,
  type PlanAs,
  planRecord,
  type Resolved,
  type Target,
  toClaim,
} from './operation.ts'
import { takeKey } from './use.ts'

type Change = 'AcknowledgeRotationJob' | 'CompleteRotationJob' | 'FailRotationJob'
type JobBody = Body<Change>['job']

const toJobBody = (job: RotationJob, nowMs: number): JobBody => ({
  job_id: job.id,
  key_id: job.lid,
  rotated_key_id: job.rotated,
  rotated_to_version: job.version,
  state: findJobState(job, nowMs),
  opened_at: toTimestamp(job.openedAtMs),
  expires_at: toTimestamp(job.expiresAtMs),
  updated_at: toTimestamp(job.updatedAtMs),
  ...(job.reason === undefined ? {} : { reason: job.reason }),
})

const findJob = (view: View, id: string | undefined): RotationJob => {
  const job = view.rotationJobs.byId.get(id ?? '')
  must(job !== undefined, `rotation job ${id} is not in the view`)
  return job
}

/** About what one item takes in a JSON reply, from above. */
const ITEM_BYTES = 768

export const listRotationJobs: Operation<'ListRotationJobs'> = {
  targets: ({ key_id }) => {
    const service: Target = { kind: 'service', action: 'kms:ListRotationJobs' }
    return ok(key_id === undefined ? [service] : [service, { kind: 'key', action: 'kms:DescribeKey', ref: key_id }])
  },
  candidates(input, [key], view, { nowMs }) {
    const from = parseCursor(input.cursor)
    return from.ok ? ok(walkJobs(view, from.value, { nowMs, state: input.state, lid: key?.lid })) : from
  },
  plan(_input, { view, facts, page }) {
    must(page !== undefined, 'a list is planned with its page')
    const items = page.items.map(({ place }) => toJobBody(jobAt(view, Number(place.slice(1))), facts.nowMs))
    return ok(
      planRecord([], () => ({
        event: { type: 'RotationJobsListed', data: { items: items.length } },
        resources: [],
        toReply: () => ({ items, ...(page.nextCursor === undefined ? {} : { next_cursor: page.nextCursor }) }),
      })),
    )
  },
}

const jobAt = ({ rotationJobs }: View, ordinal: number): RotationJob => {
  const job = rotationJobs.byId.get(rotationJobs.order.get(ordinal - rotationJobs.dropped) ?? '')
  must(job !== undefined, `there is no rotation job of ordinal ${ordinal}`)
  return job
}

interface Wanted {
  readonly nowMs: number
  readonly state: RotationJobStateName | undefined
  readonly lid: string | undefined
}

function* walkJobs(view: View, from: number, { nowMs, state, lid }: Wanted): Generator<Candidate> {
  const { order, dropped } = view.rotationJobs
  for (let ordinal = Math.max(from, dropped); ordinal < dropped + order.size; ordinal += 1) {
    const job = jobAt(view, ordinal)
    const record = view.keys.byLid.get(job.lid)
    must(record !== undefined, `rotation job ${job.id} is for a key that does not exist`)
    const isWanted =
      (state === undefined || findJobState(job, nowMs) === state) && (lid === undefined || job.lid === lid)
    yield { record, place: toKeyPlace(ordinal), bytes: ITEM_BYTES, isFiltered: !isWanted }
  }
}

interface Move {
  readonly from: readonly RotationJobStateName[]
  readonly verb: string
  toEvent(data: { readonly job_id: string; readonly lid: string }): EventBody
}

/** Who may change a job is asked about its key; a job that is not there, about the service, so that denied reads the same. */
const toTargets = (name: Change, job_id: string, view: View): Result<readonly Target[]> => {
  const job = view.rotationJobs.byId.get(job_id)
  const action = `kms:${name}`
  return ok([job === undefined ? { kind: 'service', action } : { kind: 'key', action, ref: job.lid }])
}

const planMove = (job_id: string, resolved: Resolved, move: Move): Result<PlanAs<Body<Change>>> => {
  const { view, facts } = resolved
  const job = view.rotationJobs.byId.get(job_id)
  if (job === undefined) return fail('NOT_FOUND', 'job_id: there is no such rotation job')
  const state = findJobState(job, facts.nowMs)
  if (!move.from.includes(state))
    return fail('INVALID_STATE_TRANSITION', `a rotation job that is ${state} cannot be ${move.verb}`)
  const { lid } = takeKey(resolved)
  const event = move.toEvent({ job_id, lid, ...toClaim(facts) })
  return ok(
    planRecord([guardKey(view, takeKey(resolved)), { kind: 'job', id: job_id, state: job.state }], () => ({
      event,
      resources: [{ lid }],
      toReply: (folded) => ({ job: toJobBody(findJob(folded, job_id), facts.nowMs) }),
    })),
  )
}

const turn = ({ job_id }: { readonly job_id: string }): string => job_id
const replay: NonNullable<Operation<Change>['replay']> = ({ jobId }, view, { nowMs }) => ({
  job: toJobBody(findJob(view, jobId), nowMs),
})

export const acknowledgeRotationJob: Operation<'AcknowledgeRotationJob'> = {
  turn,
  replay,
  targets: ({ job_id }, _facts, view) => toTargets('AcknowledgeRotationJob', job_id, view),
  plan: ({ job_id }, resolved) =>
    planMove(job_id, resolved, {
      from: ['pending'],
      verb: 'acknowledged',
      toEvent: (data) => ({ type: 'RotationJobAcknowledged', data }),
    }),
}

export const completeRotationJob: Operation<'CompleteRotationJob'> = {
  turn,
  replay,
  targets: ({ job_id }, _facts, view) => toTargets('CompleteRotationJob', job_id, view),
  plan: ({ job_id }, resolved) =>
    planMove(job_id, resolved, {
      from: ['pending', 'acknowledged'],
      verb: 'completed',
      toEvent: (data) => ({ type: 'RotationJobCompleted', data }),
    }),
}

export const failRotationJob: Operation<'FailRotationJob'> = {
  turn,
  replay,
  targets: ({ job_id }, _facts, view) => toTargets('FailRotationJob', job_id, view),
  plan: ({ job_id, reason }, resolved) =>
    planMove(job_id, resolved, {
      from: ['pending', 'acknowledged'],
      verb: 'failed',
      toEvent: (data) => ({ type: 'RotationJobFailed', data: { ...data, reason } }),
    }),
}

/** Records, once a rotation, that the jobs nobody ended have expired. */
export const expireRotationJobs: Duty = {
  name: 'ExpireRotationJobs',
  *findDue({ rotationJobs }, { nowMs }) {
    for (const { lid, version, expiresAtMs, jobs } of rotationJobs.rotations)
      if (expiresAtMs <= nowMs && listUnended(rotationJobs, jobs).length > 0) yield `${lid}/${version}`
  },
  plan(subject, { rotationJobs }, { nowMs }) {
    const rotation = rotationJobs.rotations.find(({ lid, version }) => `${lid}/${version}` === subject)
    if (rotation === undefined || rotation.expiresAtMs > nowMs) return undefined
    const expired = listUnended(rotationJobs, rotation.jobs).length
    if (expired === 0) return undefined
    const { lid, version } = rotation
    return planRecord([], () => ({
      event: { type: 'RotationJobsExpired', data: { lid, version, expired } },
      resources: [{ lid, version }],
      toReply: () => ({}),
    }))
  },
}

const listUnended = ({ byId }: RotationJobsState, jobs: readonly string[]): readonly RotationJob[] =>
  jobs.map((id) => byId.get(id)).filter((job): job is RotationJob => job !== undefined && isUnended(job))
