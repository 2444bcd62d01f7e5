import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { LIMITS } from '../../../schemas/limits.ts'
import type { RoutingEntry } from '../../../schemas/routing.ts'
import type { Attributes } from '../../../src/core/canonical.ts'
import { type Namespace, routeKey } from '../../../src/core/routing.ts'
import { describeFindings, lintNamespace } from '../../../src/core/routingLint.ts'

const namespace = (name: string, ...rules: readonly RoutingEntry[]): Namespace => ({ name, revision: 1, rules })

const world = (...all: readonly Namespace[]) => {
  const byName = new Map(all.map((one) => [one.name, one]))
  return (name: string) => byName.get(name)
}

const route = (rules: readonly RoutingEntry[], attributes: Attributes, ...others: readonly Namespace[]) =>
  routeKey(namespace('here', ...rules), attributes, world(...others)).verdict

const lint = (rules: readonly RoutingEntry[], attachments: Record<string, string | undefined> = {}, name = 'here') =>
  lintNamespace(name, rules, new Map(Object.entries(attachments))).map(({ place, problem }) => `${place}: ${problem}`)

const under = (parent: string, match: RoutingEntry['match'] = {}): RoutingEntry => ({
  match,
  parent: `alias/${parent}`,
})

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

describe('the lint finds', () => {
  test.each<[string, readonly RoutingEntry[], readonly string[]]>([
    ['nothing in no rules', [], []],
    ['a rule without a match', [{ parent: 'alias/a' }], ['rules.0: a rule has a match; {} takes every key']],
    ['a rule without a place', [{ match: {} }], ['rules.0: a rule has a parent, a backend_id or a deny']],
    [
      'a rule that places and denies',
      [{ match: {}, parent: 'alias/a', deny: 'no' }],
      ['rules.0: a rule that denies has neither parent nor backend_id'],
    ],
    [
      'an unbound variable, in each place',
      [{ match: { env: '${env}' }, parent: 'alias/${env}-${team}', backend_id: '${zone}' }],
      [
        'rules.0.parent: uses ${team}, which the match does not capture',
        'rules.0.backend_id: uses ${zone}, which the match does not capture',
      ],
    ],
    [
      'a variable bound twice',
      [{ match: { a: '${x}', b: '${x}' }, parent: 'alias/${x}' }],
      ['rules.0.match.b: captures ${x} a second time'],
    ],
    [
      'a parent that is no key id',
      [{ match: { a: '${x}' }, parent: 'acme/${x}' }],
      ['rules.0.parent: must be a LID, or an alias in which ${name} may stand'],
    ],
    [
      'a parent with a wildcard',
      [{ match: {}, parent: 'alias/*' }],
      ['rules.0.parent: must be a LID, or an alias in which ${name} may stand'],
    ],
    [
      'a LID with a variable',
      [{ match: { a: '${x}' }, parent: `lid_${'0'.repeat(60)}\${x}` }],
      ['rules.0.parent: must be a LID, or an alias in which ${name} may stand'],
    ],
    [
      'a backend that none can be',
      [{ match: {}, backend_id: 'Main' }],
      ['rules.0.backend_id: must be the name of a backend, in which ${name} may stand'],
    ],
    [
      'a pattern that is none',
      [under('a', { 'no name': '**' })],
      ['rules.0.match.?: two of * and ${name} need a character between them'],
    ],
    [
      'a pattern that is too long',
      [under('a', { a: 'x'.repeat(129) })],
      ['rules.0.match.a: a pattern may be 128 bytes at most'],
    ],
    [
      'an attribute that no key has',
      [under('a', { _kms_key_id: '*' })],
      ['rules.0.match._kms_key_id: names beginning with kms. or _kms are reserved, no key has such an attribute'],
    ],
    [
      'an attribute that is named twice',
      [under('a', { 'e\u0301': '*', '\u00e9': '*' })],
      ['rules.0.match.?: is named twice after Unicode normalization'],
    ],
    [
      'too many attributes',
      [under('a', Object.fromEntries(Array.from({ length: 17 }, (_, n) => [`a${n}`, '*'])))],
      ['rules.0.match: may name 16 attributes at most'],
    ],
    [
      'a rule that another one shadows',
      [under('a', { a: 'x*', b: 1 }), under('b'), under('c', { b: 1, a: 'x${rest}' })],
      ["rules.2: can't be reached: rules.0 matches the same keys"],
    ],
    [
      'two rules of the same rank that can match one key',
      [under('a', { a: 'x*' }), under('b', { a: '*x' })],
      ['rules.1: one key can match this and rules.0, and neither is the more specific'],
    ],
    [
      'two rules about different attributes',
      [under('a', { tenant: 'acme' }), under('b', { region: 'eu' })],
      ['rules.1: one key can match this and rules.0, and neither is the more specific'],
    ],
    [
      'nothing in rules that no key can match both',
      [under('a', { a: 'x*', b: '1' }), under('b', { a: 'y*', c: '2' })],
      [],
    ],
    [
      'nothing in rules for text and for numbers',
      [under('a', { a: 'x' }), under('b', { a: 1 }), under('c', { a: true })],
      [],
    ],
    [
      'an attachment that is not the last entry',
      [{ _attachment_: 'company' }, under('a')],
      ['rules.0: an _attachment_ is the last entry'],
    ],
    [
      'an attachment with a rule in it',
      [{ _attachment_: 'company', match: {} }],
      ['rules.0: an _attachment_ has nothing beside it'],
    ],
    [
      'an attachment behind a rule for everything',
      [under('a'), { _attachment_: 'company' }],
      ["rules.1._attachment_: can't be reached: rules.0 matches every key"],
    ],
    ['an unknown namespace', [{ _attachment_: 'none' }], ['rules.0._attachment_: there is no such namespace']],
    [
      'a namespace attached to itself',
      [{ _attachment_: 'here' }],
      ['rules.0._attachment_: is a cycle: it leads back to this namespace'],
    ],
    [
      'a cycle over others',
      [{ _attachment_: 'b' }],
      ['rules.0._attachment_: is a cycle: it leads back to this namespace'],
    ],
  ])('%s', (_name, rules, findings) => {
    expect(lint(rules, { company: undefined, here: undefined, b: 'c', c: 'here' })).toEqual(findings)
  })

  test('rules that are too long together', () => {
    const rules = Array.from({ length: 64 }, (_, n) => ({ match: { a: `${n}` }, deny: 'x'.repeat(256) }))
    expect(lint(rules)).toEqual([`rules: may be ${LIMITS.routingRulesBytesMax} bytes of JSON at most`])
  })

  test('a chain that is too long, above, below and on both sides', () => {
    const chain = Object.fromEntries(Array.from({ length: 16 }, (_, n) => [`n${n}`, n === 0 ? undefined : `n${n - 1}`]))
    const attach = (name: string, to: string, all: Record<string, string | undefined>) =>
      lint([{ _attachment_: to }], all, name)
    expect(attach('new', 'n14', chain)).toEqual([])
    expect(attach('new', 'n15', chain)).toEqual([
      'rules.0._attachment_: makes a chain of 17 namespaces; 16 is the most',
    ])
    expect(attach('n0', 'new', { ...chain, new: undefined })).toHaveLength(1)
    const { n15: _last, ...shorter } = chain
    expect(attach('n0', 'new', { ...shorter, new: undefined })).toEqual([])
    expect(attach('n0', 'new', { ...shorter, new: 'above', above: undefined })).toHaveLength(1)
    // Its own old attachment does not count: it is replaced.
    expect(attach('n14', 'new', { ...chain, new: undefined })).toEqual([])
  })

  test('and describes the first of many, and how many more there are', () => {
    const findings = Array.from({ length: 6 }, (_, n) => ({ place: `rules.${n}`, problem: 'bad' }))
    expect(describeFindings(findings)).toBe('rules.0: bad; rules.1: bad; rules.2: bad; rules.3: bad; and 2 more')
    expect(describeFindings(findings.slice(0, 1))).toBe('rules.0: bad')
  })
})

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
