import { readdirSync, readFileSync } from 'node:fs'
import { relative } from 'node:path'
import { describe, expect, it } from 'vitest'
import { digestSecret, isSameDigest } from '../../../src/core/constantTime.ts'

const SRC = new URL('../../../src/', import.meta.url).pathname
const HOME = 'core/constantTime.ts'

/** A name that holds a token, a MAC or a secret's digest, compared by an operator or a method that stops early. */
const SECRET = String.raw`\b\w*(?:[tT]oken|(?<![a-z])mac|Mac|[sS]ecret|[pP]assword|[dD]igest)(?:Bytes|Hex|s)?\b`
const EARLY_STOP = [
  new RegExp(
    String.raw`(?<!typeof )${SECRET}(?:\.\w+\([^)]*\))? *[!=]==? *(?!undefined|null|''|'string'|typeof)[\w'"]`,
  ),
  new RegExp(String.raw`[\w)\]'"] *[!=]==? *${SECRET}(?! *\.(?:length|kind|byteLength))`),
  new RegExp(String.raw`${SECRET}\.(?:equals|localeCompare|startsWith|endsWith|includes|compare)\(`),
  new RegExp(String.raw`\.(?:equals|compare|localeCompare)\([^)]*${SECRET}`),
]
const findEarlyStops = (source: string): string[] =>
  source
    .split('\n')
    .filter((line) => !/^\s*(\*|\/\/|\/\*)/.test(line))
    .filter((line) => EARLY_STOP.some((pattern) => pattern.test(line)))

const sources = readdirSync(SRC, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .map((name) => ({ name: relative('.', name), text: readFileSync(SRC + name, 'utf8') }))

describe('invariant 10: comparisons of tokens and MACs are constant time', () => {
  it('in one function, and nothing else in src uses timingSafeEqual', () => {
    expect(sources.length).toBeGreaterThan(20)
    expect(sources.filter(({ text }) => text.includes('timingSafeEqual')).map(({ name }) => name)).toEqual([HOME])
  })

  it('and nowhere in src by an operator or a method that stops at the first difference', () => {
    const found = sources.flatMap(({ name, text }) => findEarlyStops(text).map((line) => `${name}: ${line.trim()}`))
    expect(found).toEqual([])
  })

  it.each([
    'if (token === expected) return ok()',
    'return expected == token',
    'if (bearer.token !== this.token) throw',
    "if (mac === computedMac) return 'ok'",
    'return Buffer.from(a).equals(digest)',
    'if (secret.startsWith(prefix)) return',
    "if (token === 'letmein') return",
    'return Buffer.compare(expected, macBytes) === 0',
  ])('and the scan would find %j', (line) => {
    expect(findEarlyStops(line)).toEqual([line])
  })

  it.each(['if (token === undefined) return', "typeof token === 'string'", "bearer.kind === 'token' ? a : b"])(
    'and the scan lets %j pass',
    (line) => {
      expect(findEarlyStops(line)).toEqual([])
    },
  )

  it('and the function itself tells equal from different, and refuses what is no digest', () => {
    const digest = digestSecret('secret')
    expect(digest).toHaveLength(32)
    expect(isSameDigest(digest, digestSecret(Buffer.from('secret')))).toBe(true)
    for (const bit of [0, 100, 255]) {
      const other = digestSecret('secret')
      other[bit >> 3] = (other[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      expect(isSameDigest(digest, other)).toBe(false)
    }
    expect(() => isSameDigest(digest, digest.subarray(1))).toThrow()
    expect(() => isSameDigest(new Uint8Array(0), new Uint8Array(0))).toThrow()
  })
})
