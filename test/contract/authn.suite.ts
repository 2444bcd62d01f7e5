import { describe, expect, it } from 'vitest'
import { LIMITS } from '../../schemas/limits.ts'
import type { Authenticator, Credentials } from '../../src/core/ports.ts'

/** An authenticator with one credential that it admits. */
export interface AuthnHarness {
  readonly authenticator: Authenticator
  readonly token: string
  readonly principalId: string
  readonly method: string
  /** Everything that was logged, as text. */
  logged(): string
  dispose(): Promise<void>
}

/** What the pipeline may expect of any authenticator of bearer tokens, real or double. */
export const describeAuthenticator = (name: string, open: () => Promise<AuthnHarness>): void => {
  const withHarness = async (use: (harness: AuthnHarness) => Promise<void>): Promise<void> => {
    const harness = await open()
    try {
      await use(harness)
    } finally {
      await harness.dispose()
    }
  }
  const ask = ({ authenticator }: AuthnHarness, credentials: Credentials) =>
    authenticator.authenticate(credentials, AbortSignal.timeout(10_000))

  describe(`${name} as an authenticator`, () => {
    it.each(['Bearer', 'bearer', 'BEARER'])('admits its token under the scheme %s', (scheme) =>
      withHarness(async (harness) => {
        expect(await ask(harness, { authorization: `${scheme} ${harness.token}` })).toEqual({
          kind: 'authenticated',
          principal: expect.objectContaining({ id: harness.principalId, method: harness.method }),
        })
      }),
    )

    it('gives the same principal each time', () =>
      withHarness(async (harness) => {
        const credentials = { authorization: `Bearer ${harness.token}` }
        expect(await ask(harness, credentials)).toEqual(await ask(harness, credentials))
      }))

    it.each<[string, (token: string) => Credentials]>([
      ['no credential', () => ({})],
      ['an empty header', () => ({ authorization: '' })],
      ['a scheme without a token', () => ({ authorization: 'Bearer ' })],
      ['another scheme', (token) => ({ authorization: `Basic ${token}` })],
      ['the token without a scheme', (token) => ({ authorization: token })],
      ['two tokens', (token) => ({ authorization: `Bearer ${token} ${token}` })],
      ['two headers joined by a comma', (token) => ({ authorization: `Bearer ${token}, Bearer ${token}` })],
      ['the token and a line end', (token) => ({ authorization: `Bearer ${token}\n` })],
      ['the token and a NUL', (token) => ({ authorization: `Bearer ${token}\0` })],
      ['the token cut short', (token) => ({ authorization: `Bearer ${token.slice(0, -1)}` })],
      ['the token changed', (token) => ({ authorization: `Bearer ${token.slice(0, -9)}AAAAAAAAA` })],
      ['the token made longer', (token) => ({ authorization: `Bearer ${token}A` })],
      ['a token over the limit', () => ({ authorization: `Bearer ${'a'.repeat(LIMITS.tokenBytesMax + 1)}` })],
      ['an object that is not a token', () => ({ authorization: 'Bearer [object Object]' })],
      ['only a certificate', () => ({ certificate: { commonName: 'someone' } })],
    ])('does not admit %s, and does not throw', (_, toCredentials) =>
      withHarness(async (harness) => {
        const answer = await ask(harness, toCredentials(harness.token))
        expect(['refused', 'not_mine']).toContain(answer.kind)
      }),
    )

    it('answers a caller who has gone away, and does not throw', () =>
      withHarness(async (harness) => {
        const answer = harness.authenticator.authenticate({ authorization: 'Bearer nonsense' }, AbortSignal.abort())
        expect((await answer).kind).not.toBe('authenticated')
      }))

    it('puts the token into no answer and no log', () =>
      withHarness(async (harness) => {
        const answers = [
          await ask(harness, { authorization: `Bearer ${harness.token}` }),
          await ask(harness, { authorization: `Bearer ${harness.token}x` }),
          await ask(harness, { authorization: `Basic ${harness.token}` }),
        ]
        expect(JSON.stringify(answers)).not.toContain(harness.token)
        expect(harness.logged()).not.toContain(harness.token)
      }))
  })
}
