import type { KeyRecord } from '../../projections/keys.ts'
import { findNextRotationMs, walkRotations } from '../../projections/rotation.ts'
import { countEncrypted, parseVersionKey, toVersionKey, walkBusy } from '../../projections/usage.ts'
import type { View } from '../../projections/view.ts'
import type { RotationCause } from '../../schemas/keys.ts'
import { LIMITS } from '../../schemas/limits.ts'
import type { Duty } from './duty.ts'
import { type Facts, guardKey, planRecord } from './operation.ts'
import { planRotation } from './rotateKey.ts'
import { findUsableState } from './use.ts'

/** Half of the budget: from here on it is time to rotate. */
const toHalf = ({ messagesPerVersionMax }: Facts): number => Math.ceil(messagesPerVersionMax / 2)

/** The current versions with half of their budget used. */
function* walkHalfUsed(view: View, facts: Facts): Generator<{ readonly name: string; readonly record: KeyRecord }> {
  for (const name of walkBusy(view.usage, toHalf(facts))) {
    const { lid, version } = parseVersionKey(name)
    const record = view.keys.byLid.get(lid)
    if (record?.currentVersion === version) yield { name, record }
  }
}

/** Why a key with a policy in force is to rotate now, if it is. One that may not produce waits until it may again. */
const findCause = (view: View, record: KeyRecord, facts: Facts): RotationCause | undefined => {
  const nextMs = findNextRotationMs(record)
  if (nextMs === undefined) return undefined
  const cause = nextMs <= facts.nowMs ? 'schedule' : isRunningOut(view, record, facts) ? 'budget' : undefined
  return cause !== undefined && findUsableState(view, record, 'produce').ok ? cause : undefined
}

/** Half used, and warned of: so that the warning always precedes the rotation. */
const isRunningOut = ({ usage }: View, { lid, currentVersion }: KeyRecord, facts: Facts): boolean =>
  usage.warned.has(toVersionKey(lid, currentVersion)) && countEncrypted(usage, lid, currentVersion) >= toHalf(facts)

interface DueKey {
  readonly lid: string
  readonly sinceMs: number
}

/** The keys to rotate, the one that waits longest first; a budget waits since now. */
const listDue = (view: View, facts: Facts): readonly DueKey[] => {
  const due = new Map<string, DueKey>()
  const consider = (record: KeyRecord | undefined) => {
    if (record === undefined || findCause(view, record, facts) === undefined) return
    due.set(record.lid, { lid: record.lid, sinceMs: Math.min(findNextRotationMs(record) ?? facts.nowMs, facts.nowMs) })
  }
  for (const lid of walkRotations(view.keys.rotating, facts.nowMs)) consider(view.keys.byLid.get(lid))
  for (const { record } of walkHalfUsed(view, facts)) consider(record)
  return [...due.values()].sort((a, b) => a.sinceMs - b.sinceMs)
}

/**
 * The pause after each of `count` keys, the first of which waits since `sinceMs`: never more than `rotationPaceMs`, and
 * short enough that those that wait longest are done within `rotationSpreadMsMax` of their time. What is later than that
 * already, as after a long downtime, gets as much time again.
 */
export const findPaceMs = (count: number, sinceMs: number, nowMs: number): number => {
  const leftMs = sinceMs + LIMITS.rotationSpreadMsMax - nowMs
  return Math.min(LIMITS.rotationPaceMs, (leftMs > 0 ? leftMs : LIMITS.rotationSpreadMsMax) / Math.max(1, count))
}

/**
 * Rotates keys whose policy says so, however many intervals were missed by one version, and spread over time when many
 * fall due together.
 */
export const rotateDue: Duty = {
  name: 'RotateKey',
  findDue(view, facts) {
    const due = listDue(view, facts)
    return {
      subjects: due.map(({ lid }) => lid),
      paceMs: findPaceMs(due.length, due[0]?.sinceMs ?? facts.nowMs, facts.nowMs),
    }
  },
  plan(subject, view, facts) {
    const record = view.keys.byLid.get(subject)
    const cause = record && findCause(view, record, facts)
    if (record === undefined || cause === undefined) return undefined
    const plan = planRotation(view, facts, record, { cause })
    return plan.ok ? plan.value : undefined
  },
}

/** Warns, once a version, that half of its budget is used. A version that was rotated away needs no warning. */
export const warnOfBudget: Duty = {
  name: 'WarnOfBudget',
  *findDue(view, facts) {
    for (const { name } of walkHalfUsed(view, facts)) if (!view.usage.warned.has(name)) yield name
  },
  plan(subject, view) {
    const { lid, version } = parseVersionKey(subject)
    const record = view.keys.byLid.get(lid)
    if (record === undefined || record.currentVersion !== version || view.usage.warned.has(subject)) return undefined
    return planRecord([guardKey(view, record)], () => ({
      event: { type: 'BudgetWarned', data: { lid, version, count: countEncrypted(view.usage, lid, version) } },
      resources: [{ lid: record.lid, version }],
      toReply: () => ({}),
    }))
  },
}
