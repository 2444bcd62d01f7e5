import type { Config } from '../../schemas/config.ts'
import { BOOTSTRAP_PRINCIPAL, createBootstrapToken } from '../authn/bootstrapToken.ts'
import { createChain } from '../authn/chain.ts'
import type { Authenticator, Clock, Scheduler, Telemetry } from '../core/ports.ts'

interface Ambient {
  readonly clock: Clock
  readonly scheduler: Scheduler
  readonly telemetry: Telemetry
}

type Entry = Config['authn']['chain'][number]

const createAuthenticator = async (entry: Entry, ambient: Ambient): Promise<Authenticator> => {
  switch (entry.kind) {
    case 'bootstrap_token':
      return createBootstrapToken({
        file: entry.token_file,
        principal: BOOTSTRAP_PRINCIPAL,
        expiresAtMs: Date.parse(entry.expires_at),
        ...ambient,
      })
    case 'jwt': {
      // Long in loading, and not every installation has it.
      const { createJwt } = await import('../authn/jwt.ts')
      return createJwt({
        issuer: entry.issuer,
        audience: entry.audience,
        jwksUrl: entry.jwks_url,
        algorithms: entry.algorithms,
        claims: entry.claims,
        principalType: entry.principal_type,
        ...ambient,
      })
    }
    default:
      return entry satisfies never
  }
}

/** The configured authenticators in order. Throws where an option is unsafe or a token file cannot be read. */
export const createAuthenticators = async (chain: readonly Entry[], ambient: Ambient): Promise<Authenticator> =>
  createChain(await Promise.all(chain.map((entry) => createAuthenticator(entry, ambient))))
