import { Set as ImmutableSet } from 'immutable'
import { LIMITS } from '../schemas/limits.ts'
import type { Lid } from '../src/core/instruction.ts'
import type { KeyRecord, RotationDays } from './keys.ts'

/** Days of policies and grace periods: 24 hours, whatever the clocks of a place do. */
export const DAY_MS = 24 * 3600 * 1000

/**
 * When a policy in force next adds a version: a whole interval after the current one was made. Nothing if there is no
 * such policy, or if the key has all the versions it may have, or is destroyed.
 */
export const findNextRotationMs = ({ rotation, versions, currentVersion, state }: KeyRecord): number | undefined => {
  const { enabled, intervalDays } = rotation
  if (!enabled || intervalDays === undefined || state === 'destroyed' || versions.length >= LIMITS.keyVersionsMax)
    return undefined
  const current = versions.find(({ version }) => version === currentVersion)
  return current && current.createdAtMs + intervalDays * DAY_MS
}

const findDay = (record: KeyRecord | undefined): number | undefined => {
  const nextMs = record && findNextRotationMs(record)
  return nextMs === undefined ? undefined : Math.floor(nextMs / DAY_MS)
}

/** The days after a key has changed. */
export const moveRotation = (days: RotationDays, before: KeyRecord | undefined, after: KeyRecord): RotationDays => {
  const [from, to] = [findDay(before), findDay(after)]
  if (from === to) return days
  const left = from === undefined ? days : remove(days, from, after.lid)
  return to === undefined ? left : left.update(to, ImmutableSet<Lid>(), (lids) => lids.add(after.lid))
}

/** Days that are over leave nothing behind. */
const remove = (days: RotationDays, day: number, lid: Lid): RotationDays => {
  const left = days.get(day)?.delete(lid)
  return left === undefined || left.size === 0 ? days.delete(day) : days.set(day, left)
}

/** The keys whose day has come, in no order; of the day that runs some are not due yet. */
export function* walkRotations(days: RotationDays, nowMs: number): Generator<Lid> {
  const today = Math.floor(nowMs / DAY_MS)
  for (const [day, lids] of days) if (day <= today) yield* lids
}
