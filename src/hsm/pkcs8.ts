import pkcs11 from 'pkcs11js'
import type { DataKeyPairSpecName } from '../../schemas/keys.ts'
import { must } from '../core/result.ts'

const SEQUENCE = 0x30
const INTEGER = 0x02
const OCTET_STRING = 0x04
const BIT_STRING = 0x03
const NULL = 0x05
const CONTEXT_1 = 0xa1

/** DER of object identifiers: rsaEncryption (RFC 8017), id-ecPublicKey and the curves (RFC 5480), id-Ed25519 (RFC 8410). */
const RSA_ENCRYPTION = '06092a864886f70d010101'
const EC_PUBLIC_KEY = '06072a8648ce3d0201'
const ED25519 = '06032b6570'

const RSA_ATTRIBUTES = [
  pkcs11.CKA_MODULUS,
  pkcs11.CKA_PUBLIC_EXPONENT,
  pkcs11.CKA_PRIVATE_EXPONENT,
  pkcs11.CKA_PRIME_1,
  pkcs11.CKA_PRIME_2,
  pkcs11.CKA_EXPONENT_1,
  pkcs11.CKA_EXPONENT_2,
  pkcs11.CKA_COEFFICIENT,
]

interface Curve {
  readonly oid: string
  readonly scalarBytes: number
}
const CURVES: Readonly<Partial<Record<DataKeyPairSpecName, Curve>>> = {
  ECDSA_P256: { oid: '06082a8648ce3d030107', scalarBytes: 32 },
  ECC_NIST_P384: { oid: '06052b81040022', scalarBytes: 48 },
}

/** The attributes of a private object that {@link toPkcs8} needs, in its order. */
export const privateAttributesOf = (spec: DataKeyPairSpecName): readonly number[] =>
  spec.startsWith('RSA_') ? RSA_ATTRIBUTES : [pkcs11.CKA_VALUE]

/**
 * PrivateKeyInfo DER (RFC 5208, RFC 8410 §7) of a private object, from the values of {@link privateAttributesOf};
 * `point` is the uncompressed point of an EC key. Takes ownership of the values and zeroes them; the result is the
 * caller's to zero. Written here and not by node:crypto, which would take the values as strings.
 */
export const toPkcs8 = (spec: DataKeyPairSpecName, values: readonly Buffer[], point: Buffer): Buffer => {
  if (spec.startsWith('RSA_')) {
    must(values.length === RSA_ATTRIBUTES.length, 'an RSA key has eight numbers')
    const key = tlv(SEQUENCE, toInteger(Buffer.of(0)), ...values.map(toInteger))
    return toInfo([oid(RSA_ENCRYPTION), tlv(NULL)], key)
  }
  const [value] = values
  must(value !== undefined && values.length === 1, 'a private key has one value')
  if (spec === 'ED25519') {
    must(value.length === 32, 'an Ed25519 key is its seed of 32 bytes')
    return toInfo([oid(ED25519)], tlv(OCTET_STRING, value))
  }
  const curve = CURVES[spec]
  must(curve !== undefined, 'a pair of a spec that has none')
  const scalar = Buffer.alloc(curve.scalarBytes)
  value.copy(scalar, scalar.length - value.length)
  value.fill(0)
  const publicPart = tlv(CONTEXT_1, tlv(BIT_STRING, Buffer.of(0), Buffer.from(point)))
  const key = tlv(SEQUENCE, toInteger(Buffer.of(1)), tlv(OCTET_STRING, scalar), publicPart)
  return toInfo([oid(EC_PUBLIC_KEY), oid(curve.oid)], key)
}

const toInfo = (algorithm: readonly Buffer[], key: Buffer): Buffer =>
  tlv(SEQUENCE, toInteger(Buffer.of(0)), tlv(SEQUENCE, ...algorithm), tlv(OCTET_STRING, key))

const oid = (hex: string): Buffer => Buffer.from(hex, 'hex')

/** An unsigned big-endian number; zeroes what it was given. */
const toInteger = (digits: Buffer): Buffer => {
  const first = digits.findIndex((byte) => byte !== 0)
  const significant = first === -1 ? digits.subarray(digits.length - 1) : digits.subarray(first)
  const isHigh = (significant[0] ?? 0) >= 0x80
  const encoded = isHigh ? tlv(INTEGER, Buffer.of(0), significant) : tlv(INTEGER, significant)
  digits.fill(0)
  return encoded
}

/** One DER element of these parts, which are zeroed: each of them was a copy of a secret, or may be. */
const tlv = (tag: number, ...parts: readonly Buffer[]): Buffer => {
  const length = parts.reduce((sum, part) => sum + part.length, 0)
  const head =
    length < 0x80 ? [tag, length] : length < 0x100 ? [tag, 0x81, length] : [tag, 0x82, length >> 8, length & 0xff]
  const out = Buffer.alloc(head.length + length)
  out.set(head)
  let at = head.length
  for (const part of parts) {
    at += part.copy(out, at)
    part.fill(0)
  }
  return out
}
