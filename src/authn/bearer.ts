import { LIMITS } from '../../schemas/limits.ts'
import type { Credentials } from '../core/ports.ts'

/** What an `Authorization` header holds, as far as tokens go. */
export type Bearer =
  | { readonly kind: 'token'; readonly token: string }
  /** No header, or another scheme: not a bearer token at all. */
  | { readonly kind: 'none' }
  | { readonly kind: 'malformed' }

const SCHEME = /^bearer(?: |$)/i
/** RFC 6750 section 2.1: `b64token`. Exactly one, so nothing that a proxy joined with a comma passes. */
const TOKEN = /^bearer +([A-Za-z0-9\-._~+/]+=*)$/i

/** Reads a bearer token of at most LIMITS.tokenBytesMax bytes. The scheme's case does not matter (RFC 9110 section 11.1). */
export const parseBearer = ({ authorization }: Credentials): Bearer => {
  if (authorization === undefined || !SCHEME.test(authorization)) return { kind: 'none' }
  // Every character of a token is one byte; the length is asked first, so that a huge header costs no matching.
  if (authorization.length > LIMITS.tokenBytesMax + 'Bearer '.length) return { kind: 'malformed' }
  const token = TOKEN.exec(authorization)?.[1]
  if (token === undefined || token.length > LIMITS.tokenBytesMax) return { kind: 'malformed' }
  return { kind: 'token', token }
}

const JWT = /^([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*$/

/**
 * Whether a token has the shape of a JWT: three base64url parts, the first a JSON object (RFC 7519 section 7.2). The
 * last may be empty, so that an unsigned one is refused as a JWT and not taken for an opaque token.
 */
export const isJwtShaped = (token: string): boolean => {
  const header = JWT.exec(token)?.[1]
  if (header === undefined) return false
  try {
    const value: unknown = JSON.parse(Buffer.from(header, 'base64url').toString())
    return typeof value === 'object' && value !== null && !Array.isArray(value)
  } catch {
    return false
  }
}
