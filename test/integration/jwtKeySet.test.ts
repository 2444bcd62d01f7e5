import { createServer } from 'node:net'
import { describe, expect, it } from 'vitest'
import { LIMITS } from '../../schemas/limits.ts'
import { createFakeTime } from '../fixtures/fakeTime.ts'
import { createAsk, provideIdentityProviders, refused } from '../fixtures/jwtAuthenticator.ts'

const { startProvider, open } = provideIdentityProviders()

const freePort = async (): Promise<number> => {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}

describe('the key set', () => {
  it('is fetched once for many tokens', async () => {
    const { provider, ask } = await open()
    const token = await provider.sign()
    const answers = await Promise.all(Array.from({ length: 50 }, () => ask(token)))
    expect(answers.every(({ kind }) => kind === 'authenticated')).toBe(true)
    expect(provider.fetches()).toBe(1)
  })

  it('follows a rotation at the provider, and the old key is refused from then on', async () => {
    const { time, provider, ask } = await open()
    const old = await provider.sign()
    expect((await ask(old)).kind).toBe('authenticated')
    await time.advance(LIMITS.jwksCooldownMs)
    await provider.rotate()
    expect((await ask(await provider.sign())).kind).toBe('authenticated')
    expect(await ask(old)).toEqual(refused('unknown_key'))
  })

  it('is fetched for unknown keys at most once in a cooldown, however many come', async () => {
    const { time, provider, ask } = await open()
    await ask(await provider.sign())
    const strangers = await Promise.all(Array.from({ length: 50 }, (_, n) => provider.sign({}, { kid: `none-${n}` })))
    const askAll = () => Promise.all(strangers.map((token) => ask(token)))
    expect(new Set((await askAll()).map((answer) => JSON.stringify(answer)))).toEqual(
      new Set([JSON.stringify(refused('unknown_key'))]),
    )
    expect(provider.fetches()).toBe(1)
    await time.advance(LIMITS.jwksCooldownMs)
    await askAll()
    await askAll()
    expect(provider.fetches()).toBe(2)
  })

  it('is renewed from half its age on, so that an outage within the other half is not felt', async () => {
    const { time, provider, ask } = await open()
    await ask(await provider.sign())
    await time.advance(LIMITS.jwksCacheMs / 2)
    provider.behave('failing')
    expect((await ask(await provider.sign())).kind).toBe('authenticated')
    await expect.poll(() => provider.fetches()).toBe(2)
  })

  it('is not trusted past its age when the provider is down', async () => {
    const { time, provider, ask } = await open()
    await ask(await provider.sign())
    provider.behave('failing')
    await time.advance(LIMITS.jwksCacheMs)
    expect(await ask(await provider.sign())).toEqual(refused('keys_unavailable'))
    provider.behave('well')
    await time.advance(LIMITS.jwksRetryMs)
    expect((await ask(await provider.sign())).kind).toBe('authenticated')
  })

  it.each(['failing', 'huge', 'redirecting', 'nonsense'] as const)(
    'of a provider that is %s lets nobody in',
    async (mood) => {
      const { time, provider, ask, telemetry } = await open()
      provider.behave(mood)
      const token = await provider.sign()
      expect(await ask(token)).toEqual(refused('keys_unavailable'))
      expect(await ask(token)).toEqual(refused('keys_unavailable'))
      expect(provider.fetches()).toBe(1)
      expect(telemetry.lines).toHaveLength(1)
      expect(telemetry.text()).not.toContain(token)
      provider.behave('well')
      await time.advance(LIMITS.jwksRetryMs)
      expect((await ask(token)).kind).toBe('authenticated')
    },
  )

  it('of a provider that is down at boot lets nobody in, and everybody once the provider is up', async () => {
    const time = createFakeTime()
    const port = await freePort()
    const { ask } = createAsk(time, `http://127.0.0.1:${port}/jwks`)
    const elsewhere = await startProvider({ nowMs: time.now })
    expect(await ask(await elsewhere.sign())).toEqual(refused('keys_unavailable'))
    const provider = await startProvider({ nowMs: time.now, port })
    await time.advance(LIMITS.jwksRetryMs)
    expect((await ask(await provider.sign())).kind).toBe('authenticated')
  })

  it('of a provider that hangs lets nobody in, and holds no caller past its own deadline or the timeout', async () => {
    const { provider, ask } = await open()
    provider.behave('hanging')
    const token = await provider.sign()
    const startedMs = performance.now()
    expect(await ask(token, AbortSignal.timeout(100))).toEqual(refused('keys_unavailable'))
    expect(performance.now() - startedMs).toBeLessThan(LIMITS.jwksTimeoutMs - 500)
    expect(await ask(token)).toEqual(refused('keys_unavailable'))
    expect(performance.now() - startedMs).toBeLessThan(LIMITS.jwksTimeoutMs * 3)
    expect(provider.fetches()).toBe(1)
  })
})
