import { errors, type JWTPayload, jwtVerify } from 'jose'
import { JWT_ALGORITHM_NAMES } from '../../schemas/config.ts'
import { LIMITS } from '../../schemas/limits.ts'
import type { Authentication, AuthenticationReason, Authenticator, Clock, Telemetry } from '../core/ports.ts'
import { isJwtShaped, parseBearer } from './bearer.ts'
import { type ClaimMap, checkClaimMap, isSubject, toAttributes } from './claims.ts'
import { createJwks, JwksUnavailable } from './jwks.ts'

/** The algorithms that can be configured. There is no symmetric one and no `none`, so neither can be let in. */
export type JwtAlgorithm = (typeof JWT_ALGORITHM_NAMES)[number]

export interface JwtOptions {
  /** Must equal the `iss` claim exactly. */
  readonly issuer: string
  /** Must be among the `aud` claim. */
  readonly audience: string
  /** https, or http on a loopback address. */
  readonly jwksUrl: string
  readonly algorithms: readonly JwtAlgorithm[]
  /** Attribute name → claim name. */
  readonly claims: ClaimMap
  readonly principalType: string
  readonly clock: Clock
  readonly telemetry: Telemetry
}

/**
 * Signed JWTs of one identity provider (RFC 7519, checked as RFC 8725 wants). `iss`, `aud`, `sub` and `exp` must be
 * there. The principal's id is `<issuer>#<sub>`: an issuer has no fragment, so the parts stay apart, and a subject can
 * neither be mistaken for that of another provider, before or after a change of configuration, nor for `bootstrap`.
 * Throws an Error for the operator when the options are not safe; never for a credential.
 */
export const createJwt = (options: JwtOptions): Authenticator => {
  checkOptions(options)
  const { issuer, audience, claims, principalType, clock, telemetry } = options
  const jwks = createJwks({ url: new URL(options.jwksUrl), clock, telemetry })
  const algorithms = [...options.algorithms]

  const verify = async (token: string, signal: AbortSignal): Promise<JWTPayload> => {
    // jose asks for the key after it has checked the algorithm: a token that cannot be good costs no fetch.
    const { payload } = await jwtVerify(token, (header, input) => jwks.findKey((keys) => keys(header, input), signal), {
      issuer,
      audience,
      algorithms,
      requiredClaims: ['sub', 'exp'],
      clockTolerance: LIMITS.jwtClockToleranceSeconds,
      currentDate: new Date(clock.now()),
    })
    return payload
  }

  const toAuthentication = (payload: JWTPayload): Authentication => {
    const attributes = toAttributes(payload, claims)
    if (!isSubject(payload.sub) || !attributes.ok) return { kind: 'refused', reason: 'malformed' }
    const id = `${issuer}#${payload.sub}`
    return {
      kind: 'authenticated',
      principal: { id, type: principalType, attributes: attributes.value, method: 'jwt' },
    }
  }
  return {
    async authenticate(credentials, signal) {
      const bearer = parseBearer(credentials)
      if (bearer.kind === 'none') return { kind: 'not_mine' }
      if (bearer.kind === 'malformed') return { kind: 'refused', reason: 'malformed' }
      if (!isJwtShaped(bearer.token)) return { kind: 'not_mine' }
      try {
        return toAuthentication(await verify(bearer.token, signal))
      } catch (error) {
        return { kind: 'refused', reason: toReason(error, signal) }
      }
    },
  }
}

const LOOPBACK = new Set(['127.0.0.1', '[::1]', 'localhost'])

const checkOptions = ({ issuer, audience, jwksUrl, algorithms, claims, principalType }: JwtOptions): void => {
  const allowed: readonly string[] = JWT_ALGORITHM_NAMES
  if (algorithms.length === 0 || !algorithms.every((name) => allowed.includes(name))) {
    throw new Error(`algorithms: one or more of ${JWT_ALGORITHM_NAMES.join(', ')}`)
  }
  if (issuer === '' || issuer.includes('#') || Buffer.byteLength(issuer) > LIMITS.issuerBytesMax) {
    throw new Error('issuer: must be the iss claim of the provider, without a fragment')
  }
  if (audience === '') throw new Error('audience: must not be empty')
  if (!/^[A-Za-z_][A-Za-z0-9_]*(::[A-Za-z_][A-Za-z0-9_]*)*$/.test(principalType)) {
    throw new Error('principal_type: must be the name of an entity type')
  }
  const url = URL.canParse(jwksUrl) ? new URL(jwksUrl) : undefined
  const isSafe = url?.protocol === 'https:' || (url?.protocol === 'http:' && LOOPBACK.has(url.hostname))
  if (!isSafe) throw new Error('jwks_url: must be https, or http on a loopback address')
  checkClaimMap(claims)
}

const CLAIM_REASONS: ReadonlyMap<string, AuthenticationReason> = new Map([
  ['iss', 'wrong_issuer'],
  ['aud', 'wrong_audience'],
  ['nbf', 'not_yet_valid'],
])

/** What jose found wrong, for the aggregated record. Anything it has no word for is `malformed`: refused all the same. */
const toReason = (error: unknown, signal: AbortSignal): AuthenticationReason => {
  if (error instanceof JwksUnavailable || signal.aborted) return 'keys_unavailable'
  if (error instanceof errors.JWTExpired) return 'expired'
  if (error instanceof errors.JWTClaimValidationFailed) {
    // `nbf` fails as `check_failed` when it lies ahead and as `invalid` when it is not a number.
    return error.reason === 'invalid' ? 'malformed' : (CLAIM_REASONS.get(error.claim) ?? 'malformed')
  }
  if (error instanceof errors.JOSEAlgNotAllowed) return 'wrong_algorithm'
  if (error instanceof errors.JWSSignatureVerificationFailed) return 'bad_signature'
  if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys)
    return 'unknown_key'
  return 'malformed'
}
