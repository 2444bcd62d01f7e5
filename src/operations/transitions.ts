import type { Guard } from '../../projections/guards.ts'
import { countAffected, findEffectiveState } from '../../projections/hierarchy.ts'
import type { KeyRecord } from '../../projections/keys.ts'
import type { View } from '../../projections/view.ts'
import { STATE_ALLOWS } from '../core/lifecycle.ts'
import { fail, must, ok } from '../core/result.ts'
import { toFoldedKeyBody } from './keyBody.ts'
import { guardKey, type Operation, type Plan, planRecord, type Resolved, toClaim } from './operation.ts'
import { checkRevision, takeKey } from './use.ts'

type Name = 'EnableKey' | 'DisableKey'

const planTransition = (
  type: 'KeyEnabled' | 'KeyDisabled',
  record: KeyRecord,
  { view, facts }: Resolved,
  guards: readonly Guard[],
): Plan<Name> => {
  // Under a locked ancestor nothing below changes: it is locked already.
  const isLocked = findEffectiveState(view.keys, { ...record, state: 'enabled' }).state !== 'enabled'
  const affected = isLocked ? 0 : countAffected(view.keys, view.hierarchy, record.lid)
  return planRecord([guardKey(view, record), ...guards], () => ({
    event: {
      type,
      data: {
        lid: record.lid,
        affected,
        ...toClaim(facts),
      },
    },
    resources: [{ lid: record.lid }],
    toReply: (folded) => ({ key: toFoldedKeyBody(folded, record.lid, facts), affected_descendants: affected }),
  }))
}

const replay: NonNullable<Operation<Name>['replay']> = ({ lid, affected = 0 }, view, facts) => ({
  key: toFoldedKeyBody(view, lid, facts),
  affected_descendants: affected,
})

const findParent = (view: View, record: KeyRecord): KeyRecord | undefined => {
  if (record.parent === undefined) return undefined
  const parent = view.keys.byLid.get(record.parent)
  must(parent !== undefined, `key ${record.lid} has a parent that does not exist`)
  return parent
}

export const enableKey: Operation<'EnableKey'> = {
  replay,
  targets: (input) => ok([{ kind: 'key', action: 'kms:EnableKey', ref: input.key_id }]),
  plan(input, resolved) {
    const record = takeKey(resolved)
    const revision = checkRevision(input, record)
    if (!revision.ok) return revision
    if (record.state !== 'disabled')
      return fail('INVALID_STATE_TRANSITION', `a key that is ${record.state} cannot be enabled`)
    const parent = findParent(resolved.view, record)
    const above = parent && findEffectiveState(resolved.view.keys, parent).state
    if (above !== undefined && !STATE_ALLOWS[above].parent)
      return fail('PARENT_NOT_USABLE', `the parent key is ${above}`)
    return ok(
      planTransition(
        'KeyEnabled',
        record,
        resolved,
        parent === undefined ? [] : [guardKey(resolved.view, parent, 'parent')],
      ),
    )
  },
}

export const disableKey: Operation<'DisableKey'> = {
  replay,
  targets: (input) => ok([{ kind: 'key', action: 'kms:DisableKey', ref: input.key_id }]),
  plan(input, resolved) {
    const record = takeKey(resolved)
    const revision = checkRevision(input, record)
    if (!revision.ok) return revision
    if (record.state !== 'enabled')
      return fail('INVALID_STATE_TRANSITION', `a key that is ${record.state} cannot be disabled`)
    return ok(planTransition('KeyDisabled', record, resolved, []))
  },
}
