import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import type { RoutingEntry } from '../../../schemas/routing.ts'
import type { Attributes } from '../../../src/core/canonical.ts'
import { routeKey } from '../../../src/core/routing.ts'
import { lint, namespace, route, under, world } from '../../fixtures/routingRules.ts'

describe('a rule', () => {
  test('places a key under the parent and on the backend that it names, with what it captured', () => {
    const rules = [{ match: { tenant: 'acme', env: '${env}' }, parent: 'alias/acme-${env}', backend_id: 'hsm-${env}' }]
    expect(route(rules, { tenant: 'acme', env: 'prod', other: 'free' })).toEqual({
      kind: 'placed',
      by: { namespace: 'here', revision: 1, index: 0 },
      parent: 'alias/acme-prod',
      backend: 'hsm-prod',
    })
  })

  test.each<[string, RoutingEntry['match'], Attributes]>([
    ['an attribute that is not there', { tenant: '*' }, {}],
    ['a number where text is wanted', { level: '1' }, { level: 1 }],
    ['text where a number is wanted', { level: 1 }, { level: '1' }],
    ['another truth value', { secret: true }, { secret: false }],
    ['a list', { team: 'a' }, { team: ['a'] }],
    ['a record', { team: '*' }, { team: { name: 'a' } }],
    ['a name that every object has', { constructor: '*' }, {}],
  ])('does not match %s', (_name, match, attributes) => {
    expect(route([under('x', match)], attributes)).toEqual({ kind: 'unmatched' })
  })

  test('matches numbers and truth values that are the same', () => {
    expect(route([under('x', { level: 3, secret: true })], { level: 3, secret: true }).kind).toBe('placed')
  })

  test('matches text whatever its spelling was in the rule', () => {
    expect(route([under('x', { Ame\u0301: 'Ame\u0301*' })], { 'Am\u00e9': 'Am\u00e9lie' }).kind).toBe('placed')
  })

  test('that denies says why', () => {
    const rules = [under('x'), { match: { env: 'sandbox' }, deny: 'no keys for sandboxes' }]
    expect(route(rules, { env: 'sandbox' })).toMatchObject({ kind: 'denied', reason: 'no keys for sandboxes' })
  })

  test.each(['a/b', '..', 'ä', 'a b', '${env}', 'x'.repeat(200)])(
    'is no way to another place for an attribute that reads %s',
    (env) => {
      const rules = [under('fallback'), { match: { env: '${env}' }, parent: 'alias/acme-${env}' }]
      const verdict = route(rules, { env })
      expect(verdict).toMatchObject({ kind: 'denied', by: { index: 1 } })
      expect(JSON.stringify(verdict)).not.toContain(env)
    },
  )

  test('cannot name a backend that no backend can be called', () => {
    expect(route([{ match: { env: '${env}' }, backend_id: '${env}' }], { env: 'PROD' }).kind).toBe('denied')
  })
})

describe('of several rules that match', () => {
  test.each<[string, RoutingEntry['match'], RoutingEntry['match'], Attributes]>([
    ['more attributes', { a: '*', b: '*' }, { a: 'x' }, { a: 'x', b: 'y' }],
    ['more exact attributes', { a: 'x', b: '*' }, { a: 'long-*', c: 'long*' }, { a: 'x', b: 'y', c: 'longer' }],
    ['an exact attribute', { a: 'x' }, { a: '*' }, { a: 'x' }],
    ['a longer beginning', { a: 'eu-west-*' }, { a: 'eu-*' }, { a: 'eu-west-1' }],
    ['more characters of the same attributes', { a: '${x}-1' }, { a: '${x}1' }, { a: 'eu-1' }],
    ['anything at all', { a: '*' }, {}, { a: 'x' }],
  ])('the one with %s decides, wherever it stands', (_name, specific, general, attributes) => {
    const rules = [under('specific', specific), under('general', general)]
    for (const order of [rules, [...rules].reverse()]) {
      expect(lint(order)).toEqual([])
      expect(route(order, attributes)).toMatchObject({ parent: 'alias/specific' })
    }
  })
})

describe('an attachment', () => {
  const company = namespace('company', under('company', { tenant: '*' }), { _attachment_: 'world' })
  const rest = namespace('world', under('root'))

  test('is asked where no rule matches, and what it leads to after it', () => {
    const rules = [under('team', { team: '*' }), { _attachment_: 'company' }]
    const ask = (attributes: Attributes) => {
      const { verdict, asked } = routeKey(namespace('here', ...rules), attributes, world(company, rest))
      return [
        verdict.kind === 'placed' && verdict.parent,
        verdict.kind !== 'unmatched' && verdict.by,
        asked.map(({ name }) => name),
      ]
    }
    expect(ask({ team: 'a', tenant: 'b' })).toEqual([
      'alias/team',
      { namespace: 'here', revision: 1, index: 0 },
      ['here'],
    ])
    expect(ask({ tenant: 'b' })[2]).toEqual(['here', 'company'])
    expect(ask({})).toEqual(['alias/root', { namespace: 'world', revision: 1, index: 0 }, ['here', 'company', 'world']])
  })

  test('is not asked about what a rule denies', () => {
    const rules = [{ match: { team: '*' }, deny: 'no' }, { _attachment_: 'world' }]
    expect(route(rules, { team: 'a' }, rest).kind).toBe('denied')
  })
})

describe('the example of docs/KEYS.md', () => {
  const text = readFileSync(new URL('../../../docs/KEYS.md', import.meta.url), 'utf8')
  const rules: RoutingEntry[] = JSON.parse(/```json\n(\[[^`]*)```/.exec(text)?.[1] ?? '')

  test.each<[Attributes, object]>([
    [
      { team: 'orders', env: 'prod' },
      { kind: 'placed', parent: 'alias/shop/orders', backend: 'vault' },
    ],
    [
      { team: 'orders', env: 'staging' },
      { kind: 'placed', parent: 'alias/shop/test' },
    ],
    [
      { team: 'orders', env: 'sandbox-1' },
      { kind: 'denied', reason: 'sandboxes make no keys' },
    ],
    [{ team: 'a/b', env: 'prod' }, { kind: 'denied' }],
    [{ env: 'prod' }, { kind: 'placed', by: { namespace: 'company', revision: 1, index: 0 } }],
  ])('may be registered, and places %o as it says', (attributes, verdict) => {
    expect(lint(rules, { company: undefined })).toEqual([])
    expect(route(rules, attributes, namespace('company', under('company')))).toMatchObject(verdict)
  })
})
