import { createLocalJWKSet, errors, type JSONWebKeySet, type JWK, type LocalJWKSet } from 'jose'
import { LIMITS } from '../../schemas/limits.ts'
import type { Clock, Telemetry } from '../core/ports.ts'

/** The keys of an identity provider, or that they cannot be had now. */
export interface Jwks {
  /**
   * Runs `find` on the keys; when it finds none that fits, once more on fresh ones if the cooldown allows.
   * Throws {@link JwksUnavailable} when there are no keys, and whatever `find` throws.
   */
  findKey<T>(find: (keys: LocalJWKSet) => Promise<T>, signal: AbortSignal): Promise<T>
}

/** No keys to verify with: the identity provider has not answered, or not for longer than jwksCacheMs. */
export class JwksUnavailable extends Error {
  override readonly name = 'JwksUnavailable'
}

interface Fetched {
  readonly keys: LocalJWKSet
  readonly atMs: number
}

/**
 * A key set fetched over HTTP and kept for jwksCacheMs; older keys are not trusted, since one may have been withdrawn.
 * From half that age on it is renewed behind the callers' backs, so a short outage of the provider is not felt.
 * At most one fetch is under way; after a success an unknown key fetches again only when jwksCooldownMs have passed,
 * after a failure nothing does before jwksRetryMs have. So a stranger's tokens cannot hammer the provider.
 * Nothing is fetched before the first use: a provider that is down at boot holds nothing up.
 */
export const createJwks = (options: {
  readonly url: URL
  readonly clock: Clock
  readonly telemetry: Telemetry
}): Jwks => {
  const { url, clock, telemetry } = options
  let fetched: Fetched | undefined
  let failedAtMs = Number.NEGATIVE_INFINITY
  let underWay: Promise<void> | undefined

  const ageMs = (): number => (fetched === undefined ? Number.POSITIVE_INFINITY : clock.now() - fetched.atMs)
  const mayFetch = (minAgeMs: number): boolean => ageMs() >= minAgeMs && clock.now() - failedAtMs >= LIMITS.jwksRetryMs
  /** Starts a fetch, or joins the one under way. Never rejects. */
  const refresh = (): Promise<void> => {
    underWay ??= fetchKeySet(url)
      .then((keySet) => {
        fetched = { keys: createLocalJWKSet(keySet), atMs: clock.now() }
        failedAtMs = Number.NEGATIVE_INFINITY
      })
      .catch((error: unknown) => {
        failedAtMs = clock.now()
        const reason = error instanceof Error ? error.message : 'unknown error'
        telemetry.log('warn', 'the key set of the identity provider could not be fetched', { reason })
      })
      .finally(() => {
        underWay = undefined
      })
    return underWay
  }
  const current = async (signal: AbortSignal): Promise<Fetched> => {
    if (ageMs() >= LIMITS.jwksCacheMs) {
      fetched = undefined
      if (underWay !== undefined || mayFetch(0)) await abortable(refresh(), signal)
    } else if (mayFetch(LIMITS.jwksCacheMs / 2)) void refresh()
    if (fetched === undefined) throw new JwksUnavailable('the key set of the identity provider is not available')
    return fetched
  }
  return {
    async findKey(find, signal) {
      const first = await current(signal)
      try {
        return await find(first.keys)
      } catch (error) {
        if (!(error instanceof errors.JWKSNoMatchingKey)) throw error
        if (fetched === first && (underWay !== undefined || mayFetch(LIMITS.jwksCooldownMs))) {
          await abortable(refresh(), signal)
        }
        if (fetched === undefined || fetched === first) throw error
        return find(fetched.keys)
      }
    },
  }
}

/** Waits for shared work no longer than one caller wants to; the work itself goes on for the others. */
const abortable = async (work: Promise<void>, signal: AbortSignal): Promise<void> => {
  signal.throwIfAborted()
  let stop: () => void = () => undefined
  const aborted = new Promise<void>((resolve) => {
    stop = resolve
    signal.addEventListener('abort', stop, { once: true })
  })
  await Promise.race([work, aborted])
  signal.removeEventListener('abort', stop)
  signal.throwIfAborted()
}

const fetchKeySet = async (url: URL): Promise<JSONWebKeySet> => {
  const signal = AbortSignal.timeout(LIMITS.jwksTimeoutMs)
  // A redirect would move the root of trust to where the provider's answer points.
  const response = await fetch(url, { signal, redirect: 'error', headers: { accept: 'application/json' } })
  if (response.status !== 200) {
    await response.body?.cancel()
    throw new Error(`HTTP status ${response.status}`)
  }
  const value: unknown = JSON.parse(await readBounded(response))
  if (!isKeySet(value)) throw new Error('the answer is not a key set of public keys')
  return { keys: value.keys.filter(isPublicKey) }
}

const readBounded = async (response: Response): Promise<string> => {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length
    if (bytes > LIMITS.jwksBytesMax) throw new Error(`the key set is larger than ${LIMITS.jwksBytesMax} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}

const isKeySet = (value: unknown): value is JSONWebKeySet =>
  typeof value === 'object' &&
  value !== null &&
  'keys' in value &&
  Array.isArray(value.keys) &&
  value.keys.length <= LIMITS.jwksKeysMax &&
  value.keys.every((key) => typeof key === 'object' && key !== null && !Array.isArray(key))

/** Symmetric keys never enter: with them a token could be made by whoever can verify it. */
const isPublicKey = (key: JWK): boolean =>
  (key.kty === 'RSA' || key.kty === 'EC' || key.kty === 'OKP') && !Object.hasOwn(key, 'd')
