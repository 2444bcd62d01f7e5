import { LIMITS } from '../../schemas/limits.ts'

/**
 * What a text must look like: literals with a hole between each two of them. A hole takes one or more characters; it has
 * a name if what it takes is captured. `literals` has one member more than `holes`; only its ends may be empty.
 */
export interface Pattern {
  readonly literals: readonly string[]
  readonly holes: readonly (string | undefined)[]
}

/** What the named holes of a pattern took. */
export type Captured = ReadonlyMap<string, string>

const CAPTURE_REGEX = /\$\{([a-z][a-z0-9_]{0,31})\}/y

type Token = { readonly literal: string } | { readonly hole: string | undefined } | { readonly problem: string }

const readToken = (text: string, at: number): readonly [token: Token, length: number] => {
  const character = text.charAt(at)
  if (character === '*') return [{ hole: undefined }, 1]
  if (character === '\\') {
    const escaped = text.charAt(at + 1)
    return escaped !== '' && '\\*$'.includes(escaped)
      ? [{ literal: escaped }, 2]
      : [{ problem: 'a \\ stands only before another \\, * or $' }, 1]
  }
  if (!text.startsWith('${', at)) return [{ literal: character }, 1]
  CAPTURE_REGEX.lastIndex = at
  const name = CAPTURE_REGEX.exec(text)?.[1]
  return name === undefined
    ? [{ problem: `a variable is \${name}: a letter, then letters, digits and _, all small, at most 32` }, 1]
    : [{ hole: name }, name.length + 3]
}

/**
 * Reads a pattern: `*` is a hole, `${name}` a hole that captures, `\` takes the meaning from a `*`, `$` or `\` after it, all
 * else stands for itself. The error says which rule is broken and quotes nothing.
 */
export const parsePattern = (
  text: string,
): { readonly ok: true; readonly value: Pattern } | { readonly ok: false; readonly error: string } => {
  if (Buffer.byteLength(text) > LIMITS.routingPatternBytesMax)
    return { ok: false, error: `a pattern may be ${LIMITS.routingPatternBytesMax} bytes at most` }
  const literals = ['']
  const holes: (string | undefined)[] = []
  for (let at = 0; at < text.length; ) {
    const [token, length] = readToken(text, at)
    at += length
    if ('problem' in token) return { ok: false, error: token.problem }
    if ('literal' in token) literals[holes.length] += token.literal
    else {
      // Where one ends and the next begins would be anybody's guess.
      if (holes.length > 0 && literals[holes.length] === '')
        return { ok: false, error: `two of * and \${name} need a character between them` }
      holes.push(token.hole)
      literals.push('')
    }
  }
  return { ok: true, value: { literals, holes } }
}

/** Whether only one text matches. */
export const isExact = ({ holes }: Pattern): boolean => holes.length === 0

/** How many characters of a matching text are given. */
export const countLiterals = ({ literals }: Pattern): number =>
  literals.reduce((count, literal) => count + literal.length, 0)

/** Whether the same texts match both: they differ at most in what is captured. */
export const isSameShape = (a: Pattern, b: Pattern): boolean =>
  a.literals.length === b.literals.length && a.literals.every((literal, index) => literal === b.literals[index])

/**
 * What the named holes take if the whole text matches, or nothing. From left to right each hole takes as little as it
 * can, the last one the rest. Linear in text and pattern, whatever they are: no regular expression is made of them.
 */
export const matchPattern = ({ literals, holes }: Pattern, text: string): Captured | undefined => {
  const [first = '', ...rest] = literals
  if (holes.length === 0) return text === first ? new Map() : undefined
  if (!text.startsWith(first)) return undefined
  const captured = new Map<string, string>()
  let at = first.length
  for (const [index, literal] of rest.entries()) {
    const isLast = index === rest.length - 1
    const end = isLast ? findEnd(text, literal) : findFrom(text, literal, at + 1)
    if (end < at + 1) return undefined
    const name = holes[index]
    if (name !== undefined) captured.set(name, text.slice(at, end))
    at = end + literal.length
  }
  return captured
}

const findEnd = (text: string, literal: string): number => (text.endsWith(literal) ? text.length - literal.length : -1)

/** Where `literal` begins at or after `from`, or -1: Knuth, Morris and Pratt's search, which never looks back. */
const findFrom = (text: string, literal: string, from: number): number => {
  const borders = toBorders(literal)
  let matched = 0
  for (let at = from; at < text.length; at += 1) {
    const unit = text.charCodeAt(at)
    while (matched > 0 && unit !== literal.charCodeAt(matched)) matched = borders[matched - 1] ?? 0
    if (unit === literal.charCodeAt(matched)) matched += 1
    if (matched === literal.length) return at - matched + 1
  }
  return -1
}

/** For each prefix, the length of the longest proper prefix of it that is also its suffix. */
const toBorders = (literal: string): readonly number[] => {
  const borders = [0]
  let length = 0
  for (let at = 1; at < literal.length; at += 1) {
    const unit = literal.charCodeAt(at)
    while (length > 0 && unit !== literal.charCodeAt(length)) length = borders[length - 1] ?? 0
    if (unit === literal.charCodeAt(length)) length += 1
    borders.push(length)
  }
  return borders
}

/**
 * Whether there is a text that matches both. Where both have holes, their ends decide: between the longer beginning and the
 * longer ending there is room for all the literals of both, each with a character around it.
 */
export const mayOverlap = (a: Pattern, b: Pattern): boolean => {
  if (isExact(a)) return matchPattern(b, a.literals[0] ?? '') !== undefined
  if (isExact(b)) return matchPattern(a, b.literals[0] ?? '') !== undefined
  const [firstA = '', firstB = ''] = [a.literals[0], b.literals[0]]
  const [lastA = '', lastB = ''] = [a.literals.at(-1), b.literals.at(-1)]
  return (firstA.startsWith(firstB) || firstB.startsWith(firstA)) && (lastA.endsWith(lastB) || lastB.endsWith(lastA))
}
