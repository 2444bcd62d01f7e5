import fc from 'fast-check'
import { Packr } from 'msgpackr'
import { describe, expect, test } from 'vitest'
import { encodeMsgpack } from '../../../src/core/encodeMsgpack.ts'
import { findStrictMembers } from '../../../src/core/scanMsgpack.ts'
import { decodeStrictMsgpack } from '../../../src/core/strictMsgpack.ts'

const STRICT = { depthMax: 8, allowFloats: false, allowNil: false }
const LENIENT = { depthMax: 8, allowFloats: true, allowNil: true }
const hex = (text: string): Uint8Array => Buffer.from(text.replaceAll(' ', ''), 'hex')
const errorOf = (bytes: Uint8Array, rules = STRICT): string => {
  const decoded = decodeStrictMsgpack(bytes, rules)
  return decoded.ok ? 'accepted' : decoded.error
}

const REFUSED: readonly (readonly [string, string, string])[] = [
  ['a duplicate key', '82 a161 01 a161 02', 'a key stands twice in a map'],
  ['a duplicate key in two widths', '82 a161 01 d90161 02', 'a key stands twice in a map'],
  ['a duplicate __proto__', '82 a95f5f70726f746f5f5f 01 a95f5f70726f746f5f5f 02', 'a key stands twice in a map'],
  ['an integer key', '81 01 01', 'a key is not a string'],
  ['a binary key', '81 c40161 01', 'a key is not a string'],
  ['a lone continuation byte', 'a180', 'a string is not well-formed UTF-8'],
  ['a surrogate in UTF-8', 'a3eda080', 'a string is not well-formed UTF-8'],
  ['an overlong form', 'a2c080', 'a string is not well-formed UTF-8'],
  ['ill-formed UTF-8 in a key', '81 a1ff 01', 'a string is not well-formed UTF-8'],
  ['2^53', 'cf0020000000000000', 'an integer has more than 53 bits'],
  ['-2^53', 'd3ffe0000000000000', 'an integer has more than 53 bits'],
  ['a fixext', 'd40000', 'extension types are not allowed'],
  ['a timestamp', 'd6ff00000000', 'extension types are not allowed'],
  ['an ext 8', 'c70100ff', 'extension types are not allowed'],
  ['the unused tag', 'c1', 'c1 is not MessagePack'],
  ['a float64', 'cb3ff8000000000000', 'floats are not allowed'],
  ['a float32', 'ca3fc00000', 'floats are not allowed'],
  ['nil', 'c0', 'nil is not allowed'],
  ['trailing bytes', '01 01', 'bytes follow the value'],
  ['nothing', '', 'the bytes end within a value'],
  ['a cut string', 'a2 61', 'the bytes end within a value'],
  ['a cut map', '82 a161 01', 'the bytes end within a value'],
  ['a cut length', 'da 00', 'the bytes end within a value'],
  ['a length of 4 GiB', 'dbffffffff', 'the bytes end within a value'],
  ['an array of 4 G items', 'ddffffffff', 'the bytes end within a value'],
  ['nine levels', '91'.repeat(9).concat('01'), 'nested deeper than 8'],
  ['a million levels', '91'.repeat(1_000_000), 'nested deeper than 8'],
]

describe('strict decoding', () => {
  test.each(REFUSED)('refuses %s', (_name, bytes, error) => {
    expect(errorOf(hex(bytes))).toBe(error)
    const inMap = Buffer.concat([hex('81 a178'), hex(bytes)])
    const scanned = findStrictMembers(inMap, { ...STRICT, depthMax: STRICT.depthMax + 1 }, [])
    expect(scanned).toEqual({ ok: false, error: error.replace('than 8', 'than 9') })
  })

  test('says where the members stand that it is asked for', () => {
    const found = findStrictMembers(hex('83 a161 c3 a162 81a17801 a163 cd0100'), STRICT, ['b', 'c', 'd'])
    expect(found).toEqual({ ok: true, value: [{ start: 6, end: 10 }, { start: 12, end: 15 }, undefined] })
  })

  test('accepts eight levels, every width of int and length, and nil and floats where they are allowed', () => {
    expect(errorOf(hex(`${'91'.repeat(8)}01`))).toBe('accepted')
    for (const one of ['01', 'cc01', 'cd0001', 'ce00000001', 'cf0000000000000001', 'd001', 'd10001', 'd200000001'])
      expect(decodeStrictMsgpack(hex(one), STRICT)).toEqual({ ok: true, value: 1 })
    for (const text of ['a161', 'd90161', 'da000161', 'db0000000161'])
      expect(decodeStrictMsgpack(hex(text), STRICT)).toEqual({ ok: true, value: 'a' })
    expect(decodeStrictMsgpack(hex('93 c0 cb3ff8000000000000 ca3fc00000'), LENIENT)).toEqual({
      ok: true,
      value: [null, 1.5, 1.5],
    })
  })

  test('gives maps without prototype, in which __proto__ is an ordinary key', () => {
    const decoded = decodeStrictMsgpack(hex('81 a95f5f70726f746f5f5f 81 a178 01'), STRICT)
    if (!decoded.ok) throw new Error(decoded.error)
    expect(Object.getPrototypeOf(decoded.value)).toBeNull()
    expect(Object.keys(Object(decoded.value))).toEqual(['__proto__'])
  })

  test('gives byte strings as views, so that the owner of the input can zero them', () => {
    const bytes = hex('c403 010203')
    const decoded = decodeStrictMsgpack(bytes, STRICT)
    bytes.fill(0)
    expect(decoded).toEqual({ ok: true, value: Buffer.alloc(3) })
  })

  const leaf = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.maxSafeInteger(),
    fc.boolean(),
    fc.uint8Array({ maxLength: 300 }),
  )
  const { value: anyValue } = fc.letrec((tie) => ({
    value: fc.oneof({ maxDepth: 4 }, leaf, tie('list'), tie('map')),
    list: fc.array(tie('value'), { maxLength: 40 }),
    map: fc.dictionary(fc.string({ unit: 'binary' }), tie('value'), { maxKeys: 40 }),
  }))
  const RULES = { depthMax: 16, allowFloats: false, allowNil: false }

  test('reads what the encoder writes', () => {
    fc.assert(
      fc.property(anyValue, (value) => {
        const decoded = decodeStrictMsgpack(encodeMsgpack(value), RULES)
        expect(decoded.ok && encodeMsgpack(decoded.value)).toEqual(encodeMsgpack(value))
      }),
    )
  })

  test('reads what another encoder writes', () => {
    const packr = new Packr({ useRecords: false, int64AsType: 'number' })
    const small = fc.dictionary(
      fc.string({ unit: 'binary' }),
      fc.oneof(fc.string({ unit: 'binary' }), fc.boolean(), fc.nat()),
    )
    fc.assert(
      fc.property(small, (value) => {
        const decoded = decodeStrictMsgpack(packr.pack(value), RULES)
        expect(decoded.ok && { ...Object(decoded.value) }).toEqual({ ...value })
      }),
    )
  })

  test('judges any bytes the same whether or not it makes the values', () => {
    const mutated = fc
      .tuple(fc.dictionary(fc.string(), anyValue, { maxKeys: 40 }), fc.nat(), fc.nat(255))
      .map(([map, at, byte]) => {
        const bytes = encodeMsgpack(map)
        bytes[at % bytes.length] = byte
        return bytes
      })
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 64 }), mutated), (bytes) => {
        const made = decodeStrictMsgpack(bytes, RULES)
        const scanned = findStrictMembers(bytes, RULES, [])
        const isMap =
          made.ok && typeof made.value === 'object' && !Array.isArray(made.value) && !(made.value instanceof Uint8Array)
        expect(scanned.ok).toBe(isMap)
        if (!made.ok && !scanned.ok && scanned.error !== 'is not a map') expect(scanned.error).toBe(made.error)
      }),
      { numRuns: 2000 },
    )
  })

  test('finds duplicates among many keys without making the map', () => {
    const map = (keys: readonly string[]) =>
      Buffer.concat([
        hex('de'),
        Buffer.of(0, keys.length),
        ...keys.map((key) => Buffer.from(`\xa3${key}\x01`, 'latin1')),
      ])
    const keys = Array.from({ length: 60 }, (_, index) => `k${index + 10}`)
    expect(findStrictMembers(map(keys), STRICT, [])).toEqual({ ok: true, value: [] })
    expect(findStrictMembers(map([...keys, 'k33']), STRICT, [])).toEqual({
      ok: false,
      error: 'a key stands twice in a map',
    })
  })
})
