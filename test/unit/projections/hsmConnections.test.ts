import { describe, expect, test } from 'vitest'
import { checkGuards } from '../../../projections/guards.ts'
import { mayPlaceOn } from '../../../projections/hsmConnections.ts'
import { eventOf, fold, keyCreated, lidOf } from '../../fixtures/history.ts'

const created = (name: string, scope_owner?: string) =>
  eventOf('HsmConnectionCreated', {
    name,
    lib_path: '/usr/lib/x.so',
    token_label: name,
    pin_ref: 'pin',
    ...(scope_owner === undefined ? {} : { scope_owner }),
    handle_key: 'made',
  })
const deleted = (name: string) => eventOf('HsmConnectionDeleted', { name })
const on = (backend: string) => ({ material: { backend, sealed_handle: Buffer.from([1]) } })
const rotated = (n: number, version: number, backend: string) =>
  eventOf('KeyRotated', { lid: lidOf(n), version, cause: 'request', ...on(backend) })

describe('HSM connections', () => {
  test('are there until they are deleted, and remembered after that', () => {
    const view = fold([created('b'), created('a'), deleted('b')])
    expect([...view.hsmConnections.byName.keys()]).toEqual(['a'])
    expect([...view.hsmConnections.deleted.keys()]).toEqual(['b'])
    expect(view.hsmConnections.names.flat()).toEqual(['a'])
  })

  test.each([
    ['made twice', [created('a'), created('a')]],
    ['made again after it was deleted', [created('a'), deleted('a'), created('a')]],
    ['deleted without being there', [deleted('a')]],
    ['deleted twice', [created('a'), deleted('a'), deleted('a')]],
  ])('a history in which one is %s contradicts itself', (_name, history) => {
    expect(() => fold(history)).toThrow(/HSM connection a/)
  })

  test('are open to their owner, or to all; never to the service itself if they have an owner', () => {
    const { hsmConnections } = fold([created('own', 'alice'), created('open')])
    const may = (name: string) => ['alice', 'bob', undefined].map((id) => mayPlaceOn(hsmConnections, name, id))
    expect(may('own')).toEqual([true, false, false])
    expect(may('open')).toEqual([true, true, true])
    expect(may('none')).toEqual([false, false, false])
  })
})

describe('material by backend', () => {
  test('counts every version that is not destroyed, wherever its key is in its life', () => {
    const history = [keyCreated(1, on('a')), keyCreated(2, on('a')), rotated(1, 2, 'b')]
    const counts = (events: Parameters<typeof fold>[0]) => fold(events).keys.material.toObject()
    expect(counts(history)).toEqual({ a: 2, b: 1 })
    const started = [...history, eventOf('KeyVersionDestructionStarted', { lid: lidOf(1), version: 1 })]
    expect(counts(started)).toEqual({ a: 2, b: 1 })
    const gone = [...started, eventOf('KeyVersionDestroyed', { lid: lidOf(1), version: 1, confirmed: true })]
    expect(counts(gone)).toEqual({ a: 1, b: 1 })
    const pending = eventOf('KeyDeletionScheduled', { lid: lidOf(2), deletion_at: 1, cascade: false, affected: 0 })
    const going = [...gone, pending, eventOf('KeyDestructionStarted', { lid: lidOf(2) })]
    expect(counts(going)).toEqual({ a: 1, b: 1 })
    expect(counts([...going, eventOf('KeyDestroyed', { lid: lidOf(2), confirmed: [1] })])).toEqual({ b: 1 })
  })

  test('stands in the way of deleting a connection', () => {
    const view = fold([created('a'), keyCreated(1, on('a'))])
    expect(checkGuards(view, [{ kind: 'backendUnused', backend: 'a' }])?.code).toBe('KEY_HAS_DEPENDENTS')
    expect(checkGuards(view, [{ kind: 'backendUnused', backend: 'b' }])).toBeUndefined()
  })
})
