import Type, { type TProperties } from 'typebox'
import { change } from '../changeContract.ts'
import { contract, Reply } from '../contract.ts'
import { ROTATION_JOB_STATES } from '../keys.ts'
import { LIMITS } from '../limits.ts'
import { Fields, KeyId, Lid, OneOf, Page, Text, Timestamp } from '../primitives.ts'

const JobId = Type.String({ pattern: '^[0-9a-f]{64}$', description: '64 hex digits' })
const state = OneOf(ROTATION_JOB_STATES)

/** What a key's rotation asks of one key below it. */
const RotationJob = Fields({
  job_id: JobId,
  key_id: Lid,
  rotated_key_id: Lid,
  rotated_to_version: Type.Integer({ minimum: 1 }),
  state,
  opened_at: Timestamp,
  expires_at: Timestamp,
  updated_at: Timestamp,
  reason: Type.Optional(Text(1, LIMITS.reasonBytesMax)),
})

export const ListRotationJobs = contract({
  name: 'ListRotationJobs',
  summary: 'Lists the jobs that rotations opened for the keys below, oldest first',
  effect: 'read',
  idempotent: false,
  routes: [{ method: 'GET', path: '/rotation-jobs', status: 200 }],
  request: Fields({ state: Type.Optional(state), key_id: Type.Optional(KeyId), ...Page }),
  reply: Reply({ items: Type.Array(RotationJob), next_cursor: Type.Optional(Type.String()) }),
  codes: ['KEY_NOT_FOUND', 'REVISION_CONFLICT'],
  example: { request: { state: 'pending' } },
})

const changeJob = <const N extends string, Q extends TProperties>(
  name: N,
  summary: string,
  { verb, request, example }: { readonly verb: string; readonly request: Q; readonly example: object },
) =>
  change({
    name,
    summary,
    path: `/rotation-jobs/:job_id/actions-${verb}`,
    request: { job_id: JobId, ...request },
    reply: { job: RotationJob },
    codes: ['NOT_FOUND', 'INVALID_STATE_TRANSITION'],
    example: { job_id: '0'.repeat(64), ...example },
  })

export const AcknowledgeRotationJob = changeJob('AcknowledgeRotationJob', 'Says that somebody works on a job', {
  verb: 'acknowledge',
  request: {},
  example: {},
})

export const CompleteRotationJob = changeJob('CompleteRotationJob', 'Says that a job is done', {
  verb: 'complete',
  request: {},
  example: {},
})

export const FailRotationJob = changeJob('FailRotationJob', 'Says that a job could not be done, and why', {
  verb: 'fail',
  request: { reason: Text(1, LIMITS.reasonBytesMax, 'Stands in the ledger') },
  example: { reason: 'the database is read-only' },
})
