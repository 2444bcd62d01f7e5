import { createHash } from 'node:crypto'
import type { SigningAlgorithmName } from '../../schemas/keys.ts'
import { fail, must, ok, type Result } from './result.ts'

export type HashName = 'sha256' | 'sha384' | 'sha512'

/** Length of each hash's digest. */
export const DIGEST_BYTES: Readonly<Record<HashName, number>> = { sha256: 32, sha384: 48, sha512: 64 }

/**
 * How a signing algorithm makes its signature. Where there is a `hash` it is made outside the HSM, which signs the
 * digest; `coordinateBytes` is the length of each of r and s.
 */
export type SigningScheme =
  | { readonly kind: 'pure' }
  | { readonly kind: 'ecdsa'; readonly hash: HashName; readonly coordinateBytes: number }
  | { readonly kind: 'pkcs1' | 'pss'; readonly hash: HashName }

/** The scheme of each algorithm. PSS has a salt as long as the hash, and MGF1 with the same hash (RFC 8017 §8.1). */
export const SIGNING_SCHEMES: Readonly<Record<SigningAlgorithmName, SigningScheme>> = {
  ED25519_PURE: { kind: 'pure' },
  ECDSA_P256_SHA256: { kind: 'ecdsa', hash: 'sha256', coordinateBytes: 32 },
  ECDSA_P384_SHA384: { kind: 'ecdsa', hash: 'sha384', coordinateBytes: 48 },
  RSA_PKCS1_V15_SHA256: { kind: 'pkcs1', hash: 'sha256' },
  RSA_PKCS1_V15_SHA384: { kind: 'pkcs1', hash: 'sha384' },
  RSA_PKCS1_V15_SHA512: { kind: 'pkcs1', hash: 'sha512' },
  RSA_PSS_SHA256: { kind: 'pss', hash: 'sha256' },
  RSA_PSS_SHA384: { kind: 'pss', hash: 'sha384' },
  RSA_PSS_SHA512: { kind: 'pss', hash: 'sha512' },
}

/** The digest of a message whose signature is made over one. */
export const hashMessage = (hash: HashName, message: Uint8Array): Uint8Array =>
  createHash(hash).update(message).digest()

const encodeDerInteger = (raw: Uint8Array): Buffer => {
  const first = raw.findIndex((byte) => byte !== 0)
  const digits = first < 0 ? Buffer.of(0) : Buffer.from(raw.subarray(first))
  const positive = (digits[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.of(0), digits]) : digits
  return Buffer.concat([Buffer.of(0x02, positive.length), positive])
}

/** r‖s (IEEE P1363) of a curve of up to 384 bits to the DER `ECDSA-Sig-Value` of RFC 3279 §2.2.3. */
export const toDerSignature = (raw: Uint8Array): Uint8Array => {
  const half = raw.length / 2
  const body = Buffer.concat([encodeDerInteger(raw.subarray(0, half)), encodeDerInteger(raw.subarray(half))])
  must(body.length < 0x80, 'a DER signature of this curve has a longer length field')
  return Buffer.concat([Buffer.of(0x30, body.length), body])
}

const readDerInteger = (der: Buffer, at: number, digitsMax: number): { digits: Buffer; next: number } | undefined => {
  const length = der[at + 1]
  if (der[at] !== 0x02 || length === undefined || length === 0 || at + 2 + length > der.length) return undefined
  const digits = der.subarray(at + 2, at + 2 + length)
  const [head = 0, second = 0] = digits
  const isMinimal = digits.length === 1 || head !== 0 || second >= 0x80
  const significant = head === 0 ? digits.subarray(1) : digits
  return head < 0x80 && isMinimal && significant.length <= digitsMax
    ? { digits: significant, next: at + 2 + length }
    : undefined
}

/** A DER `ECDSA-Sig-Value` to r‖s. INVALID_REQUEST unless it is strict DER of two positive integers of the curve's size. */
export const parseDerSignature = (signature: Uint8Array, coordinateBytes: number): Result<Uint8Array> => {
  const der = Buffer.from(signature.buffer, signature.byteOffset, signature.length)
  const r = der[0] === 0x30 && der[1] === der.length - 2 ? readDerInteger(der, 2, coordinateBytes) : undefined
  const s = r && readDerInteger(der, r.next, coordinateBytes)
  if (r === undefined || s === undefined || s.next !== der.length)
    return fail(
      'INVALID_REQUEST',
      `signature must be a DER ECDSA-Sig-Value; for r and s as ${2 * coordinateBytes} bytes say signature_format P1363`,
    )
  const raw = Buffer.alloc(2 * coordinateBytes)
  r.digits.copy(raw, coordinateBytes - r.digits.length)
  s.digits.copy(raw, raw.length - s.digits.length)
  return ok(raw)
}
