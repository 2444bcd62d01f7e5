import { ALIAS_EXISTS, checkGuard, type Guard } from '../../projections/guards.ts'
import { findEffectiveState } from '../../projections/hierarchy.ts'
import type { IdempotencyRecord } from '../../projections/idempotency.ts'
import type { KeyRecord } from '../../projections/keys.ts'
import type { View } from '../../projections/view.ts'
import { LIMITS } from '../../schemas/limits.ts'
import type { Body } from '../../schemas/registry.ts'
import type { Lid } from '../core/instruction.ts'
import { fail, must, ok, type Result } from '../core/result.ts'
import { type Facts, guardKey, type Operation, type PlanAs, planRecord, type Target, toClaim } from './operation.ts'
import { takeKey } from './use.ts'

type Change = 'CreateAlias' | 'UpdateAlias' | 'DeleteAlias'
type Input = { readonly alias_name: string }

/** Changes of one name take turns, whichever keys they are about. */
const turn = ({ alias_name }: Input): string => alias_name

const toBody = (name: string, lid: Lid): Body<Change> => ({ alias_name: name, target_key_id: lid })

/** What the first request answered, whatever has become of the name since. */
const replay = ({ name, lid }: IdempotencyRecord): Body<Change> => {
  must(name !== undefined && lid !== undefined, 'a change of an alias says its name and key')
  return toBody(name, lid)
}

const targetAlias = (name: Change, { alias_name }: Input, view: View): Target => ({
  kind: 'resource',
  action: `kms:${name}`,
  type: 'Alias',
  id: alias_name,
  exists: view.aliases.byName.has(alias_name),
})

/** The key that the alias stands for now, which is asked about, and guarded, by the alias itself. */
const targetLoser = ({ alias_name }: Input, view: View): readonly Target[] =>
  view.aliases.byName.has(alias_name) ? [{ kind: 'key', action: 'kms:DetachAlias', ref: alias_name }] : []

const targetWinner = (ref: string): Target => ({ kind: 'key', action: 'kms:AttachAlias', ref })

/** A name is for a key that is, or may come back: KEY_NOT_USABLE for one that is gone for good, or going. */
const checkTarget = (view: View, record: KeyRecord): Result<true> => {
  const { state } = findEffectiveState(view.keys, record)
  return state === 'destroying' || state === 'destroyed'
    ? fail('KEY_NOT_USABLE', `target_key_id: the key is ${state}`)
    : ok(true)
}

/** The guard that the key may get one more name; INVALID_REQUEST if it has all it may. */
const guardRoom = (view: View, { lid }: KeyRecord): Result<readonly Guard[]> => {
  const guard: Guard = { kind: 'aliasRoom', lid, aliasesMax: LIMITS.aliasesPerKeyMax }
  const failure = checkGuard(view, guard)
  return failure === undefined ? ok([guard]) : { ok: false, error: failure }
}

const planChange = (
  type: 'AliasCreated' | 'AliasUpdated' | 'AliasDeleted',
  change: { readonly name: string; readonly lid: Lid; readonly guards: readonly Guard[]; readonly before?: Lid },
  facts: Facts,
): PlanAs<Body<Change>> => {
  const { name, lid, guards, before } = change
  const moved = before === undefined || before === lid ? [] : [{ lid: before }]
  return planRecord(guards, () => ({
    event: { type, data: { name, lid, ...toClaim(facts) } },
    resources: [{ type: 'Alias', id: name }, { lid }, ...moved],
    toReply: () => toBody(name, lid),
  }))
}

const NO_ALIAS = fail('ALIAS_NOT_FOUND', 'alias_name: there is no such alias')

export const createAlias: Operation<'CreateAlias'> = {
  turn,
  replay,
  targets: (input, _facts, view) => ok([targetAlias('CreateAlias', input, view), targetWinner(input.target_key_id)]),
  plan(input, resolved) {
    const { view, facts } = resolved
    const record = takeKey(resolved)
    const name = input.alias_name
    if (view.aliases.byName.has(name)) return { ok: false, error: ALIAS_EXISTS }
    const target = checkTarget(view, record)
    if (!target.ok) return target
    const room = guardRoom(view, record)
    if (!room.ok) return room
    const guards: readonly Guard[] = [{ kind: 'alias', name }, guardKey(view, record), ...room.value]
    return ok(planChange('AliasCreated', { name, lid: record.lid, guards }, facts))
  },
}

export const updateAlias: Operation<'UpdateAlias'> = {
  turn,
  replay,
  targets: (input, _facts, view) =>
    ok([targetAlias('UpdateAlias', input, view), ...targetLoser(input, view), targetWinner(input.target_key_id)]),
  plan(input, resolved) {
    const { view, facts } = resolved
    const name = input.alias_name
    if (!view.aliases.byName.has(name)) return NO_ALIAS
    const before = takeKey(resolved, 0)
    const record = takeKey(resolved, 1)
    const target = checkTarget(view, record)
    if (!target.ok) return target
    const room = before.lid === record.lid ? ok([]) : guardRoom(view, record)
    if (!room.ok) return room
    const guards = [guardKey(view, before), guardKey(view, record), ...room.value]
    return ok(planChange('AliasUpdated', { name, lid: record.lid, guards, before: before.lid }, facts))
  },
}

export const deleteAlias: Operation<'DeleteAlias'> = {
  turn,
  replay,
  targets: (input, _facts, view) => ok([targetAlias('DeleteAlias', input, view), ...targetLoser(input, view)]),
  plan(input, resolved) {
    const { view, facts } = resolved
    const name = input.alias_name
    if (!view.aliases.byName.has(name)) return NO_ALIAS
    const record = takeKey(resolved)
    return ok(planChange('AliasDeleted', { name, lid: record.lid, guards: [guardKey(view, record)] }, facts))
  },
}
