import { createHmac } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { LIMITS } from '../../schemas/limits.ts'
import { createFakeTime, type FakeTime } from '../fixtures/fakeTime.ts'
import { AUDIENCE, type IdentityProvider, ISSUER, toRawJwt } from '../fixtures/identityProvider.ts'
import { createAsk, provideIdentityProviders, refused } from '../fixtures/jwtAuthenticator.ts'

const { startProvider, open } = provideIdentityProviders()
const seconds = (time: FakeTime, offset: number) => Math.floor(time.now() / 1000) + offset

describe('a JWT', () => {
  it('gives a principal named by issuer and subject, with the allow-listed claims and no others', async () => {
    const { provider, ask } = await open()
    const token = await provider.sign({
      roles: ['b', 'a', 'b'],
      'https://claims.test/tenant': 'acme',
      email: 'someone@example.test',
      jti: 'x',
    })
    expect(await ask(token)).toEqual({
      kind: 'authenticated',
      principal: {
        id: `${ISSUER}#u-17`,
        type: 'User',
        attributes: { roles: ['a', 'b'], tenant: 'acme' },
        method: 'jwt',
      },
    })
  })

  it('is admitted for an audience among several, and without a kid where one key fits', async () => {
    const { provider, ask } = await open()
    expect((await ask(await provider.sign({ aud: ['other', AUDIENCE] }))).kind).toBe('authenticated')
    const token = await provider.sign({}, { kid: undefined } as object)
    expect((await ask(token)).kind).toBe('authenticated')
  })

  it.each<[string, string, (time: FakeTime, provider: IdentityProvider) => Promise<string>]>([
    ['of another issuer', 'wrong_issuer', (_, idp) => idp.sign({ iss: 'https://other.test' })],
    ['whose issuer only begins like ours', 'wrong_issuer', (_, idp) => idp.sign({ iss: `${ISSUER}.evil` })],
    ['without an issuer', 'wrong_issuer', (_, idp) => idp.sign({ iss: undefined })],
    ['for another audience', 'wrong_audience', (_, idp) => idp.sign({ aud: 'other' })],
    ['without an audience', 'wrong_audience', (_, idp) => idp.sign({ aud: undefined })],
    ['that is expired', 'expired', (time, idp) => idp.sign({ exp: seconds(time, -60) })],
    ['that never expires', 'malformed', (_, idp) => idp.sign({ exp: undefined })],
    ['that is not valid yet', 'not_yet_valid', (time, idp) => idp.sign({ nbf: seconds(time, 60) })],
    ['whose nbf is text', 'malformed', (_, idp) => idp.sign({ nbf: 'soon' })],
    ['without a subject', 'malformed', (_, idp) => idp.sign({ sub: undefined })],
    ['with an empty subject', 'malformed', (_, idp) => idp.sign({ sub: '' })],
    ['with a line end in its subject', 'malformed', (_, idp) => idp.sign({ sub: 'a\nb' })],
    [
      'with a subject over the limit',
      'malformed',
      (_, idp) => idp.sign({ sub: 'a'.repeat(LIMITS.subjectBytesMax + 1) }),
    ],
    ['with a listed claim that is a record', 'malformed', (_, idp) => idp.sign({ roles: { a: 1 } })],
    [
      'with too many roles',
      'malformed',
      (_, idp) => idp.sign({ roles: Array.from({ length: 65 }, (_v, n) => `r${n}`) }),
    ],
    [
      'with a role over the limit',
      'malformed',
      (_, idp) => idp.sign({ roles: ['r'.repeat(LIMITS.claimBytesMax + 1)] }),
    ],
    ['of an unknown key', 'unknown_key', (_, idp) => idp.sign({}, { kid: 'none' })],
    ['with an unknown critical header', 'malformed', (_, idp) => signCritical(idp)],
    ['whose payload was changed', 'bad_signature', async (_, idp) => withPayload(await idp.sign(), { sub: 'root' })],
  ])('%s is refused as %s', async (_, reason, toToken) => {
    const { time, provider, ask } = await open()
    expect(await ask(await toToken(time, provider))).toEqual(refused(reason))
    expect((await ask(await provider.sign())).kind).toBe('authenticated')
  })

  it('is good for the tolerated seconds past its end, and no longer', async () => {
    const { time, provider, ask } = await open()
    const token = await provider.sign({ exp: seconds(time, 10) })
    await time.advance((10 + LIMITS.jwtClockToleranceSeconds - 1) * 1000)
    expect((await ask(token)).kind).toBe('authenticated')
    await time.advance(1000)
    expect(await ask(token)).toEqual(refused('expired'))
  })
})

/** `crit` names an extension that nobody here understands (RFC 7515 section 4.1.11). */
const signCritical = async (provider: IdentityProvider): Promise<string> => {
  const [header = '', payload, signature] = (await provider.sign()).split('.')
  const value: object = JSON.parse(Buffer.from(header, 'base64url').toString())
  return `${Buffer.from(JSON.stringify({ ...value, crit: ['x'], x: 1 })).toString('base64url')}.${payload}.${signature}`
}
const withPayload = (token: string, change: object): string => {
  const [header, payload = '', signature] = token.split('.')
  const value: object = JSON.parse(Buffer.from(payload, 'base64url').toString())
  return `${header}.${Buffer.from(JSON.stringify({ ...value, ...change })).toString('base64url')}.${signature}`
}

describe('a JWT made without the private key', () => {
  const claims = (time: FakeTime) => ({ iss: ISSUER, aud: AUDIENCE, sub: 'root', exp: seconds(time, 300) })

  it.each(['none', 'None', 'NONE', ''])('is refused with the algorithm %j', async (alg) => {
    const { time, ask } = await open()
    const answers = [await ask(toRawJwt({ alg }, claims(time))), await ask(toRawJwt({ alg }, claims(time), 'AAAA'))]
    for (const answer of answers)
      expect(['wrong_algorithm', 'malformed']).toContain('reason' in answer && answer.reason)
  })

  it.each(['HS256', 'HS384', 'HS512'])('is refused with %s, also when the public key is the secret', async (alg) => {
    const { time, provider, ask } = await open()
    const unsigned = toRawJwt({ alg, kid: 'key-1' }, claims(time))
    for (const secret of [await provider.publicPem(), (await provider.publicPem()).trim(), 'secret']) {
      const signature = createHmac(`sha${alg.slice(2)}`, secret)
        .update(unsigned.slice(0, -1))
        .digest('base64url')
      expect(await ask(unsigned + signature)).toEqual(refused('wrong_algorithm'))
    }
    expect(provider.fetches()).toBe(0)
  })

  it('is refused with HS256 even when the key set holds its secret', async () => {
    const { time, provider, ask } = await open()
    const secret = Buffer.from('a secret that leaked into a key set')
    provider.publish({ kty: 'oct', k: secret.toString('base64url'), kid: 'oct-1', alg: 'HS256' })
    const unsigned = toRawJwt({ alg: 'HS256', kid: 'oct-1' }, claims(time))
    const signature = createHmac('sha256', secret).update(unsigned.slice(0, -1)).digest('base64url')
    expect(await ask(unsigned + signature)).toEqual(refused('wrong_algorithm'))
    expect((await ask(await provider.sign())).kind).toBe('authenticated')
  })

  it('is refused with an algorithm that is sound but not configured', async () => {
    const { provider, ask } = await open({ algorithms: ['RS256', 'EdDSA'] })
    expect(await ask(await provider.sign())).toEqual(refused('wrong_algorithm'))
  })

  it('is refused when it brings its own key or the address of one', async () => {
    const { provider, ask } = await open()
    const other = await startProvider({ nowMs: () => Date.UTC(2026, 0, 1) })
    const published: { keys: object[] } = JSON.parse(await (await fetch(other.jwksUrl)).text())
    const before = other.fetches()
    for (const header of [{ jwk: published.keys[0] ?? {} }, { jku: other.jwksUrl }, { x5u: other.jwksUrl }]) {
      expect((await ask(await other.sign({}, header))).kind).toBe('refused')
    }
    expect(other.fetches()).toBe(before)
    expect((await ask(await provider.sign())).kind).toBe('authenticated')
  })
})

describe('the options of a JWT authenticator', () => {
  it.each<[string, object]>([
    ['the algorithm none', { algorithms: ['none'] }],
    ['a symmetric algorithm', { algorithms: ['ES256', 'HS256'] }],
    ['no algorithm', { algorithms: [] }],
    ['a key set over plain http', { jwksUrl: 'http://idp.test/jwks' }],
    ['a key set from a file', { jwksUrl: 'file:///etc/jwks' }],
    ['no address', { jwksUrl: 'jwks' }],
    ['no audience', { audience: '' }],
    ['an issuer with a fragment', { issuer: 'https://idp.test#x' }],
    ['a claim that changes by itself', { claims: { id: 'jti' } }],
    ['an attribute no policy can name', { claims: { 'a-b': 'roles' } }],
    ['a principal type no policy can name', { principalType: 'a user' }],
  ])('are refused with %s', (_, over) => {
    expect(() => createAsk(createFakeTime(), 'https://idp.test/jwks', over)).toThrow()
  })
})
