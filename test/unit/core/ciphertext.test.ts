import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { KeySpecName } from '../../../schemas/keys.ts'
import { LIMITS } from '../../../schemas/limits.ts'
import { encodeContext, encodeHeader, HEADER_BYTES, parseHeader } from '../../../src/core/ciphertext.ts'
import { toLid } from '../../../src/core/lid.ts'
import { parseDerSignature, toDerSignature } from '../../../src/core/signature.ts'

const lid = toLid(Buffer.alloc(32, 7))
const blob = (spec: KeySpecName = 'AES_256') =>
  Buffer.concat([encodeHeader({ spec, lid, version: 3 }), Buffer.alloc(28)])
const context = (pairs: Record<string, string>) => {
  const encoded = encodeContext(pairs)
  return encoded.ok ? Buffer.from(encoded.value).toString('hex') : encoded.error.code
}

describe('the ciphertext header', () => {
  test('is 80 bytes and names key, version and algorithm', () => {
    const header = Buffer.from(encodeHeader({ spec: 'AES_256', lid, version: 3 }))
    expect(header.toString('hex')).toBe(`4348544c01000100${'07'.repeat(32)}0300000001000000${'00'.repeat(32)}`)
    const short = Buffer.from(encodeHeader({ spec: 'AES_128', lid, version: 3 }))
    expect(short.toString('hex')).toBe(`4348544c01000200${'07'.repeat(32)}0300000001000000${'00'.repeat(32)}`)
    expect(header.length).toBe(HEADER_BYTES)
  })
  test('reads back what was written', () => {
    expect(parseHeader(blob())).toEqual({ ok: true, value: { cipher: 'AES_256_GCM', lid, version: 3 } })
    expect(parseHeader(blob('AES_128'))).toEqual({ ok: true, value: { cipher: 'AES_128_GCM', lid, version: 3 } })
  })
  test('is of no other algorithm, and of no key that does not encrypt', () => {
    for (const id of [0, 3, 0x0101, 0xffff]) {
      const changed = blob()
      changed.writeUInt16LE(id, 6)
      expect(parseHeader(changed).ok).toBe(false)
    }
    expect(() => blob('HMAC_256')).toThrow()
  })
  test('any change of a byte that this version fixes is refused with the one text', () => {
    const fixed = [...Array(8).keys(), ...Array.from({ length: 36 }, (_, i) => 44 + i)]
    for (const at of fixed) {
      const changed = blob()
      changed[at] = (changed[at] ?? 0) ^ 1
      expect(parseHeader(changed)).toEqual({
        ok: false,
        error: { code: 'INVALID_CIPHERTEXT', message: 'the ciphertext cannot be decrypted' },
      })
    }
  })
  test('a blob shorter than header, nonce and tag is refused', () => {
    expect(parseHeader(blob().subarray(0, 107)).ok).toBe(false)
  })
})

describe('the encryption context as AAD', () => {
  test('absent and empty are the same zero bytes', () => {
    expect(encodeContext(undefined)).toEqual(encodeContext({}))
    expect(context({})).toBe('')
  })
  test('is sorted, and every part has its length before it', () => {
    expect(context({ b: '', a: 'x' })).toBe('0100000061010000007801000000620000' + '0000')
  })
  test('is taken as sent: two spellings of one letter are two contexts', () => {
    expect(context({ a: 'e\u0301' })).not.toBe(context({ a: '\u00e9' }))
  })
  test('is injective', () => {
    const pairs = fc.dictionary(fc.string({ maxLength: 4 }), fc.string({ maxLength: 4 }), { maxKeys: 4 })
    fc.assert(
      fc.property(
        pairs,
        pairs,
        (a, b) =>
          (context(a) === context(b)) ===
          (JSON.stringify(Object.entries(a).sort()) === JSON.stringify(Object.entries(b).sort())),
      ),
    )
  })
  test('has bounds', () => {
    expect(
      context(Object.fromEntries(Array.from({ length: LIMITS.contextPairsMax + 1 }, (_, i) => [`${i}`, '']))),
    ).toBe('INVALID_REQUEST')
    expect(context({ a: 'x'.repeat(LIMITS.contextBytesMax) })).toBe('INVALID_REQUEST')
    expect(context({ a: '\udfff' })).toBe('INVALID_REQUEST')
  })
})

describe('ECDSA signatures in DER', () => {
  test.each([32, 48])('parse ∘ format is identity, for coordinates of %i bytes', (bytes) => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 2 * bytes, maxLength: 2 * bytes }), (raw) => {
        const parsed = parseDerSignature(toDerSignature(raw), bytes)
        expect(parsed.ok && Buffer.from(parsed.value).equals(Buffer.from(raw))).toBe(true)
      }),
    )
  })
  test('of a larger curve are none of a smaller one', () => {
    expect(parseDerSignature(toDerSignature(new Uint8Array(96).fill(0x11)), 32).ok).toBe(false)
  })
  test.each([
    ['nothing', ''],
    ['a wrong tag', '3106020101020101'],
    ['bytes after the end', '300602010102010100'],
    ['a negative integer', '3006020181020101'],
    ['an integer that is not minimal', '300702020001020101'],
    ['an integer too long for the curve', `30${(2 + 33 + 3).toString(16)}0221${'7f'.repeat(33)}020101`],
    ['an empty integer', '30050200020101'],
    ['one integer only', '3003020101'],
  ])('refuses %s', (_name, der) => {
    expect(parseDerSignature(Buffer.from(der, 'hex'), 32).ok).toBe(false)
  })
})
