import { listAncestors, walkDescendants } from '../../projections/hierarchy.ts'
import type { KeyRecord, KeyVersionRecord } from '../../projections/keys.ts'
import type { View } from '../../projections/view.ts'
import type { Instruction } from '../core/instruction.ts'
import { must } from '../core/result.ts'
import type { Duty } from './duty.ts'
import { type Facts, guardKey, type PlanAs, planInstruction, planRecord, type RecordedAs } from './operation.ts'
import { toMaterial } from './use.ts'

type Event = RecordedAs<object>['event']

/** Whether the time of the key itself has come, or that of an ancestor that takes it along. */
const isDue = (view: View, record: KeyRecord, nowMs: number): boolean => {
  const isPast = ({ state, deletion }: KeyRecord) =>
    state !== 'destroyed' && deletion !== undefined && deletion.atMs <= nowMs
  return isPast(record) || listAncestors(view.keys, record).some((above) => isPast(above) && above.deletion?.cascade)
}

const isLiving = ({ state }: KeyRecord): boolean => state !== 'destroyed'

const hasLivingChildren = (view: View, record: KeyRecord): boolean =>
  (view.hierarchy.children.get(record.lid) ?? []).some((lid) => view.keys.byLid.get(lid)?.state !== 'destroyed')

/** A key on its way out and all that it takes along, as far as nothing living is below: descendants go before ancestors. */
function* walkDue(view: View, root: KeyRecord): Generator<string> {
  if (!hasLivingChildren(view, root)) return yield root.lid
  if (!root.deletion?.cascade) return
  for (const { record } of walkDescendants(view.keys, view.hierarchy, root.lid, true))
    if (isLiving(record) && !hasLivingChildren(view, record)) yield record.lid
}

const findDoomedVersion = (record: KeyRecord): KeyVersionRecord | undefined =>
  record.versions.find(({ state }) => state === 'destroying')

/**
 * The step that destroys one version in the HSM and records what the HSM confirmed. The record that it was begun is
 * durable by now, so nothing can use or bring back what is going. The last version of a key ends the key.
 */
export const planVersionDestruction = <B>(
  { record, version }: { readonly record: KeyRecord; readonly version: KeyVersionRecord },
  toReply: (folded: View) => B,
): PlanAs<B> => {
  const { lid } = record
  const instruction: Instruction & { kind: 'destroyKey' } = {
    kind: 'destroyKey',
    backend: version.backend,
    key: toMaterial(record, version),
  }
  const isLast =
    record.state === 'destroying' && record.versions.every((one) => one === version || one.state === 'destroyed')
  const toEvent = (destroyed: boolean): Event =>
    isLast
      ? { type: 'KeyDestroyed', data: { lid, confirmed: destroyed ? [version.version] : [] } }
      : { type: 'KeyVersionDestroyed', data: { lid, version: version.version, confirmed: destroyed } }
  // No other guard: what the HSM has confirmed is recorded, whatever became of the key or its ancestors meanwhile.
  return planInstruction(instruction, [{ kind: 'doomed', lid, version: version.version }], ({ destroyed }) => ({
    event: toEvent(destroyed),
    resources: [{ lid, version: version.version }],
    toReply,
  }))
}

/** Nobody waits for what a duty does. */
const NO_REPLY = () => ({})

const planStart = (view: View, record: KeyRecord): PlanAs<object> =>
  planRecord([guardKey(view, record)], () => ({
    event: { type: 'KeyDestructionStarted', data: { lid: record.lid } },
    resources: [{ lid: record.lid }],
    toReply: NO_REPLY,
  }))

const planNext = (view: View, record: KeyRecord, nowMs: number): PlanAs<object> | undefined => {
  const doomed = findDoomedVersion(record)
  if (doomed !== undefined) return planVersionDestruction({ record, version: doomed }, NO_REPLY)
  must(record.state !== 'destroying', `key ${record.lid} is being destroyed and has no version left`)
  return isDue(view, record, nowMs) && !hasLivingChildren(view, record) ? planStart(view, record) : undefined
}

/** Destroys what is to be destroyed, step by step: each record makes the next step due, whoever writes then. */
export const destroyDue: Duty = {
  name: 'DestroyKey',
  needsTrueTime: true,
  *findDue(view, { nowMs }: Facts) {
    for (const lid of view.keys.doomed) {
      const record = view.keys.byLid.get(lid)
      if (record === undefined) continue
      if (findDoomedVersion(record) !== undefined) yield lid
      else if (isDue(view, record, nowMs)) yield* walkDue(view, record)
    }
  },
  plan(subject, view, { nowMs }) {
    const record = view.keys.byLid.get(subject)
    return record === undefined || !isLiving(record) ? undefined : planNext(view, record, nowMs)
  },
}
