import { createPublicKey } from 'node:crypto'
import pkcs11 from 'pkcs11js'
import type { KeySpecName } from '../../schemas/keys.ts'
import { must } from '../core/result.ts'
import { findMechanism } from './mechanisms.ts'

/** PKCS#11 v3.0's CKK_EC_EDWARDS; pkcs11js has no name for it. */
export const CKK_EC_EDWARDS = 0x40
/** DER of object identifier 1.3.101.112 (RFC 8410). */
const ED25519_OID = Buffer.from('06032b6570', 'hex')

/** A curve of ECDSA: its names in JWK and in DER (1.2.840.10045.3.1.7 and 1.3.132.0.34, RFC 5480 §2.1.1.1). */
interface Curve {
  readonly crv: string
  readonly oid: Buffer
  readonly coordinateBytes: number
}
const P256: Curve = { crv: 'P-256', oid: Buffer.from('06082a8648ce3d030107', 'hex'), coordinateBytes: 32 }
const P384: Curve = { crv: 'P-384', oid: Buffer.from('06052b81040022', 'hex'), coordinateBytes: 48 }
const findCurve = (spec: KeySpecName): Curve | undefined =>
  spec === 'ECDSA_P256' ? P256 : spec === 'ECC_NIST_P384' ? P384 : undefined

type Template = { type: number; value: number | boolean | string | Buffer }[]

/** The attributes that choose the curve or size of a new pair. */
export const toPairParameters = (spec: KeySpecName, bits: number): Template => {
  if (spec === 'ED25519') return [{ type: pkcs11.CKA_EC_PARAMS, value: ED25519_OID }]
  const curve = findCurve(spec)
  if (curve !== undefined) return [{ type: pkcs11.CKA_EC_PARAMS, value: curve.oid }]
  must(spec.startsWith('RSA_'), 'a pair of a spec that has none')
  return [
    { type: pkcs11.CKA_MODULUS_BITS, value: bits },
    { type: pkcs11.CKA_PUBLIC_EXPONENT, value: Buffer.from([1, 0, 1]) },
  ]
}

/** The attributes of a public object that {@link toSpki} reads. */
export const publicAttributesOf = (spec: KeySpecName): readonly number[] =>
  spec.startsWith('RSA_') ? [pkcs11.CKA_MODULUS, pkcs11.CKA_PUBLIC_EXPONENT] : [pkcs11.CKA_EC_POINT]

/** SubjectPublicKeyInfo DER of a public object, from the values of {@link publicAttributesOf} in order. */
export const toSpki = (spec: KeySpecName, values: readonly Buffer[]): Buffer => {
  const [first = Buffer.alloc(0), second = Buffer.alloc(0)] = values
  if (spec.startsWith('RSA_')) return fromJwk({ kty: 'RSA', n: base64url(first), e: base64url(second) })
  const point = unwrapOctetString(first)
  if (spec === 'ED25519') return fromJwk({ kty: 'OKP', crv: 'Ed25519', x: base64url(point) })
  const curve = findCurve(spec)
  must(curve !== undefined, 'a pair of a spec that has none')
  const { crv, coordinateBytes } = curve
  must(point.length === 1 + 2 * coordinateBytes && point[0] === 4, 'an EC point is not in the uncompressed form')
  return fromJwk({
    kty: 'EC',
    crv,
    x: base64url(point.subarray(1, 1 + coordinateBytes)),
    y: base64url(point.subarray(1 + coordinateBytes)),
  })
}

/** The raw 32 bytes of an Ed25519 SPKI (RFC 8410 §4: the key is the last 32 bytes). */
export const toRawEd25519 = (spki: Buffer): Buffer => Buffer.from(spki.subarray(spki.length - 32))

/** The template of a session object that verifies by this SPKI; throws if the SPKI is not of the spec. */
export const toPublicObject = (spec: KeySpecName, spki: Uint8Array): Template => {
  const jwk = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' }).export({ format: 'jwk' })
  const base: Template = [
    { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_PUBLIC_KEY },
    { type: pkcs11.CKA_TOKEN, value: false },
    { type: pkcs11.CKA_PRIVATE, value: false },
    { type: pkcs11.CKA_VERIFY, value: true },
  ]
  if (spec === 'ED25519') {
    must(jwk.crv === 'Ed25519', 'a public key is not of its spec')
    return [...base, ...toPoint(CKK_EC_EDWARDS, ED25519_OID, fromBase64url(jwk.x))]
  }
  const curve = findCurve(spec)
  if (curve !== undefined) {
    must(jwk.crv === curve.crv, 'a public key is not of its spec')
    const point = Buffer.concat([Buffer.from([4]), fromBase64url(jwk.x), fromBase64url(jwk.y)])
    return [...base, ...toPoint(pkcs11.CKK_EC, curve.oid, point)]
  }
  must(jwk.kty === 'RSA' && spec.startsWith('RSA_'), 'a public key is not of its spec')
  return [
    ...base,
    { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_RSA },
    { type: pkcs11.CKA_MODULUS, value: fromBase64url(jwk.n) },
    { type: pkcs11.CKA_PUBLIC_EXPONENT, value: fromBase64url(jwk.e) },
  ]
}

/**
 * The SPKI of a pair of this spec in the one form that this service writes; none if it is malformed, of another kind or
 * size, or RSA with another exponent than 65537.
 */
export const normalizeSpki = (spec: KeySpecName, spki: Uint8Array): Buffer | undefined => {
  try {
    toPublicObject(spec, spki)
    const key = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' })
    const { modulusLength, publicExponent } = key.asymmetricKeyDetails ?? {}
    const isFitting =
      key.asymmetricKeyType !== 'rsa' ||
      (modulusLength === findMechanism(spec, 'generate')?.bits && publicExponent === 65537n)
    if (!isFitting) return undefined
    return createPublicKey({ key: key.export({ format: 'jwk' }), format: 'jwk' }).export({
      format: 'der',
      type: 'spki',
    })
  } catch {
    return undefined
  }
}

const toPoint = (keyType: number, curve: Buffer, point: Buffer): Template => [
  { type: pkcs11.CKA_KEY_TYPE, value: keyType },
  { type: pkcs11.CKA_EC_PARAMS, value: curve },
  { type: pkcs11.CKA_EC_POINT, value: Buffer.concat([Buffer.from([4, point.length]), point]) },
]

/** CKA_EC_POINT is a DER OCTET STRING around the point (PKCS#11 v3.0 §2.3.3); some tokens leave the wrapping out. */
export const unwrapOctetString = (value: Buffer): Buffer =>
  value[0] === 4 && value[1] === value.length - 2 ? value.subarray(2) : value

const fromJwk = (key: { readonly kty: string; readonly [member: string]: string }): Buffer =>
  createPublicKey({ key: { ...key }, format: 'jwk' }).export({ format: 'der', type: 'spki' })

const base64url = (bytes: Buffer): string => bytes.toString('base64url')
const fromBase64url = (text: string | undefined): Buffer => {
  must(text !== undefined, 'a public key lacks a member')
  return Buffer.from(text, 'base64url')
}
