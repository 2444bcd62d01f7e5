import Type, { type TProperties } from 'typebox'
import { contract, Reply } from '../contract.ts'
import type { ErrorCode } from '../errors.ts'
import { Key } from '../keys.ts'
import { LIMITS } from '../limits.ts'
import { BackendId, Fields, KeyId, Revision, Text, Timestamp } from '../primitives.ts'

const affected = {
  affected_descendants: Type.Integer({ minimum: 0, description: 'Descendants whose effective state changed' }),
}

interface Change<N extends string, Q extends TProperties, R extends TProperties> {
  readonly name: N
  readonly summary: string
  /** What follows `/keys/:id`. */
  readonly path: string
  readonly method?: 'POST' | 'PUT'
  readonly request: Q
  readonly reply: R
  readonly codes?: readonly ErrorCode[]
  readonly example: Readonly<Record<string, unknown>>
}

/** A change of one key: takes `if_revision` and an idempotency key, and answers with the key as it is now. */
const change = <const N extends string, Q extends TProperties, R extends TProperties>(declared: Change<N, Q, R>) =>
  contract({
    name: declared.name,
    summary: declared.summary,
    effect: 'change',
    idempotent: true,
    routes: [{ method: declared.method ?? 'POST', path: `/keys/:id${declared.path}`, status: 200 }],
    request: Fields({ key_id: KeyId, ...declared.request, if_revision: Type.Optional(Revision) }),
    reply: Reply({ key: Key, ...declared.reply }),
    codes: ['KEY_NOT_FOUND', 'REVISION_CONFLICT', 'IDEMPOTENCY_CONFLICT', ...(declared.codes ?? [])],
    example: { request: declared.example },
  })

export const UpdateKey = change({
  name: 'UpdateKey',
  summary: 'Changes the description of a key',
  path: '',
  method: 'PUT',
  request: { description: Text(0, LIMITS.descriptionBytesMax) },
  reply: {},
  codes: ['INVALID_STATE_TRANSITION'],
  example: { description: 'orders database, primary' },
})

export const RotateKey = change({
  name: 'RotateKey',
  summary: 'Adds a version that produces from now on; older ones still decrypt and verify',
  path: '/actions-rotate',
  request: {
    backend_id: Type.Optional({
      ...BackendId,
      description: 'The HSM backend of the new version; that of the current one if absent',
    }),
  },
  reply: {
    new_version: Type.Integer({ minimum: 1 }),
    rotation_jobs: Type.Integer({ minimum: 0, description: 'Jobs opened, one for each living descendant' }),
  },
  codes: ['KEY_NOT_USABLE', 'KEY_EXHAUSTED', 'UNSUPPORTED_BY_HSM', 'HSM_UNAVAILABLE'],
  example: {},
})

export const ScheduleKeyDeletion = change({
  name: 'ScheduleKeyDeletion',
  summary: 'Locks a key now and destroys its material after a grace period',
  path: '/actions-schedule-deletion',
  request: {
    grace_period_days: Type.Integer({
      minimum: LIMITS.deletionGraceDaysMin,
      maximum: LIMITS.deletionGraceDaysMax,
      description: 'Days in which the deletion can be cancelled',
    }),
    cascade: Type.Optional(Type.Boolean({ description: 'Take all living descendants along; else they refuse it' })),
  },
  reply: { deletion_date: Timestamp, ...affected },
  codes: ['INVALID_STATE_TRANSITION', 'KEY_HAS_DEPENDENTS'],
  example: { grace_period_days: 30 },
})

export const CancelKeyDeletion = change({
  name: 'CancelKeyDeletion',
  summary: 'Takes a key out of its grace period; it is disabled then, or compromised if it was before',
  path: '/actions-cancel-deletion',
  request: {},
  reply: affected,
  codes: ['INVALID_STATE_TRANSITION', 'PARENT_NOT_USABLE'],
  example: {},
})

export const ReportKeyCompromise = change({
  name: 'ReportKeyCompromise',
  summary: 'Marks a key compromised for good: it and its descendants only decrypt and verify',
  path: '/actions-report-compromise',
  request: { reason: Type.Optional(Text(1, LIMITS.reasonBytesMax, 'Stands in the ledger')) },
  reply: affected,
  codes: ['INVALID_STATE_TRANSITION'],
  example: { reason: 'the laptop with the token was stolen' },
})
