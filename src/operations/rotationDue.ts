import type { KeyRecord } from '../../projections/keys.ts'
import { countEncrypted } from '../../projections/usage.ts'
import type { View } from '../../projections/view.ts'
import type { RotationCause } from '../../schemas/keys.ts'
import { LIMITS } from '../../schemas/limits.ts'
import type { Duty } from './duty.ts'
import { findNextRotationMs } from './keyBody.ts'
import { type Facts, guardKey, planRecord } from './operation.ts'
import { planRotation } from './rotateKey.ts'
import { findUsableState } from './use.ts'

/** Half of the budget: from here on it is time to rotate. */
const isHalfUsed = (count: number, { messagesPerVersionMax }: Facts): boolean => count >= messagesPerVersionMax / 2

/** Why a key with a policy in force is to rotate now, if it is. One that may not produce waits until it may again. */
const findCause = (view: View, record: KeyRecord, facts: Facts): RotationCause | undefined => {
  if (!record.rotation.enabled || record.versions.length >= LIMITS.keyVersionsMax) return undefined
  if (!findUsableState(view, record, 'produce').ok) return undefined
  if (isHalfUsed(countEncrypted(view.usage, record.lid, record.currentVersion), facts)) return 'budget'
  const nextMs = findNextRotationMs(record)
  return nextMs !== undefined && nextMs <= facts.nowMs ? 'schedule' : undefined
}

/** The keys to rotate, the one that waits longest first. However many intervals were missed, each rotates once. */
const listDue = (view: View, facts: Facts): readonly KeyRecord[] =>
  [...view.keys.rotating]
    .flatMap((lid) => view.keys.byLid.get(lid) ?? [])
    .filter((record) => findCause(view, record, facts) !== undefined)
    .sort((a, b) => (findNextRotationMs(a) ?? 0) - (findNextRotationMs(b) ?? 0))

/** Rotates keys whose policy says so, spread over time when many fall due together. */
export const rotateDue: Duty = {
  name: 'RotateKey',
  findDue: (view, facts) => listDue(view, facts).map(({ lid }) => lid),
  plan(subject, view, facts) {
    const record = view.keys.byLid.get(subject)
    const cause = record && findCause(view, record, facts)
    if (record === undefined || cause === undefined) return undefined
    const plan = planRotation(view, facts, record, cause)
    return plan.ok ? plan.value : undefined
  },
  // A thousand take eleven minutes; of more than that, all are done within half a day.
  paceMs: (view, facts) =>
    Math.min(LIMITS.rotationPaceMs, LIMITS.rotationSpreadMsMax / Math.max(1, listDue(view, facts).length)),
}

/** Warns, once a version, that half of its budget is used. */
export const warnOfBudget: Duty = {
  name: 'WarnOfBudget',
  *findDue(view, facts) {
    for (const [name, count] of view.usage.encrypted)
      if (isHalfUsed(count, facts) && !view.usage.warned.has(name)) yield name
  },
  plan(subject, view, facts) {
    const [lid = '', number = ''] = subject.split('/')
    const record = view.keys.byLid.get(lid)
    const version = Number(number)
    const count = countEncrypted(view.usage, lid, version)
    if (record === undefined || view.usage.warned.has(subject) || !isHalfUsed(count, facts)) return undefined
    return planRecord([guardKey(view, record)], () => ({
      event: { type: 'BudgetWarned', data: { lid, version, count } },
      resources: [{ lid: record.lid, version }],
      toReply: () => ({}),
    }))
  },
}
