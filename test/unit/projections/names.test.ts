import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { countAliases } from '../../../projections/aliases.ts'
import { checkGuards } from '../../../projections/guards.ts'
import {
  countNames,
  insertName,
  NO_NAMES,
  removeName,
  type SortedNames,
  walkNames,
} from '../../../projections/names.ts'
import type { Event } from '../../../schemas/events.ts'
import { eventOf, fold, keyCreated, lidOf } from '../../fixtures/history.ts'
import { toPlain } from '../../fixtures/plainView.ts'

const insertAll = (names: Iterable<string>): SortedNames => [...names].reduce(insertName, NO_NAMES)

describe('names in order', () => {
  const name = fc.string({ unit: fc.constantFrom('a', 'b', 'Z', '0', '/', '_', '-'), minLength: 1, maxLength: 4 })

  test('are the set that was put in and taken out, from any name on', () => {
    fc.assert(
      fc.property(fc.uniqueArray(name), fc.nat(20), name, (all, takenOut, first) => {
        const kept = all.slice(takenOut)
        const names = all.slice(0, takenOut).reduce(removeName, insertAll(all))
        expect([...walkNames(names, first)]).toEqual([...kept].sort().filter((one) => one >= first))
        expect(countNames(names)).toBe(kept.length)
      }),
    )
  })

  test('stay in order over many chunks, and none grows without bound', () => {
    const all = Array.from({ length: 5_000 }, (_, n) => String((n * 7919) % 5_000).padStart(4, '0'))
    const names = insertAll(all)
    expect([...walkNames(names, '')]).toEqual([...all].sort())
    expect([...walkNames(names, '4998x')]).toEqual(['4999'])
    expect(Math.max(...names.map((chunk) => chunk.length))).toBeLessThanOrEqual(512)
    expect(all.reduce(removeName, names)).toEqual(NO_NAMES)
  })

  test('share with the value before all chunks but one', () => {
    const before = insertAll(Array.from({ length: 2_000 }, (_, n) => String(n).padStart(4, '0')))
    const after = insertName(before, '1000a')
    expect(after.filter((chunk) => before.includes(chunk)).length).toBe(before.length - 1)
  })

  test('refuse a name twice, and to lose one that is not there', () => {
    expect(() => insertName(insertAll(['a']), 'a')).toThrow('a is among')
    expect(() => removeName(insertAll(['a']), 'b')).toThrow('b is not among')
    expect(() => removeName(NO_NAMES, 'b')).toThrow('b is not among')
  })
})

const created = (name: string, n: number) => eventOf('AliasCreated', { name: `alias/${name}`, lid: lidOf(n) })
const updated = (name: string, n: number) => eventOf('AliasUpdated', { name: `alias/${name}`, lid: lidOf(n) })
const deleted = (name: string, n: number) => eventOf('AliasDeleted', { name: `alias/${name}`, lid: lidOf(n) })
const KEYS = [keyCreated(1), keyCreated(2)]

describe('the fold of aliases', () => {
  test('keeps the time a name was made when it is pointed elsewhere, and nothing of one that is deleted', () => {
    const view = fold([...KEYS, created('a', 1), updated('a', 2)])
    expect(view.aliases.byName.get('alias/a')).toEqual({
      name: 'alias/a',
      lid: lidOf(2),
      createdAtMs: 3000,
      updatedAtMs: 4000,
    })
    expect([1, 2].map((n) => countAliases(view.aliases, lidOf(n)))).toEqual([0, 1])
    const empty = fold([deleted('a', 2)], view).aliases
    expect([empty.byName.size, empty.byKey.size, empty.names]).toEqual([0, 0, NO_NAMES])
  })

  test('agrees with a map of names whatever happens, and so does a rebuilt prefix with the rest', () => {
    const step = fc.record({
      name: fc.constantFrom('a', 'b', 'c', 'd'),
      key: fc.constantFrom(1, 2),
      gone: fc.boolean(),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), fc.nat(30), (steps, at) => {
        const model = new Map<string, number>()
        const events = steps.flatMap(({ name, key, gone }): Event[] => {
          const before = model.get(name)
          if (gone) model.delete(name)
          else model.set(name, key)
          if (before === undefined) return gone ? [] : [created(name, key)]
          return [gone ? deleted(name, before) : updated(name, key)]
        })
        const whole = fold([...KEYS, ...events])
        const { aliases } = whole
        expect([...walkNames(aliases.names, '')]).toEqual([...model.keys()].sort().map((name) => `alias/${name}`))
        for (const key of [1, 2]) {
          const own = [...model].flatMap(([name, of]) => (of === key ? [`alias/${name}`] : [])).sort()
          expect([...walkNames(aliases.byKey.get(lidOf(key)) ?? NO_NAMES, '')]).toEqual(own)
          for (const name of own) expect(aliases.byName.get(name)?.lid).toBe(lidOf(key))
        }
        const parts = fold(events.slice(at), fold([...KEYS, ...events.slice(0, at)]))
        expect(toPlain(parts.aliases.byName)).toEqual(toPlain(aliases.byName))
        expect(parts.aliases.names.flat()).toEqual(aliases.names.flat())
      }),
    )
  })

  test.each([
    ['a name made twice', [created('a', 1), created('a', 2)]],
    ['a change of a name that does not exist', [updated('a', 1)]],
    ['a name deleted twice', [created('a', 1), deleted('a', 1), deleted('a', 1)]],
  ])('stops at history that contradicts itself: %s', (_name, events) => {
    expect(() => fold([...KEYS, ...events])).toThrow(/alias\/a/)
  })
})

describe('guards about names', () => {
  const view = fold([...KEYS, created('a', 1)])
  test.each([
    ['a free name that is free', { kind: 'alias', name: 'alias/b' }, undefined],
    ['a free name that is taken', { kind: 'alias', name: 'alias/a' }, 'ALREADY_EXISTS'],
    ['a name that still stands for its key', { kind: 'alias', name: 'alias/a', lid: lidOf(1) }, undefined],
    ['a name that stands for another', { kind: 'alias', name: 'alias/a', lid: lidOf(2) }, 'REVISION_CONFLICT'],
    ['a name that is gone', { kind: 'alias', name: 'alias/b', lid: lidOf(1) }, 'REVISION_CONFLICT'],
    ['room for one more', { kind: 'aliasRoom', lid: lidOf(1), aliasesMax: 2 }, undefined],
    ['no room', { kind: 'aliasRoom', lid: lidOf(1), aliasesMax: 1 }, 'INVALID_REQUEST'],
  ] as const)('%s', (_name, guard, code) => {
    expect(checkGuards(view, [guard])?.code).toBe(code)
  })
})
