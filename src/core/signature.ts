import { createHash } from 'node:crypto'
import { fail, ok, type Result } from './result.ts'

/** SHA-256, for messages whose signature is made over a digest. */
export const hashSha256 = (message: Uint8Array): Uint8Array => createHash('sha256').update(message).digest()

const P256_COORDINATE_BYTES = 32

const encodeDerInteger = (raw: Uint8Array): Buffer => {
  const first = raw.findIndex((byte) => byte !== 0)
  const digits = first < 0 ? Buffer.of(0) : Buffer.from(raw.subarray(first))
  const positive = (digits[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.of(0), digits]) : digits
  return Buffer.concat([Buffer.of(0x02, positive.length), positive])
}

/** r‖s of P-256 (IEEE P1363) to the DER `ECDSA-Sig-Value` of RFC 3279 §2.2.3. */
export const toDerSignature = (raw: Uint8Array): Uint8Array => {
  const body = Buffer.concat([
    encodeDerInteger(raw.subarray(0, P256_COORDINATE_BYTES)),
    encodeDerInteger(raw.subarray(P256_COORDINATE_BYTES)),
  ])
  return Buffer.concat([Buffer.of(0x30, body.length), body])
}

const readDerInteger = (der: Buffer, at: number): { digits: Buffer; next: number } | undefined => {
  const length = der[at + 1]
  if (der[at] !== 0x02 || length === undefined || length === 0 || at + 2 + length > der.length) return undefined
  const digits = der.subarray(at + 2, at + 2 + length)
  const [head = 0, second = 0] = digits
  const isMinimal = digits.length === 1 || head !== 0 || second >= 0x80
  const significant = head === 0 ? digits.subarray(1) : digits
  return head < 0x80 && isMinimal && significant.length <= P256_COORDINATE_BYTES
    ? { digits: significant, next: at + 2 + length }
    : undefined
}

/** A DER `ECDSA-Sig-Value` of P-256 to r‖s. INVALID_REQUEST unless it is strict DER of two positive integers. */
export const parseDerSignature = (signature: Uint8Array): Result<Uint8Array> => {
  const der = Buffer.from(signature.buffer, signature.byteOffset, signature.length)
  const r = der[0] === 0x30 && der[1] === der.length - 2 ? readDerInteger(der, 2) : undefined
  const s = r && readDerInteger(der, r.next)
  if (r === undefined || s === undefined || s.next !== der.length)
    return fail(
      'INVALID_REQUEST',
      'signature must be a DER ECDSA-Sig-Value; for r and s as 64 bytes say signature_format P1363',
    )
  const raw = Buffer.alloc(2 * P256_COORDINATE_BYTES)
  r.digits.copy(raw, P256_COORDINATE_BYTES - r.digits.length)
  s.digits.copy(raw, raw.length - s.digits.length)
  return ok(raw)
}
