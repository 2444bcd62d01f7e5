import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseStrictJson } from '../../../src/core/strictJson.ts'

const DEPTH_MAX = 8
const parse = (text: string | Uint8Array) =>
  parseStrictJson(typeof text === 'string' ? new TextEncoder().encode(text) : text, DEPTH_MAX)

/** Objects as `JSON.parse` makes them, to compare with. */
const toOrdinary = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(toOrdinary)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, toOrdinary(member)]))
}

const jsonValue = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    fc.string({ unit: 'binary' }),
    fc.maxSafeInteger(),
    fc.boolean(),
    fc.constant(null),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(fc.string({ unit: 'binary' }), tie('value'), { maxKeys: 4 }),
  ),
})).value

describe('strict JSON', () => {
  test('what JSON.stringify writes is read back as it was', () => {
    fc.assert(
      fc.property(jsonValue, fc.constantFrom(undefined, 1, '\t'), (value, space) => {
        const parsed = parse(JSON.stringify(value, null, space))
        expect(parsed.ok && toOrdinary(parsed.value)).toEqual(toOrdinary(value))
      }),
    )
  })

  test('what it takes, JSON.parse reads alike; random bytes and cut or changed texts never make it throw', () => {
    const changed = fc.tuple(jsonValue, fc.nat(), fc.nat(255), fc.boolean()).map(([value, place, byte, cut]) => {
      const bytes = Buffer.from(JSON.stringify(value))
      if (cut) return bytes.subarray(0, place % (bytes.length + 1))
      if (bytes.length > 0) bytes[place % bytes.length] = byte
      return bytes
    })
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 40 }), changed), (bytes) => {
        const parsed = parse(bytes)
        if (!parsed.ok) return
        const theirs: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes))
        expect(toOrdinary(parsed.value)).toEqual(toOrdinary(theirs))
      }),
      { numRuns: 2_000 },
    )
  })

  test.each([
    ['{"a":1,"a":1}', 'twice'],
    ['{"a":1,"\\u0061":1}', 'twice'],
    ['{"a":"\\ud800"}', 'surrogate'],
    ['{"a":"\\udc00\\ud800"}', 'surrogate'],
    ['{"\\ud800":1}', 'surrogate'],
    ['{"a":9007199254740992}', 'integer'],
    ['{"a":1.0}', 'integer'],
    ['{"a":1e2}', 'integer'],
    ['{} x', 'follow'],
    ['', 'ends early'],
    ['{"a":"\n"}', 'control'],
    ['{"a":"\\x"}', 'escape'],
    ['{"a":"\\u12"}', 'hex'],
    ['[01]', 'comma'],
    ['\ufeff{}', 'value'],
    ['['.repeat(9) + ']'.repeat(9), 'deep'],
  ])('%j is refused: %s', (text, word) => {
    const parsed = parse(text)
    expect(parsed.ok).toBe(false)
    if (!parsed.ok) expect(parsed.error.rule).toContain(word)
  })

  test('bytes that are not UTF-8 are refused', () => {
    expect(parse(Uint8Array.of(0x22, 0xed, 0xa0, 0x80, 0x22))).toMatchObject({ ok: false })
  })

  test('a text nested a million deep is refused without exhausting the stack', () => {
    expect(parse('['.repeat(1_000_000))).toMatchObject({ ok: false })
  })

  test('eight levels are taken', () => {
    expect(parse('['.repeat(8) + ']'.repeat(8))).toMatchObject({ ok: true })
  })

  test('__proto__ is an ordinary key of an object without a prototype', () => {
    const parsed = parse('{"__proto__":{"polluted":true},"constructor":1}')
    const value = parsed.ok && typeof parsed.value === 'object' && parsed.value !== null ? parsed.value : {}
    expect(Object.getPrototypeOf(value)).toBe(null)
    expect(Object.keys(value)).toEqual(['__proto__', 'constructor'])
    expect('polluted' in {}).toBe(false)
  })

  test('a fault tells its place: the character, and the member of the outermost object', () => {
    expect(parse('{"a":1,"b":{"c":1.5}}')).toMatchObject({ error: { offset: 16, member: 'b' } })
  })
})
