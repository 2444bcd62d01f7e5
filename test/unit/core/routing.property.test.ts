import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { RoutingEntry } from '../../../schemas/routing.ts'
import type { Attributes } from '../../../src/core/canonical.ts'
import { lint, namespace, route, under } from '../../fixtures/routingRules.ts'

const pattern = fc
  .array(fc.constantFrom('a', 'b', '*'), { maxLength: 3 })
  .map((parts) => parts.join('').replace(/\*+/g, '*'))
const match = fc.dictionary(fc.constantFrom('p', 'q'), pattern, { noNullPrototype: true })
const rules = fc
  .array(match, { maxLength: 5 })
  .map((all) => all.map((one, index): RoutingEntry => under(`rule-${index}`, one)))
const value = fc.array(fc.constantFrom('a', 'b'), { maxLength: 4 }).map((letters) => letters.join(''))
const attributes = fc.dictionary(fc.constantFrom('p', 'q'), value)

const matches = (entry: RoutingEntry, of: Attributes): boolean => route([entry], of).kind === 'placed'

describe('laws of routing', () => {
  test('in what order rules are written is of no consequence', () => {
    fc.assert(
      fc.property(rules, fc.array(attributes, { minLength: 1, maxLength: 5 }), fc.nat(), (all, keys, turn) => {
        fc.pre(lint(all).length === 0)
        const at = all.length === 0 ? 0 : turn % all.length
        const turned = [...all.slice(at), ...all.slice(0, at)].reverse()
        expect(lint(turned)).toEqual([])
        const place = (order: readonly RoutingEntry[], key: Attributes) => {
          const verdict = route(order, key)
          return verdict.kind === 'placed' ? verdict.parent : verdict.kind
        }
        for (const key of keys) expect(place(turned, key)).toBe(place(all, key))
      }),
      { numRuns: 1_000 },
    )
  })

  test('a rule decides only if it matches, and no rule that matches fewer keys does too', () => {
    // Every text of two letters up to three long, for both attributes: all that the rules can tell apart, or nearly.
    const texts = [
      '',
      ...['a', 'b'].flatMap((x) => [x, ...['a', 'b'].flatMap((y) => [x + y, `${x}${y}a`, `${x}${y}b`])]),
    ]
    const keys: readonly Attributes[] = texts.flatMap((p) => [{ p }, { q: p }, ...texts.map((q) => ({ p, q }))])
    fc.assert(
      fc.property(rules, attributes, (all, key) => {
        fc.pre(lint(all).length === 0)
        const verdict = route(all, key)
        const chosen = verdict.kind === 'placed' ? all[verdict.by.index] : undefined
        expect(chosen !== undefined).toBe(all.some((one) => matches(one, key)))
        if (chosen === undefined) return
        expect(matches(chosen, key)).toBe(true)
        const taken = (one: RoutingEntry) => keys.filter((other) => matches(one, other))
        for (const other of all.filter((one) => one !== chosen && matches(one, key))) {
          const narrow = taken(other)
          // A rule that matches none of these keys matches longer texts only, so nothing can be said of it.
          const isNarrower =
            narrow.length > 0 && narrow.every((one) => matches(chosen, one)) && narrow.length < taken(chosen).length
          expect(isNarrower).toBe(false)
        }
      }),
      { numRuns: 300 },
    )
  })

  test('every rule that the lint accepts decides about some key', () => {
    // A letter that stands in no pattern, and long texts: what only this rule matches.
    const fill = (text: string) => text.replaceAll('*', 'zzzz')
    fc.assert(
      fc.property(rules, (all) => {
        fc.pre(lint(all).length === 0)
        for (const [index, { match: own = {} }] of all.entries()) {
          const key = Object.fromEntries(Object.entries(own).map(([name, text]) => [name, fill(String(text))]))
          expect(route(all, key)).toMatchObject({ by: { index } })
        }
      }),
      { numRuns: 1_000 },
    )
  })

  test('neither lint nor route throws, whatever a caller writes', () => {
    const text = fc.oneof(fc.string(), fc.string({ unit: fc.constantFrom('$', '{', '}', '*', '\\', 'a', '/') }))
    const entry = fc.record(
      {
        match: fc.dictionary(text, fc.oneof(text, fc.integer(), fc.boolean()), { noNullPrototype: true }),
        parent: fc.oneof(
          text,
          text.map((one) => `alias/${one}`),
        ),
        backend_id: text,
        deny: fc.string({ minLength: 1 }),
        _attachment_: fc.constantFrom('world', 'here', 'none'),
      },
      { requiredKeys: [] },
    )
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 4 }), fc.dictionary(text, text), (all, key) => {
        const findings = lint(all, { world: undefined })
        if (findings.length === 0) route(all, key, namespace('world'))
      }),
      { numRuns: 1_000 },
    )
  })
})
