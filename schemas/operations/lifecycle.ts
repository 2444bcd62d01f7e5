import Type from 'typebox'
import { changeKey } from '../changeContract.ts'
import { LIMITS } from '../limits.ts'
import { BackendId, Text, Timestamp } from '../primitives.ts'

const affected = {
  affected_descendants: Type.Integer({ minimum: 0, description: 'Descendants whose effective state changed' }),
}

export const UpdateKey = changeKey({
  name: 'UpdateKey',
  summary: 'Changes the description of a key',
  path: '',
  method: 'PUT',
  request: { description: Text(0, LIMITS.descriptionBytesMax) },
  reply: {},
  codes: ['INVALID_STATE_TRANSITION'],
  example: { description: 'orders database, primary' },
})

export const RotateKey = changeKey({
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

export const ScheduleKeyDeletion = changeKey({
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

export const CancelKeyDeletion = changeKey({
  name: 'CancelKeyDeletion',
  summary: 'Takes a key out of its grace period; it is disabled then, or compromised if it was before',
  path: '/actions-cancel-deletion',
  request: {},
  reply: affected,
  codes: ['INVALID_STATE_TRANSITION', 'PARENT_NOT_USABLE'],
  example: {},
})

export const ReportKeyCompromise = changeKey({
  name: 'ReportKeyCompromise',
  summary: 'Marks a key compromised for good: it and its descendants only decrypt and verify',
  path: '/actions-report-compromise',
  request: { reason: Type.Optional(Text(1, LIMITS.reasonBytesMax, 'Stands in the ledger')) },
  reply: affected,
  codes: ['INVALID_STATE_TRANSITION'],
  example: { reason: 'the laptop with the token was stolen' },
})
