import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { LIMITS } from '../../../schemas/limits.ts'
import { encodeCanonical } from '../../../src/core/canonical.ts'
import { createUuidV7, deriveIdentity, hashCanonical, parseLid, toLid, toLidBytes } from '../../../src/core/lid.ts'

const hex = (attributes: Parameters<typeof encodeCanonical>[0]): string => {
  const encoded = encodeCanonical(attributes)
  if (!encoded.ok) throw new Error(encoded.error.message)
  return Buffer.from(encoded.value).toString('hex')
}
const code = (attributes: unknown): string => {
  const encoded = encodeCanonical(attributes as Parameters<typeof encodeCanonical>[0])
  return encoded.ok ? 'OK' : encoded.error.code
}
const text = (value: string) => Buffer.from(value).toString('hex')

describe('the canonical form of attributes', () => {
  test('is 20 bytes for one short pair', () => {
    expect(hex({ tenant: 'acme' })).toBe(`0106000000${text('tenant')}0104000000${text('acme')}`)
  })
  test('is empty for the empty set', () => {
    expect(hex({})).toBe('')
  })
  test.each([
    ['an integer is 8 bytes little-endian', { n: -2 }, `0101000000${text('n')}0208000000feffffffffffffff`],
    ['a boolean is one byte', { b: true }, `0101000000${text('b')}030100000001`],
    [
      'a list counts its items inside the payload',
      { l: ['x', ''] },
      `0101000000${text('l')}040d00000002000000010000007800000000`,
    ],
    ['a record nests', { r: { a: false } }, `0101000000${text('r')}050c0000000101000000${text('a')}030100000000`],
  ])('%s', (_name, attributes, expected) => {
    expect(hex(attributes)).toBe(expected)
  })
  test('does not depend on the order of insertion', () => {
    fc.assert(
      fc.property(
        fc.dictionary(fc.string({ maxLength: 8 }), fc.oneof(fc.string(), fc.integer(), fc.boolean()), { maxKeys: 8 }),
        (set) => {
          const reversed = Object.fromEntries(Object.entries(set).reverse())
          expect(encodeCanonical(reversed)).toEqual(encodeCanonical(set))
        },
      ),
    )
  })
  test('sorts by UTF-8 bytes, not by UTF-16 units', () => {
    const order = hex({ '\u{10000}': 'a', '\uffee': 'b' })
    expect(order.indexOf(text('\uffee'))).toBeLessThan(order.indexOf(text('\u{10000}')))
  })
  test('normalizes to NFC', () => {
    expect(hex({ 'e\u0301': 'e\u0301' })).toBe(hex({ '\u00e9': '\u00e9' }))
  })
  test.each([
    ['keys that are one after NFC', { 'e\u0301': 'a', '\u00e9': 'b' }],
    ['an unpaired surrogate', { a: '\ud800' }],
    ['a fraction', { a: 1.5 }],
    ['an unsafe integer', { a: 2 ** 53 }],
    ['null', { a: null }],
    ['a list of numbers', { a: [1] }],
    ['records that are too deep', { a: { b: { c: { d: { e: 'f' } } } } }],
    [
      'too many pairs',
      Object.fromEntries(Array.from({ length: LIMITS.attributePairsMax + 1 }, (_, i) => [`k${i}`, 'v'])),
    ],
    ['too many bytes', { a: 'x'.repeat(LIMITS.attributeBytesMax) }],
  ])('refuses %s', (_name, attributes) => {
    expect(code(attributes)).toBe('INVALID_REQUEST')
  })
  test('takes __proto__ as an ordinary key', () => {
    const attributes = JSON.parse('{"__proto__": "x"}')
    expect(hex(attributes)).toBe(`0109000000${text('__proto__')}0101000000${text('x')}`)
  })
})

describe('invariant 9: unique LIDs', () => {
  test('equal attributes give different LIDs, since a UUIDv7 is injected before derivation', () => {
    const made = [1, 2].map(() => deriveIdentity({ tenant: 'acme' }, createUuidV7(Date.now())))
    const [a, b] = made
    expect(a?.ok && b?.ok && a.value.lid !== b.value.lid).toBe(true)
    expect(a?.ok && Object.keys(a.value.identityTags)).toEqual(['tenant', '_kms_key_id'])
  })
  test('identity tags are spelled as the LID is made: NFC, at every depth', () => {
    const derived = deriveIdentity(
      { 'e\u0301': 'e\u0301', list: ['e\u0301'], deep: { 'e\u0301': 'x' } },
      createUuidV7(0),
    )
    expect(derived.ok && { ...derived.value.attributes }).toEqual({ é: 'é', list: ['é'], deep: { é: 'x' } })
  })
  test('a caller cannot choose the injected attribute or any reserved name', () => {
    for (const name of ['_kms_key_id', '_kms_x', 'kms.x', '_kms']) {
      const derived = deriveIdentity({ [name]: 'x' }, createUuidV7(0))
      expect(derived.ok ? 'OK' : derived.error.code).toBe('INVALID_REQUEST')
    }
  })
  test('a LID is BLAKE3 over version and canonical form', () => {
    expect(hashCanonical(new Uint8Array(0))).toMatch(/^lid_[0-9a-f]{64}$/)
    expect(toLid(toLidBytes(hashCanonical(new Uint8Array(3))))).toBe(hashCanonical(new Uint8Array(3)))
  })
  test.each(['lid_', 'lid_xyz', `LID_${'0'.repeat(64)}`, `lid_${'A'.repeat(64)}`, `lid_${'0'.repeat(64)}\n`])(
    '%j is no LID',
    (value) => {
      expect(parseLid(value).ok).toBe(false)
    },
  )
  test('a UUIDv7 carries the time, version and variant', () => {
    expect(createUuidV7(0x0123456789ab, Buffer.alloc(16, 0xff))).toBe('01234567-89ab-7fff-bfff-ffffffffffff')
  })
})
