import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { BOOTSTRAP_PRINCIPAL, createBootstrapToken } from '../../src/authn/bootstrapToken.ts'
import { createChain } from '../../src/authn/chain.ts'
import { createJwt } from '../../src/authn/jwt.ts'
import { createFakeAuthenticator } from '../fixtures/fakeAuthenticator.ts'
import { createFakeTime } from '../fixtures/fakeTime.ts'
import { AUDIENCE, ISSUER, startIdentityProvider } from '../fixtures/identityProvider.ts'
import { createTelemetryLog } from '../fixtures/telemetryLog.ts'
import { type AuthnHarness, describeAuthenticator } from './authn.suite.ts'

const TOKEN = 'kV3-9tQ_0aZ.b~c+d/eFGHIJKLMNOPQ=='

const openBootstrap = async (): Promise<AuthnHarness> => {
  const dir = await mkdtemp(join(tmpdir(), 'chatelaine-token-'))
  const file = join(dir, 'token')
  await writeFile(file, `${TOKEN}\n`)
  await chmod(file, 0o600)
  const time = createFakeTime()
  const telemetry = createTelemetryLog()
  const expiresAtMs = time.now() + 60_000
  const authenticator = await createBootstrapToken({
    file,
    principal: BOOTSTRAP_PRINCIPAL,
    expiresAtMs,
    clock: time,
    scheduler: time,
    telemetry,
  })
  return {
    authenticator,
    token: TOKEN,
    principalId: 'bootstrap',
    method: 'bootstrap_token',
    logged: telemetry.text,
    dispose: () => rm(dir, { recursive: true }),
  }
}

const openJwt = async (): Promise<AuthnHarness> => {
  const time = createFakeTime()
  const telemetry = createTelemetryLog()
  const provider = await startIdentityProvider({ nowMs: time.now })
  const authenticator = createJwt({
    issuer: ISSUER,
    audience: AUDIENCE,
    jwksUrl: provider.jwksUrl,
    algorithms: ['ES256'],
    claims: { tenant: 'tenant' },
    principalType: 'User',
    clock: time,
    telemetry,
  })
  return {
    authenticator,
    token: await provider.sign({ tenant: 'acme' }),
    principalId: `${ISSUER}#u-17`,
    method: 'jwt',
    logged: telemetry.text,
    dispose: provider.stop,
  }
}

const openChain = (pick: 'bootstrap' | 'jwt') => async (): Promise<AuthnHarness> => {
  const [bootstrap, jwt] = [await openBootstrap(), await openJwt()]
  return {
    ...(pick === 'jwt' ? jwt : bootstrap),
    authenticator: createChain([bootstrap.authenticator, jwt.authenticator]),
    logged: () => bootstrap.logged() + jwt.logged(),
    dispose: async () => {
      await bootstrap.dispose()
      await jwt.dispose()
    },
  }
}

const openFake = async (): Promise<AuthnHarness> => {
  const authenticator = createFakeAuthenticator()
  authenticator.admit(TOKEN, BOOTSTRAP_PRINCIPAL)
  return {
    authenticator,
    token: TOKEN,
    principalId: 'bootstrap',
    method: 'fake',
    logged: () => '',
    dispose: async () => undefined,
  }
}

describeAuthenticator('the bootstrap token', openBootstrap)
describeAuthenticator('a JWT', openJwt)
describeAuthenticator('a chain, asked with the bootstrap token,', openChain('bootstrap'))
describeAuthenticator('a chain, asked with a JWT,', openChain('jwt'))
describeAuthenticator('the fake', openFake)
