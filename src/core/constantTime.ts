import { createHash, timingSafeEqual } from 'node:crypto'
import { must } from './result.ts'

/** SHA-256 of a secret, which is compared in its place: digests have one length whatever the secret's is. */
export const digestSecret = (secret: string | Uint8Array): Uint8Array =>
  new Uint8Array(createHash('sha256').update(secret).digest())

/**
 * Whether two digests are equal, in a time that does not depend on where they differ (invariant 10). The only place
 * where a token or a MAC is compared.
 */
export const isSameDigest = (a: Uint8Array, b: Uint8Array): boolean => {
  must(a.length === b.length && a.length > 0, 'only digests of one length are compared')
  return timingSafeEqual(a, b)
}
