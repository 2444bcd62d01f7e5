import { blake3 } from '@noble/hashes/blake3.js'
import { Map as ImmutableMap, List } from 'immutable'
import type { Event, EventOf } from '../schemas/events.ts'
import type { RotationJobStateName } from '../schemas/keys.ts'
import { LIMITS } from '../schemas/limits.ts'
import type { Lid } from '../src/core/instruction.ts'
import { toLidBytes } from '../src/core/lid.ts'
import { must } from '../src/core/result.ts'
import { type HierarchyState, walkDescendants } from './hierarchy.ts'
import type { KeysState } from './keys.ts'
import type { EventMeta } from './projection.ts'

/** What a rotation asks of one key below the rotated one: to move to what the new version protects. */
export interface RotationJob {
  readonly id: string
  readonly lid: Lid
  readonly rotated: Lid
  readonly version: number
  readonly state: RotationJobStateName
  readonly openedAtMs: number
  readonly expiresAtMs: number
  readonly updatedAtMs: number
  readonly reason?: string
  /** Its place among all jobs ever opened, from 0. */
  readonly ordinal: number
}

/** One rotation whose jobs may still be open. */
interface OpenRotation {
  readonly lid: Lid
  readonly version: number
  readonly expiresAtMs: number
  readonly jobs: readonly string[]
}

export interface RotationJobsState {
  readonly byId: ImmutableMap<string, RotationJob>
  /** In order of opening; the first has ordinal `dropped`. */
  readonly order: List<string>
  readonly dropped: number
  readonly rotations: List<OpenRotation>
}

/** Counts what the fold below has meant, as a projection's version does. */
export const ROTATION_JOBS_VERSION = 1

export const NO_ROTATION_JOBS: RotationJobsState = {
  byId: ImmutableMap(),
  order: List(),
  dropped: 0,
  rotations: List(),
}

const UUID_BYTES = 16

/** BLAKE3 over the 16 bytes of the event's UUID and the 32 of the LID, in hex. */
export const toJobId = (eventId: string, lid: Lid): string => {
  const uuid = Buffer.from(eventId.replaceAll('-', ''), 'hex')
  must(uuid.length === UUID_BYTES, `event id ${eventId} is not a UUID`)
  return Buffer.from(blake3(Buffer.concat([uuid, toLidBytes(lid)]))).toString('hex')
}

/** Whether nobody has ended it, and no record says that it has expired. */
export const isUnended = ({ state }: Pick<RotationJob, 'state'>): boolean =>
  state === 'pending' || state === 'acknowledged'

/** The state as a reader sees it: expired from its time on, even before the record of it. */
export const findJobState = (job: RotationJob, nowMs: number): RotationJobStateName =>
  isUnended(job) && nowMs >= job.expiresAtMs ? 'expired' : job.state

/** The keys as they were just before the event. */
interface Keys {
  readonly keys: KeysState
  readonly hierarchy: HierarchyState
}

/** Folds one event. Opening needs the hierarchy, since one `KeyRotated` opens a job for each living descendant. */
export const evolveRotationJobs = (
  state: RotationJobsState,
  event: Event,
  meta: EventMeta,
  keys: Keys,
): RotationJobsState => {
  switch (event.type) {
    case 'KeyRotated':
      return open(dropOld(state, meta.timeMs), event, meta, keys)
    case 'RotationJobAcknowledged':
      return move(state, event.data.job_id, { state: 'acknowledged', updatedAtMs: meta.timeMs })
    case 'RotationJobCompleted':
      return move(state, event.data.job_id, { state: 'completed', updatedAtMs: meta.timeMs })
    case 'RotationJobFailed':
      return move(state, event.data.job_id, { state: 'failed', updatedAtMs: meta.timeMs, reason: event.data.reason })
    case 'RotationJobsExpired':
      return expire(state, event.data, meta.timeMs)
    default:
      return state
  }
}

const open = (
  state: RotationJobsState,
  event: EventOf<'KeyRotated'>,
  { timeMs }: EventMeta,
  { keys, hierarchy }: Keys,
): RotationJobsState => {
  const rotated = event.data.lid as Lid
  const jobs: RotationJob[] = []
  for (const { record } of walkDescendants(keys, hierarchy, rotated, true))
    if (record.state !== 'destroyed')
      jobs.push({
        id: toJobId(event.id, record.lid),
        lid: record.lid,
        rotated,
        version: event.data.version,
        state: 'pending',
        openedAtMs: timeMs,
        expiresAtMs: timeMs + LIMITS.rotationJobExpiryMs,
        updatedAtMs: timeMs,
        ordinal: state.dropped + state.order.size + jobs.length,
      })
  if (jobs.length === 0) return state
  const ids = jobs.map(({ id }) => id)
  const rotation = {
    lid: rotated,
    version: event.data.version,
    expiresAtMs: timeMs + LIMITS.rotationJobExpiryMs,
    jobs: ids,
  }
  return dropExcess({
    ...state,
    byId: state.byId.withMutations((map) => {
      for (const job of jobs) map.set(job.id, job)
    }),
    order: state.order.concat(ids),
    rotations: state.rotations.push(rotation),
  })
}

const move = (state: RotationJobsState, id: string, change: Partial<RotationJob>): RotationJobsState => {
  const job = state.byId.get(id)
  must(job !== undefined, `an event names rotation job ${id}, which does not exist`)
  return { ...state, byId: state.byId.set(id, { ...job, ...change }) }
}

const expire = (
  state: RotationJobsState,
  { lid, version }: { readonly lid: string; readonly version: number },
  timeMs: number,
): RotationJobsState => {
  const at = state.rotations.findIndex((rotation) => rotation.lid === lid && rotation.version === version)
  const rotation = state.rotations.get(at)
  if (at === -1 || rotation === undefined) return state
  return {
    ...state,
    rotations: state.rotations.delete(at),
    byId: state.byId.withMutations((map) => {
      for (const id of rotation.jobs) {
        const job = map.get(id)
        if (job !== undefined && isUnended(job)) map.set(id, { ...job, state: 'expired', updatedAtMs: timeMs })
      }
    }),
  }
}

/** Forgets, from the oldest on, what was opened longer ago than is kept; the ledger remembers all of it. */
const dropOld = (state: RotationJobsState, timeMs: number): RotationJobsState =>
  dropWhile(state, (job) => job.openedAtMs + LIMITS.rotationJobsKeptMs <= timeMs)

const dropExcess = (state: RotationJobsState): RotationJobsState => {
  let excess = state.order.size - LIMITS.rotationJobsMax
  return dropWhile(state, () => excess-- > 0)
}

const dropWhile = (state: RotationJobsState, isOver: (job: RotationJob) => boolean): RotationJobsState => {
  let count = 0
  const byId = state.byId.withMutations((map) => {
    for (const id of state.order) {
      const job = map.get(id)
      must(job !== undefined, `rotation job ${id} is in the order but not in the map`)
      if (!isOver(job)) break
      map.delete(id)
      count += 1
    }
  })
  if (count === 0) return state
  const rotations = state.rotations.filter(({ jobs }) => jobs.some((id) => byId.has(id)))
  return { byId, order: state.order.skip(count), dropped: state.dropped + count, rotations }
}
