import type { Guard } from '../../projections/guards.ts'
import { countAffected, findEffectiveState, hasLivingDescendants } from '../../projections/hierarchy.ts'
import type { KeyRecord } from '../../projections/keys.ts'
import { DAY_MS } from '../../projections/rotation.ts'
import type { View } from '../../projections/view.ts'
import type { KeyStateName } from '../../schemas/keys.ts'
import { STATE_ALLOWS } from '../core/lifecycle.ts'
import { fail, must, ok, type Result } from '../core/result.ts'
import { toFoldedKeyBody, toTimestamp } from './keyBody.ts'
import {
  type EventBody,
  guardKey,
  type Operation,
  type PlanAs,
  planRecord,
  type Resolved,
  toClaim,
} from './operation.ts'
import { checkRevision, takeKey } from './use.ts'

/** The data of every event that changes a key's own state. */
interface Moved {
  readonly lid: KeyRecord['lid']
  readonly affected: number
  readonly idempotency?: { readonly slot: Uint8Array; readonly body: Uint8Array }
}

/** A change of a key's own state: from where, to where, and what else must hold. */
interface Move<X extends object> {
  readonly from: readonly KeyStateName[]
  readonly next: KeyStateName
  /** As in "a key that is destroyed cannot be …". */
  readonly verb: string
  /** What must hold of the keys around it, now and when the record enters the ledger. */
  checkAround?(): Result<readonly Guard[]>
  toEvent(data: Moved): EventBody
  /** What the reply has besides the key. */
  readonly more: X
}

const toReply: NonNullable<Operation<'EnableKey'>['replay']> = ({ lid, affected = 0 }, view, facts) => ({
  key: toFoldedKeyBody(view, lid, facts),
  affected_descendants: affected,
})

/** One event on the key itself, from which the effective state of everything below it follows (invariant 8). */
const planMove = <X extends object>(
  input: { readonly if_revision?: number },
  resolved: Resolved,
  move: Move<X>,
): Result<PlanAs<ReturnType<typeof toReply> & X>> => {
  const { view, facts } = resolved
  const record = takeKey(resolved)
  const revision = checkRevision(input, record)
  if (!revision.ok) return revision
  if (!move.from.includes(record.state))
    return fail('INVALID_STATE_TRANSITION', `a key that is ${record.state} cannot be ${move.verb}`)
  const around = move.checkAround?.() ?? ok([])
  if (!around.ok) return around
  const affected = countAffected(view, record, move.next)
  return ok(
    planRecord([guardKey(view, record), ...around.value], () => ({
      event: move.toEvent({ lid: record.lid, affected, ...toClaim(facts) }),
      resources: [{ lid: record.lid }],
      toReply: (folded) => ({ ...toReply({ lid: record.lid, affected, ...NO_SLOT }, folded, facts), ...move.more }),
    })),
  )
}

/** The reply of a first request is rebuilt like that of a repeated one; only the latter has a slot. */
const NO_SLOT = { slotHex: '', bodyHex: '', timeMs: 0 } as const

const findParent = (view: View, record: KeyRecord): KeyRecord | undefined => {
  if (record.parent === undefined) return undefined
  const parent = view.keys.byLid.get(record.parent)
  must(parent !== undefined, `key ${record.lid} has a parent that does not exist`)
  return parent
}

/** The guard that the parent, if there is one, is in a state that `accepts`; PARENT_NOT_USABLE if it is not. */
const checkParent = (resolved: Resolved, accepts: (state: KeyStateName) => boolean): Result<readonly Guard[]> => {
  const { view } = resolved
  const parent = findParent(view, takeKey(resolved))
  if (parent === undefined) return ok([])
  const { state } = findEffectiveState(view.keys, parent)
  return accepts(state) ? ok([guardKey(view, parent)]) : fail('PARENT_NOT_USABLE', `the parent key is ${state}`)
}

export const enableKey: Operation<'EnableKey'> = {
  replay: toReply,
  targets: (input) => ok([{ kind: 'key', action: 'kms:EnableKey', ref: input.key_id }]),
  plan: (input, resolved) =>
    planMove(input, resolved, {
      from: ['disabled'],
      next: 'enabled',
      verb: 'enabled',
      checkAround: () => checkParent(resolved, (state) => STATE_ALLOWS[state].parent),
      toEvent: (data) => ({ type: 'KeyEnabled', data }),
      more: {},
    }),
}

export const disableKey: Operation<'DisableKey'> = {
  replay: toReply,
  targets: (input) => ok([{ kind: 'key', action: 'kms:DisableKey', ref: input.key_id }]),
  plan: (input, resolved) =>
    planMove(input, resolved, {
      from: ['enabled'],
      next: 'disabled',
      verb: 'disabled',
      toEvent: (data) => ({ type: 'KeyDisabled', data }),
      more: {},
    }),
}

export const reportKeyCompromise: Operation<'ReportKeyCompromise'> = {
  replay: toReply,
  targets: (input) => ok([{ kind: 'key', action: 'kms:ReportKeyCompromise', ref: input.key_id }]),
  plan: (input, resolved) =>
    planMove(input, resolved, {
      from: ['enabled', 'disabled'],
      next: 'compromised',
      verb: 'reported compromised',
      toEvent: (data) => ({
        type: 'KeyCompromised',
        data: { ...data, ...(input.reason === undefined ? {} : { reason: input.reason }) },
      }),
      more: {},
    }),
}

export const scheduleKeyDeletion: Operation<'ScheduleKeyDeletion'> = {
  replay: (success, view, facts) => ({
    ...toReply(success, view, facts),
    deletion_date: toTimestamp(success.deletionAtMs ?? 0),
  }),
  targets: (input) => ok([{ kind: 'key', action: 'kms:ScheduleKeyDeletion', ref: input.key_id }]),
  plan(input, resolved) {
    const { view, facts } = resolved
    const { lid } = takeKey(resolved)
    const cascade = input.cascade ?? false
    const deletion_at = facts.nowMs + input.grace_period_days * DAY_MS
    return planMove(input, resolved, {
      from: ['enabled', 'disabled', 'compromised'],
      next: 'pending_deletion',
      verb: 'scheduled for deletion',
      checkAround: () =>
        !cascade && hasLivingDescendants(view.keys, view.hierarchy, lid)
          ? fail('KEY_HAS_DEPENDENTS', 'living keys depend on this one: delete them first, or set cascade')
          : ok(cascade ? [] : [{ kind: 'childless', lid }]),
      toEvent: (data) => ({ type: 'KeyDeletionScheduled', data: { ...data, deletion_at, cascade } }),
      more: { deletion_date: toTimestamp(deletion_at) },
    })
  },
}

export const cancelKeyDeletion: Operation<'CancelKeyDeletion'> = {
  replay: toReply,
  targets: (input) => ok([{ kind: 'key', action: 'kms:CancelKeyDeletion', ref: input.key_id }]),
  plan(input, resolved) {
    const from = takeKey(resolved).deletion?.from
    return planMove(input, resolved, {
      from: ['pending_deletion'],
      next: from === 'compromised' ? 'compromised' : 'disabled',
      verb: 'taken out of its deletion',
      // What an ancestor takes along goes with the ancestor: only cancelling that one brings it back.
      checkAround: () => checkParent(resolved, (state) => KEEPS_CHILDREN.includes(state)),
      toEvent: (data) => ({ type: 'KeyDeletionCancelled', data }),
      more: {},
    })
  },
}

const KEEPS_CHILDREN: readonly KeyStateName[] = ['enabled', 'compromised', 'disabled']
