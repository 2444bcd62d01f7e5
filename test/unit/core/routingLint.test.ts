import { describe, expect, test } from 'vitest'
import { LIMITS } from '../../../schemas/limits.ts'
import type { RoutingEntry } from '../../../schemas/routing.ts'
import { describeFindings } from '../../../src/core/routingLint.ts'
import { lint, under } from '../../fixtures/routingRules.ts'

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
