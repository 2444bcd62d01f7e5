import fc from 'fast-check'
import { is } from 'immutable'
import { describe, expect, test } from 'vitest'
import { checkGuards } from '../../../projections/guards.ts'
import { countAffected, findEffectiveState, listAncestors, walkDescendants } from '../../../projections/hierarchy.ts'
import { findSlot } from '../../../projections/idempotency.ts'
import { countEncrypted } from '../../../projections/usage.ts'
import type { View } from '../../../projections/view.ts'
import type { Event } from '../../../schemas/events.ts'
import { LIMITS } from '../../../schemas/limits.ts'
import { eventOf, fold, keyCreated, keyGuard, lidOf } from '../../fixtures/history.ts'

const child = (n: number, parent: number) => keyCreated(n, { parent: lidOf(parent) })
const disabled = (n: number) => eventOf('KeyDisabled', { lid: lidOf(n), affected: 0 })
const enabled = (n: number) => eventOf('KeyEnabled', { lid: lidOf(n), affected: 0 })
const encrypted = (n: number) => eventOf('DataEncrypted', { lid: lidOf(n), version: 1 })

const recordOf = (view: View, n: number) => {
  const record = view.keys.byLid.get(lidOf(n))
  if (record === undefined) throw new Error(`no key ${n}`)
  return record
}
const effectiveOf = (view: View, n: number) => findEffectiveState(view.keys, recordOf(view, n))

const FAMILY = [keyCreated(1), child(2, 1), child(3, 2), child(4, 1)]

describe('invariant 8: cascade disable', () => {
  test('a grandchild is locked by its root, whatever the state of the key between', () => {
    for (const middle of [[], [disabled(2)]]) {
      const view = fold([...FAMILY, ...middle, disabled(1)])
      expect(effectiveOf(view, 3).state).toBe('disabled')
    }
  })
  test('enabling the root restores exactly what it had locked', () => {
    const view = fold([...FAMILY, disabled(2), disabled(1), enabled(1)])
    expect([1, 2, 3, 4].map((n) => effectiveOf(view, n).state)).toEqual(['enabled', 'disabled', 'disabled', 'enabled'])
  })
  test('locked_by names the ancestor that decides, and nothing for the key itself', () => {
    const view = fold([...FAMILY, disabled(1)])
    expect(effectiveOf(view, 3).lockedBy).toBe(lidOf(1))
    expect(effectiveOf(view, 1).lockedBy).toBeUndefined()
  })
  test('disabling is one event that changes one record, however many keys are below', () => {
    const before = fold([keyCreated(1), ...Array.from({ length: 100 }, (_, i) => child(i + 2, 1))])
    const after = fold([disabled(1)], before)
    const changed = [...after.keys.byLid].filter(([lid, record]) => before.keys.byLid.get(lid) !== record)
    expect(changed.length).toBe(1)
    expect(countAffected(before, recordOf(before, 1), 'disabled')).toBe(100)
  })
  test('descendants below a disabled key are not counted as affected', () => {
    const view = fold([...FAMILY, disabled(2)])
    expect(countAffected(view, recordOf(view, 1), 'disabled')).toBe(1)
  })
})

describe('the hierarchy', () => {
  test('walks children only, or all descendants with their depth', () => {
    const view = fold(FAMILY)
    const walk = (recursive: boolean) =>
      [...walkDescendants(view.keys, view.hierarchy, lidOf(1), recursive)].map(({ record, depth }) => [
        record.lid,
        depth,
      ])
    expect(walk(false)).toEqual([
      [lidOf(2), 1],
      [lidOf(4), 1],
    ])
    expect(walk(true)).toEqual([
      [lidOf(2), 1],
      [lidOf(4), 1],
      [lidOf(3), 2],
    ])
  })
  test('lists ancestors nearest first', () => {
    const view = fold(FAMILY)
    expect(listAncestors(view.keys, recordOf(view, 3)).map(({ lid }) => lid)).toEqual([lidOf(2), lidOf(1)])
  })
})

describe('guards', () => {
  const view = fold([...FAMILY, disabled(1)])
  test.each([
    ['a key that is as it was', keyGuard(1, 2, 'disabled'), undefined],
    ['a key that was locked meanwhile, to encrypt', keyGuard(3, 1, 'enabled', 'produce'), 'KEY_NOT_USABLE'],
    ['a key that was locked meanwhile, to decrypt', keyGuard(3, 1, 'enabled', 'consume'), 'KEY_NOT_USABLE'],
    ['a key that was locked meanwhile, as a parent', keyGuard(3, 1, 'enabled', 'parent'), 'PARENT_NOT_USABLE'],
    ['a key that was locked meanwhile, to describe it', keyGuard(3, 1, 'enabled'), 'REVISION_CONFLICT'],
    ['a key that changed meanwhile', keyGuard(1, 1, 'disabled'), 'REVISION_CONFLICT'],
    ['a key that is not there', keyGuard(9, 1, 'enabled'), 'KEY_NOT_FOUND'],
  ])('%s', (_name, guard, code) => {
    expect(checkGuards(view, [guard])?.code).toBe(code)
  })
  test('a lock that was lifted meanwhile is a conflict, not a refusal of use', () => {
    expect(checkGuards(fold([enabled(1)], view), [keyGuard(3, 1, 'disabled')])?.code).toBe('REVISION_CONFLICT')
  })
  test('the first that fails decides', () => {
    expect(checkGuards(view, [keyGuard(3, 1, 'enabled', 'produce'), keyGuard(9, 1, 'enabled')])?.code).toBe(
      'KEY_NOT_USABLE',
    )
  })
})

describe('invariant 13: nonce budget', () => {
  test('encryptions, data keys and re-encryptions to a version are counted, in ledger order', () => {
    const view = fold([
      ...FAMILY,
      encrypted(1),
      eventOf('DataKeyGenerated', { lid: lidOf(1), version: 1, bytes: 32, plaintext_returned: true }),
      eventOf('DataReEncrypted', { source: { lid: lidOf(2), version: 1 }, destination: { lid: lidOf(1), version: 1 } }),
      eventOf('DataDecrypted', { lid: lidOf(1), version: 1 }),
    ])
    expect(countEncrypted(view.usage, lidOf(1), 1)).toBe(3)
    expect(countEncrypted(view.usage, lidOf(2), 1)).toBe(0)
  })
  test('the message after the last of the budget is refused', () => {
    const budget = (messagesMax: number) =>
      checkGuards(fold([keyCreated(1), encrypted(1)]), [{ kind: 'budget', lid: lidOf(1), version: 1, messagesMax }])
    expect(budget(2)).toBeUndefined()
    expect(budget(1)?.code).toBe('KEY_EXHAUSTED')
    expect(LIMITS.gcmMessagesPerVersionMax).toBeLessThan(2 ** 32)
  })
})

describe('idempotency slots', () => {
  const slot = Buffer.alloc(32, 1)
  const claim = { idempotency: { slot, body: Buffer.alloc(32, 2) } }
  const hex = slot.toString('hex')
  test('are held for 24 hours of commit time by the success that claimed them', () => {
    const view = fold([keyCreated(1, claim)])
    expect(findSlot(view.idempotency, hex, 1000 + LIMITS.idempotencyWindowMs - 1)?.lid).toBe(lidOf(1))
    expect(findSlot(view.idempotency, hex, 1000 + LIMITS.idempotencyWindowMs)).toBeUndefined()
  })
  test('leave memory once they have expired', () => {
    const view = fold([keyCreated(1, claim)])
    const late = fold([], { ...view, at: { ...view.at, seq: 10 ** 6 } })
    const after = fold([keyCreated(2, { idempotency: { slot: Buffer.alloc(32, 3), body: slot } })], late)
    expect(after.idempotency.bySlot.size).toBe(1)
    expect(after.idempotency.order.size).toBe(1)
  })
})

describe('the fold', () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('create' as const), parent: fc.option(fc.nat(8)) }),
    fc.record({ kind: fc.constant('toggle' as const), key: fc.nat(8) }),
    fc.record({ kind: fc.constant('use' as const), key: fc.nat(8) }),
  )
  const toEvents = (steps: readonly (typeof step extends fc.Arbitrary<infer S> ? S : never)[]): Event[] => {
    const on: boolean[] = []
    return steps.flatMap((one): Event[] => {
      if (one.kind === 'create') {
        on.push(true)
        const parent = one.parent !== null && one.parent < on.length - 1 ? { parent: lidOf(one.parent) } : {}
        return [keyCreated(on.length - 1, parent)]
      }
      if (one.key >= on.length) return []
      if (one.kind === 'use') return [encrypted(one.key)]
      on[one.key] = !on[one.key]
      return [on[one.key] ? enabled(one.key) : disabled(one.key)]
    })
  }
  test('a rebuilt prefix and the rest give the same as all at once', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), fc.nat(40), (steps, at) => {
        const events = toEvents(steps)
        const whole = fold(events)
        const parts = fold(events.slice(at), fold(events.slice(0, at)))
        expect(
          is(
            parts.keys.byLid.map((record) => JSON.stringify(record)),
            whole.keys.byLid.map((record) => JSON.stringify(record)),
          ),
        ).toBe(true)
        expect(is(parts.hierarchy.children, whole.hierarchy.children)).toBe(true)
        expect(is(parts.usage.encrypted, whole.usage.encrypted)).toBe(true)
        expect(parts.at).toEqual(whole.at)
      }),
    )
  })
  test.each([
    ['a key made twice', [keyCreated(1), keyCreated(1)]],
    ['a parent that does not exist', [child(1, 2)]],
    ['a change of a key that does not exist', [disabled(1)]],
    ['a state entered twice', [keyCreated(1), disabled(1), disabled(1)]],
  ])('stops at history that contradicts itself: %s', (_name, events) => {
    expect(() => fold(events)).toThrow(/lid_/)
  })
})
