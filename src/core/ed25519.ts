import { createHash, createPublicKey, type KeyObject, verify } from 'node:crypto'
import { ed25519 } from '@noble/curves/ed25519.js'
import type { Result } from './result.ts'

/** An Ed25519 public key that may sign commits: not of small order, with its key id and the handle node:crypto verifies by. */
export interface VerifyKey {
  readonly kid: string
  /** The raw 32 bytes. */
  readonly raw: Uint8Array
  readonly key: KeyObject
}

/** The key id: hex of the first 16 bytes of SHA-256 of the raw 32-byte public key, for epoch keys and roots alike. */
export const toKid = (publicKey: Uint8Array): string =>
  createHash('sha256').update(publicKey).digest('hex').slice(0, KID_HEX_DIGITS)

/** Refuses what is not 32 bytes, not a point, or of small order (a signature by such a key proves nothing). */
export const parseVerifyKey = (raw: Uint8Array): Result<VerifyKey, string> => {
  if (raw.length !== 32) return { ok: false, error: 'a public key is not 32 bytes' }
  try {
    if (ed25519.Point.fromBytes(raw).isSmallOrder()) return { ok: false, error: 'a public key is of small order' }
  } catch {
    return { ok: false, error: 'a public key is not a point of the curve' }
  }
  const key = createPublicKey({ key: Buffer.concat([SPKI_PREFIX, raw]), format: 'der', type: 'spki' })
  return { ok: true, value: { kid: toKid(raw), raw, key } }
}

/** RFC 8032 §5.1.7 without cofactor and with S < L, as OpenSSL does it. @noble's default accepts more and is not used. */
export const isSignedBy = (key: VerifyKey, message: Uint8Array, signature: Uint8Array): boolean =>
  signature.length === 64 && verify(null, message, key.key, signature)

const KID_HEX_DIGITS = 32

/** SubjectPublicKeyInfo of an Ed25519 key up to the raw key (RFC 8410 §4). */
const SPKI_PREFIX = Buffer.from('302a300506032b6570032100', 'hex')
