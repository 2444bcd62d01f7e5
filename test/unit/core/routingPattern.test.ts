import fc from 'fast-check'
import { describe, expect, test, vi } from 'vitest'
import {
  countLiterals,
  isSameShape,
  matchPattern,
  mayOverlap,
  type Pattern,
  parsePattern,
} from '../../../src/core/routingPattern.ts'

const parse = (text: string): Pattern => {
  const parsed = parsePattern(text)
  if (!parsed.ok) throw new Error(parsed.error)
  return parsed.value
}

const match = (pattern: string, text: string) => {
  const captured = matchPattern(parse(pattern), text)
  return captured && Object.fromEntries(captured)
}

describe('a pattern', () => {
  test.each([
    ['acme', 'acme', {}],
    ['', '', {}],
    ['acme', 'acme2', undefined],
    ['eu-*', 'eu-west', {}],
    ['eu-*', 'eu-', undefined],
    ['*', '', undefined],
    ['*-1', 'eu-west-1', {}],
    ['a*b*c', 'aXbbYc', {}],
    ['a*b*c', 'abc', undefined],
    ['${env}', 'prod', { env: 'prod' }],
    ['app-${env}', 'app-prod', { env: 'prod' }],
    ['${team}.${env}', 'a.b.c', { team: 'a', env: 'b.c' }],
    ['*.${tld}', 'a.b.c', { tld: 'b.c' }],
    ['x${a}-${b}y', 'x---y', { a: '-', b: '-' }],
    ['${a}aab*', 'aaaab!', { a: 'aa' }],
    ['2\\*2', '2*2', {}],
    ['\\${x}\\\\', '${x}\\', {}],
    ['$5', '$5', {}],
    ['größe-*', 'größe-ä', {}],
    ['*😀*', 'a😀😀', {}],
  ])('%s, asked about %s, captures %o', (pattern, text, captured) => {
    expect(match(pattern, text)).toEqual(captured)
  })

  test.each([
    ['**', /between them/],
    ['${a}*', /between them/],
    ['${a}${b}', /between them/],
    ['${A}', /variable/],
    ['${}', /variable/],
    ['${a', /variable/],
    [`\${${'a'.repeat(33)}}`, /variable/],
    ['a\\', /stands only before/],
    ['\\n', /stands only before/],
    ['ä'.repeat(65), /128 bytes/],
  ])('%s is none', (text, error) => {
    const parsed = parsePattern(text)
    expect(parsed.ok ? 'a pattern' : parsed.error).toMatch(error)
  })
})

/** Few letters, so that literals repeat, overlap themselves and each other. */
const letter = fc.constantFrom('a', 'b')
const word = (lengthMax: number) => fc.array(letter, { maxLength: lengthMax }).map((letters) => letters.join(''))
const pattern = fc
  .tuple(
    word(3),
    fc.array(fc.tuple(fc.boolean(), fc.array(letter, { minLength: 1, maxLength: 4 })), { maxLength: 3 }),
    fc.boolean(),
  )
  .map(([first, rest, isOpen]): Pattern => {
    const literals = [first, ...rest.map(([, letters]) => letters.join(''))]
    if (isOpen && rest.length > 0) literals[rest.length] = ''
    return { literals, holes: rest.map(([isNamed], index) => (isNamed ? `v${index}` : undefined)) }
  })

/** The same language as the engine sees it, lazy as the rule says. Only ever made of the letters above. */
const toRegex = ({ literals, holes }: Pattern): RegExp =>
  new RegExp(
    `^${literals.map((literal, index) => literal + (index < holes.length ? (holes[index] ? `(?<${holes[index]}>.+?)` : '.+?') : '')).join('')}$`,
    's',
  )

const allWords = (lengthMax: number): readonly string[] => {
  const words = ['']
  for (let from = 0, length = 0; length < lengthMax; length += 1) {
    const to = words.length
    for (const known of words.slice(from, to)) words.push(`${known}a`, `${known}b`)
    from = to
  }
  return words
}

describe('laws of patterns', () => {
  test('a text matches, and is captured, as a lazy regular expression would have it', () => {
    fc.assert(
      fc.property(pattern, word(12), (one, text) => {
        const found = toRegex(one).exec(text)
        const captured = matchPattern(one, text)
        expect(captured && Object.fromEntries(captured)).toEqual(found ? { ...found.groups } : undefined)
      }),
      { numRuns: 3_000 },
    )
  })

  test('what fills the holes of a pattern makes a text that matches', () => {
    fc.assert(
      fc.property(pattern, fc.infiniteStream(word(4)), (one, fillings) => {
        const text = one.literals.map(
          (literal, index) => literal + (index < one.holes.length ? `a${fillings.next().value}` : ''),
        )
        expect(matchPattern(one, text.join(''))).toBeDefined()
      }),
    )
  })

  test('two patterns overlap if and only if a text matches both', () => {
    // No shortest common text is longer than both patterns together.
    const words = allWords(9)
    const short = pattern.filter((one) => countLiterals(one) + one.holes.length <= 4)
    fc.assert(
      fc.property(short, short, (a, b) => {
        const both = words.some((text) => matchPattern(a, text) !== undefined && matchPattern(b, text) !== undefined)
        expect(mayOverlap(a, b)).toBe(both)
        expect(mayOverlap(b, a)).toBe(both)
      }),
      { numRuns: 300 },
    )
  })

  test('patterns of one shape match the same texts', () => {
    fc.assert(
      fc.property(pattern, word(10), (one, text) => {
        const unnamed: Pattern = { ...one, holes: one.holes.map(() => undefined) }
        expect(isSameShape(one, unnamed)).toBe(true)
        expect(matchPattern(one, text) === undefined).toBe(matchPattern(unnamed, text) === undefined)
      }),
    )
  })

  test('parsing never throws, and what it reads survives being written again', () => {
    const source = fc.string({ unit: fc.constantFrom('a', '*', '$', '{', '}', '\\', 'x', '_', 'ß') })
    const write = ({ literals, holes }: Pattern): string =>
      literals
        .map((literal, index) => {
          const hole = holes[index]
          const end = index === holes.length ? '' : hole === undefined ? '*' : `\${${hole}}`
          return literal.replace(/[\\*$]/g, '\\$&') + end
        })
        .join('')
    fc.assert(
      fc.property(source, (text) => {
        const parsed = parsePattern(text)
        if (parsed.ok) expect(parse(write(parsed.value))).toEqual(parsed.value)
      }),
      { numRuns: 2_000 },
    )
  })

  test('the work for a text made to trip up a search grows with its length, not with its square', () => {
    // Counted, not timed: how often the search looks at a character.
    const text = 'a'.repeat(4_000)
    const looks = vi.spyOn(String.prototype, 'charCodeAt')
    try {
      expect(matchPattern(parse(`*${'a'.repeat(100)}b*`), text)).toBeUndefined()
      expect(looks.mock.calls.length).toBeGreaterThan(text.length)
      expect(looks.mock.calls.length).toBeLessThan(6 * text.length)
    } finally {
      looks.mockRestore()
    }
  })
})
