import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { findNextRotationMs, walkRotations } from '../../../projections/rotation.ts'
import { countEncrypted, toVersionKey, walkBusy } from '../../../projections/usage.ts'
import type { View } from '../../../projections/view.ts'
import type { Event } from '../../../schemas/events.ts'
import { LIMITS } from '../../../schemas/limits.ts'
import { eventOf, fold, keyCreated, lidOf } from '../../fixtures/history.ts'

const DAY_MS = 24 * 3600 * 1000
const material = { backend: 'main', sealed_handle: Buffer.from([1]) }
const rotated = (n: number, version: number) =>
  eventOf('KeyRotated', { lid: lidOf(n), version, material, cause: 'request' })
const policy = (n: number, enabled: boolean, interval_days?: number) =>
  eventOf('RotationPolicySet', { lid: lidOf(n), enabled, ...(interval_days === undefined ? {} : { interval_days }) })
const encrypted = (n: number, version: number) => eventOf('DataEncrypted', { lid: lidOf(n), version })
const started = (n: number, version: number) => eventOf('KeyVersionDestructionStarted', { lid: lidOf(n), version })
const gone = (n: number, version: number) => eventOf('KeyVersionDestroyed', { lid: lidOf(n), version, confirmed: true })
const minimum = (n: number, version: number) => eventOf('MinDecryptionVersionSet', { lid: lidOf(n), version })
const toDestroyed = (n: number): Event[] => [
  eventOf('KeyDestructionStarted', { lid: lidOf(n) }),
  eventOf('KeyDestroyed', { lid: lidOf(n), confirmed: [1] }),
]

const nextOf = (view: View, n: number) => {
  const record = view.keys.byLid.get(lidOf(n))
  return record && findNextRotationMs(record)
}

/** What the index must say, found by looking at every key. */
const listDueSlowly = (view: View, nowMs: number) =>
  [...view.keys.byLid.values()]
    .filter((record) => (findNextRotationMs(record) ?? Number.POSITIVE_INFINITY) <= nowMs)
    .map(({ lid }) => lid)
    .sort()

const listDue = (view: View, nowMs: number) =>
  [...walkRotations(view.keys.rotating, nowMs)]
    .filter((lid) => {
      const record = view.keys.byLid.get(lid)
      return record !== undefined && (findNextRotationMs(record) ?? Number.POSITIVE_INFINITY) <= nowMs
    })
    .sort()

const listBusySlowly = (view: View, messages: number) =>
  [...view.keys.byLid.values()]
    .filter(({ lid, currentVersion }) => countEncrypted(view.usage, lid, currentVersion) >= messages)
    .map(({ lid, currentVersion }) => toVersionKey(lid, currentVersion))
    .sort()

/** Any history of four keys in which nothing contradicts itself. */
const histories = fc
  .array(
    fc.record({
      n: fc.nat(3),
      kind: fc.constantFrom('use', 'use', 'use', 'rotate', 'set', 'stop', 'destroy'),
      days: fc.integer({ min: 1, max: 5 }),
    }),
    { maxLength: 60 },
  )
  .map((steps) => {
    const versions = [1, 1, 1, 1]
    const events: Event[] = [0, 1, 2, 3].map((n) => keyCreated(n))
    for (const { n, kind, days } of steps) {
      const version = versions[n]
      if (version === undefined) continue
      if (kind === 'use') events.push(encrypted(n, version))
      else if (kind === 'set') events.push(policy(n, true, days))
      else if (kind === 'stop') events.push(policy(n, false))
      else if (kind === 'rotate') {
        versions[n] = version + 1
        events.push(rotated(n, version + 1))
      } else if (days === 5) {
        delete versions[n]
        events.push(...toDestroyed(n))
      }
    }
    return events
  })

describe('the days of rotation', () => {
  test('name every key whose policy wants a version by then, after any history', () => {
    fc.assert(
      fc.property(histories, fc.integer({ min: 0, max: 7 * DAY_MS }), (events, nowMs) => {
        const view = fold(events)
        expect(listDue(view, nowMs)).toEqual(listDueSlowly(view, nowMs))
      }),
    )
  })

  test('forget the days that are over', () => {
    const view = fold([keyCreated(1), policy(1, true, 1), rotated(1, 2), policy(1, true, 3), policy(1, false)])
    expect(view.keys.rotating.size).toBe(0)
  })

  test('count from the newest version, and stop when the policy does or the key has all its versions', () => {
    const view = fold([keyCreated(1), policy(1, true, 2)])
    expect(nextOf(view, 1)).toBe(1000 + 2 * DAY_MS)
    expect(nextOf(fold([rotated(1, 2)], view), 1)).toBe(3000 + 2 * DAY_MS)
    expect(nextOf(fold([policy(1, false)], view), 1)).toBeUndefined()
    expect(nextOf(fold([policy(1, false), policy(1, true)], view), 1)).toBe(1000 + 2 * DAY_MS)
    const all = Array.from({ length: LIMITS.keyVersionsMax - 1 }, (_, at) => rotated(1, at + 2))
    expect(nextOf(fold(all, view), 1)).toBeUndefined()
  })
})

describe('the busiest versions', () => {
  test('are those current ones that have encrypted so much, after any history', () => {
    fc.assert(
      fc.property(histories, fc.integer({ min: 1, max: 12 }), (events, messages) => {
        const view = fold(events)
        expect([...walkBusy(view.usage, messages)].sort()).toEqual(listBusySlowly(view, messages))
      }),
    )
  })

  test('are found among many by looking at few', () => {
    const quiet = Array.from({ length: 200 }, (_, n) => [keyCreated(n), encrypted(n, 1)]).flat()
    const view = fold([...quiet, ...Array.from({ length: 63 }, () => encrypted(7, 1))])
    const looked = [...view.usage.busy].filter(([power]) => power >= 5).map(([, names]) => names.size)
    expect([looked, [...walkBusy(view.usage, 64)]]).toEqual([[1], [toVersionKey(lidOf(7), 1)]])
  })
})

test.each([
  ['a version that skips a number', [rotated(1, 3)]],
  ['the current version destroyed alone', [started(1, 1)]],
  ['a version destroyed that nobody began to destroy', [rotated(1, 2), gone(1, 1)]],
  ['a version destroyed twice', [rotated(1, 2), started(1, 1), gone(1, 1), gone(1, 1)]],
  ['a version that never was destroyed', [started(1, 9)]],
  ['a minimum that is lowered', [rotated(1, 2), minimum(1, 2), minimum(1, 1)]],
  ['a minimum above the current version', [minimum(1, 2)]],
])('the fold stops at history that contradicts itself: %s', (_name, events) => {
  expect(() => fold([keyCreated(1), ...events])).toThrow(/lid_/)
})
