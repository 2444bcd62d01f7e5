import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { CONTRACTS } from '../../../schemas/registry.ts'
import { findByteFields, parseBase64, readByteFields } from '../../../src/core/byteFields.ts'
import { encodeMsgpack } from '../../../src/core/encodeMsgpack.ts'
import { decodeStrictMsgpack } from '../../../src/core/strictMsgpack.ts'
import { decodeBody, encodeBody, parseMediaType } from '../../../src/core/wire.ts'

const text = fc.string({ unit: 'binary', maxLength: 300 })
const value = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 3 },
    text,
    fc.maxSafeInteger(),
    fc.boolean(),
    fc.constant(null),
    fc.uint8Array({ maxLength: 300 }),
    fc.array(tie('value'), { maxLength: 20 }),
    fc.dictionary(text, tie('value'), { maxKeys: 20 }),
  ),
})).value

const toPlain = (node: unknown): unknown => {
  if (node instanceof Uint8Array) return `bytes ${Buffer.from(node).toString('hex')}`
  if (Array.isArray(node)) return node.map(toPlain)
  if (typeof node !== 'object' || node === null) return node
  return Object.entries(node).map(([key, member]) => [key, toPlain(member)])
}

describe('MessagePack', () => {
  test('what is encoded is decoded as it was', () => {
    fc.assert(
      fc.property(value, (original) => {
        const decoded = decodeStrictMsgpack(encodeMsgpack(original), {
          depthMax: 8,
          allowFloats: false,
          allowNil: true,
        })
        expect(decoded.ok && toPlain(decoded.value)).toEqual(toPlain(original))
      }),
    )
  })

  test.each([
    -1,
    -32,
    -33,
    -128,
    -129,
    -32768,
    -32769,
    -(2 ** 31),
    -(2 ** 31) - 1,
    Number.MIN_SAFE_INTEGER,
    0,
    127,
    128,
    255,
    256,
    65535,
    65536,
    2 ** 32 - 1,
    2 ** 32,
    Number.MAX_SAFE_INTEGER,
  ])('the integer %d comes back', (integer) => {
    expect(decodeStrictMsgpack(encodeMsgpack(integer), { depthMax: 1, allowFloats: false, allowNil: false })).toEqual({
      ok: true,
      value: integer,
    })
  })

  test('members that are undefined are left out, floats and functions are a bug', () => {
    expect([...encodeMsgpack({ a: undefined })]).toEqual([0x80])
    expect(() => encodeMsgpack(1.5)).toThrow()
    expect(() => encodeMsgpack(() => 1)).toThrow()
  })
})

describe('base64', () => {
  test('what Node encodes is read back, into memory of its own', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        const parsed = parseBase64(Buffer.from(bytes).toString('base64'))
        expect(parsed && Buffer.from(parsed).equals(bytes)).toBe(true)
        expect(parsed?.buffer.byteLength).toBe(bytes.length)
      }),
    )
  })

  test('a text that is taken is the only spelling of its bytes', () => {
    const alphabet = fc.constantFrom(...'AQgw+/=-_ zZ9')
    fc.assert(
      fc.property(fc.string({ unit: alphabet, maxLength: 12 }), (spelled) => {
        const parsed = parseBase64(spelled)
        if (parsed) expect(Buffer.from(parsed).toString('base64')).toBe(spelled)
      }),
      { numRuns: 5_000 },
    )
  })

  test.each(['A', 'AA', 'AB==', 'AAB=', 'AA=A', 'A===', '====', 'AA-_', 'AA\n='])('%j is refused', (spelled) => {
    expect(parseBase64(spelled)).toBeUndefined()
  })
})

describe('byte fields', () => {
  const nested = findByteFields({
    properties: { list: { items: { properties: { blob: { 'x-bytes-max': 4 } } } }, other: { type: 'string' } },
  })

  test('are found at any depth, and a schema without any has none', () => {
    expect(nested).toBeDefined()
    expect(findByteFields(CONTRACTS.DescribeKey.request)).toBeUndefined()
  })

  test('a refusal names the place', () => {
    const read = nested && readByteFields(nested, { list: [{ blob: 'AAAA' }, { blob: 1 }] })
    expect(read).toMatchObject({ ok: false, error: { code: 'INVALID_REQUEST' } })
    if (read && !read.ok) expect(read.error.message).toMatch(/^list\[1\]\.blob must be base64/)
  })
})

describe('a body', () => {
  const byteFields = findByteFields(CONTRACTS.Encrypt.request)
  const names = new Set<string>()
  const request = fc.record({
    key_id: fc.string({ unit: 'binary' }),
    plaintext: fc.uint8Array({ maxLength: 100 }),
    encryption_context: fc.dictionary(text, text, { maxKeys: 5 }),
  })

  test.each(['json', 'msgpack'] as const)('in %s comes back as it was sent', (format) => {
    fc.assert(
      fc.property(request, (body) => {
        const decoded = decodeBody(encodeBody(body, { format, byteFields }), { format, byteFields, names })
        expect(decoded.ok && toPlain(decoded.value)).toEqual(toPlain(body))
      }),
    )
  })

  test('of no bytes is the empty map', () => {
    expect(decodeBody(new Uint8Array(0), { format: 'json', byteFields, names })).toEqual({ ok: true, value: {} })
  })

  test.each([
    [undefined, 'json'],
    ['application/json', 'json'],
    ['Application/JSON; charset=UTF-8', 'json'],
    ['application/msgpack', 'msgpack'],
  ])('with Content-Type %s is %s', (header, format) => {
    expect(parseMediaType(header)).toEqual({ ok: true, value: format })
  })

  test.each([
    '',
    'text/json',
    'application/json, application/json',
    'application/json; charset=utf-16',
    'application/*',
  ])('with Content-Type %j is UNSUPPORTED_MEDIA_TYPE', (header) => {
    expect(parseMediaType(header)).toMatchObject({ ok: false, error: { code: 'UNSUPPORTED_MEDIA_TYPE' } })
  })
})
