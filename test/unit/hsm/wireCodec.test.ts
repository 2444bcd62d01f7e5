import fc from 'fast-check'
import { Unpackr } from 'msgpackr'
import { describe, expect, it } from 'vitest'
import { Sensitive } from '../../../src/core/sensitive.ts'
import { decodeWire, encodeWire, sizeOf } from '../../../src/hsm/wireCodec.ts'

const value = fc.letrec((tie) => ({
  leaf: fc.oneof(
    fc.constant(null),
    fc.boolean(),
    fc.maxSafeInteger(),
    fc.nat(300),
    fc.string({ unit: 'grapheme', maxLength: 300 }),
    fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes)),
  ),
  node: fc.oneof(
    { maxDepth: 4 },
    tie('leaf'),
    fc.array(tie('node'), { maxLength: 20 }),
    fc.dictionary(
      fc.string({ maxLength: 12 }).filter((key) => key !== '__proto__'),
      tie('node'),
      { maxKeys: 20, noNullPrototype: true },
    ),
  ),
})).node

describe('the encoding between service and HSM host', () => {
  it('decodes what it encoded, in exactly the bytes it measured', () => {
    fc.assert(
      fc.property(value, (given) => {
        const bytes = encodeWire(given)
        expect(bytes.length).toBe(sizeOf(given))
        expect(decodeWire(bytes)).toEqual(given)
      }),
    )
  })

  it('is MessagePack as another implementation reads it', () => {
    const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: 'number' })
    fc.assert(
      fc.property(value, (given) => {
        expect(unpackr.unpack(encodeWire(given))).toEqual(given)
      }),
    )
  })

  it.each([0, 31, 32, 255, 256, 65_535, 65_536])('carries strings and bytes of %i', (length) => {
    const given = { text: 'a'.repeat(length), bytes: Buffer.alloc(length, 7) }
    expect(decodeWire(encodeWire(given))).toEqual(given)
  })

  it.each([0, 1, 255, 256, 70_000])('carries %i secret bytes into a Sensitive of their own', (length) => {
    using secret = new Sensitive(Buffer.alloc(length, 9))
    const encoded = encodeWire({ secret })
    const decoded = decodeWire(encoded)
    encoded.fill(0)
    const copy = typeof decoded === 'object' && decoded !== null && 'secret' in decoded ? decoded.secret : undefined
    expect(copy).toBeInstanceOf(Sensitive)
    expect(copy instanceof Sensitive && Buffer.from(copy.expose())).toEqual(Buffer.alloc(length, 9))
  })

  it('leaves absent what is undefined, and room in front where asked', () => {
    const bytes = encodeWire({ a: 1, b: undefined }, 4)
    expect(bytes.subarray(0, 4)).toEqual(Buffer.alloc(4))
    expect(decodeWire(bytes.subarray(4))).toEqual({ a: 1 })
  })

  it('throws on truncated and trailing bytes', () => {
    fc.assert(
      fc.property(value, (given) => {
        const bytes = encodeWire(given)
        expect(() => decodeWire(bytes.subarray(0, bytes.length - 1))).toThrow()
        expect(() => decodeWire(Buffer.concat([bytes, Buffer.alloc(1)]))).toThrow()
      }),
    )
  })
})
