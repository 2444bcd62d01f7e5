import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { JWT_ALGORITHM_NAMES } from '../../../schemas/config.ts'
import { LIMITS } from '../../../schemas/limits.ts'
import { checkConfig, loadConfig, parseConfig } from '../../../src/cli/config.ts'
import { readProfile } from '../../../src/cli/environment.ts'
import { SMALLEST_CONFIG } from '../../../src/docs/configuration.ts'

/** The smallest configuration with one place set to another value; undefined removes it. */
const withValue = (path: string, value: unknown): unknown => {
  const config: unknown = structuredClone(SMALLEST_CONFIG)
  const parts = path.split('.')
  const last = parts.pop() ?? ''
  let parent = config
  for (const part of parts) {
    if (!isMap(parent)) break
    parent[part] ??= {}
    parent = parent[part]
  }
  if (!isMap(parent)) throw new Error(`no place ${path}`)
  if (value === undefined) delete parent[last]
  else parent[last] = value
  return config
}
const isMap = (node: unknown): node is Record<string, unknown> => typeof node === 'object' && node !== null

const messageOf = (given: unknown): string => {
  const checked = checkConfig(given)
  return checked.ok ? 'accepted' : checked.error.message
}

const TOKEN = { kind: 'bootstrap_token', token_file: 't', expires_at: '2030-01-01T00:00:00.000Z' }

describe('a configuration', () => {
  test('that says the least is accepted, and gets its defaults', () => {
    const checked = checkConfig(SMALLEST_CONFIG)
    expect(checked).toMatchObject({
      ok: true,
      value: {
        http: { host: '127.0.0.1', port: 8080, allow_plaintext: false },
        nats: { front: { user: 'kms-front' }, replicas: 1, assume_sync_always: false },
        hsm: { placement: 'process', processes: 1 },
        authn: { chain: [{ algorithms: ['EdDSA', 'ES256', 'RS256'], principal_type: 'User' }] },
        pdp: { cedar: { send_context_sha256: true } },
        log: { level: 'info' },
      },
    })
  })

  test('is not changed by being checked', () => {
    const given = structuredClone(SMALLEST_CONFIG)
    checkConfig(given)
    expect(given).toEqual(SMALLEST_CONFIG)
  })

  test.each([
    ['data_dir', undefined, 'data_dir: is required'],
    ['nats.front', undefined, 'nats.front: is required'],
    ['nats.fornt', {}, 'nats.fornt: there is no such field'],
    ['nats.servers', [], 'nats.servers: must not have fewer than 1 items'],
    ['http.port', 70000, 'http.port: must be <= 65535'],
    ['http.port', '8080', 'http.port: must be integer'],
    ['log.level', 'loud', 'log.level: must be one of debug, info, warn, error'],
    ['hsm.placement', 'thread', 'hsm.placement: must be one of process, inline'],
    ['hsm.ledger_backend', 'other', 'hsm.ledger_backend: must be the id of one of hsm.backends'],
    ['authn.chain', [], 'authn.chain: must not have fewer than 1 items'],
    ['authn.chain.0.kind', 'anyone', 'authn.chain.0.kind: must be one of bootstrap_token, jwt'],
    ['authn.chain.0.isuer', 'x', 'authn.chain.0.isuer: there is no such field'],
    ['authn.chain.0.audience', undefined, 'authn.chain.0.audience: is required'],
    ['authn.chain.0.algorithms', ['HS256'], /^authn\.chain\.0\.algorithms\.0: must be one of RS256, /],
    ['authn.chain.0.jwks_url', 'http://idp.example/jwks', 'authn.chain.0.jwks_url: must be https, or on loopback'],
    ['authn.chain', [TOKEN, TOKEN], 'authn.chain: only one bootstrap_token'],
    ['authn.chain', [...SMALLEST_CONFIG.authn.chain, ...SMALLEST_CONFIG.authn.chain], 'authn.chain: only one jwt'],
    ['authn.chain', [{ ...TOKEN, expires_at: 'soon' }], /^authn\.chain\.0\.expires_at: /],
    ['nats.tls', { cert_file: 'c' }, 'nats.tls: cert_file and key_file go together'],
    ['nats.tls', undefined, /^nats\.servers\.0: is not on loopback/],
    ['ledger.anchors.required', 2, 'ledger.anchors.required: there are only 1 anchors'],
    ['ledger.anchors.required_witnesses', 1, 'ledger.anchors.required_witnesses: there are only 0 witnesses'],
    [
      'ledger.anchors.stream',
      { servers: ['nats://127.0.0.1:1'] },
      /^ledger\.anchors\.stream: servers and password_file/,
    ],
    ['ledger.anchors.stream', { tls: {} }, 'ledger.anchors.stream.tls: is for servers of its own'],
    [
      'ledger.anchors.stream',
      { servers: ['nats://nats.example:4222'], password_file: 'p' },
      /^ledger\.anchors\.stream\.servers\.0: is not on loopback/,
    ],
    [
      'ledger.anchors.witnesses',
      [{ url: 'http://witness.example/', key: 'k' }],
      'ledger.anchors.witnesses.0.url: must be https, or on loopback',
    ],
    ['http.host', '0.0.0.0', /^http\.host: is not loopback/],
    ['http.admin', { port: 8080 }, 'http.admin.port: must differ from http.port'],
  ])('with %s = %j is refused by a message that names the field', (path, value, message) => {
    expect(messageOf(withValue(path, value))).toEqual(
      typeof message === 'string' ? message : expect.stringMatching(message),
    )
  })

  test.each([
    ['authn.chain', [TOKEN]],
    ['authn.chain.0.jwks_url', 'http://127.0.0.1:9/jwks'],
    ['nats.allow_plaintext', true],
    ['http.tls', { cert_file: 'c', key_file: 'k' }],
  ])('with %s = %j is accepted', (path, value) => {
    expect(messageOf(withValue(path, value))).toBe('accepted')
  })

  test('names a backend that stands twice', () => {
    const [backend] = SMALLEST_CONFIG.hsm.backends
    expect(messageOf(withValue('hsm.backends', [backend, backend]))).toBe('hsm.backends.1.id: is used twice')
  })

  test('that is not JSON is refused', () => {
    expect(parseConfig('{')).toMatchObject({ ok: false, error: { message: expect.stringMatching(/^not JSON/) } })
  })

  test('knows asymmetric algorithms only', () => {
    expect(JWT_ALGORITHM_NAMES.filter((name) => /^HS|^none$/i.test(name))).toEqual([])
  })
})

describe('a configuration file', () => {
  test('gives paths relative to itself, and its faults by name', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'kms-config-'))
    try {
      const file = join(dir, 'kms.json')
      const token = [{ ...TOKEN, token_file: 'secrets/token' }]
      await writeFile(file, JSON.stringify({ ...SMALLEST_CONFIG, data_dir: 'data', authn: { chain: token } }))
      expect(await loadConfig(file)).toMatchObject({
        ok: true,
        value: {
          data_dir: join(dir, 'data'),
          authn: { chain: [{ token_file: join(dir, 'secrets/token') }] },
          nats: { front: { password_file: '/run/secrets/kms_front' } },
        },
      })
      await writeFile(file, JSON.stringify({ ...SMALLEST_CONFIG, data_dir: 7 }))
      const wrong = await loadConfig(file)
      expect(wrong.ok ? '' : wrong.error.message).toBe(`${file}: data_dir: must be string`)
      await writeFile(file, ' '.repeat(LIMITS.configBytesMax + 1))
      expect((await loadConfig(file)).ok).toBe(false)
      expect((await loadConfig(join(dir, 'none.json'))).ok).toBe(false)
    } finally {
      await rm(dir, { recursive: true })
    }
  })
})

describe('the environment', () => {
  test('without KMS_CONFIG chooses the dev profile in the clone', () => {
    expect(readProfile({ KMS_NATS_PORT: '' }, '/clone')).toEqual({
      ok: true,
      value: { kind: 'dev', dataDir: '/clone/.data', natsPort: 4222, httpPort: 8080 },
    })
  })

  test('moves the dev profile', () => {
    const env = { KMS_DATA_DIR: '/d', KMS_NATS_PORT: '14222', KMS_HTTP_PORT: '18080' }
    expect(readProfile(env, '/clone')).toEqual({
      ok: true,
      value: { kind: 'dev', dataDir: '/d', natsPort: 14222, httpPort: 18080 },
    })
  })

  test.each(['0', '65536', '80a', '-1', '4e3'])('refuses the port %s by its variable', (port) => {
    const refused = readProfile({ KMS_HTTP_PORT: port }, '/clone')
    expect(refused.ok ? '' : refused.error.message).toBe('KMS_HTTP_PORT: must be a port, 1 to 65535')
  })

  test('refuses a data directory that could not be written into the servers\u2019 configuration', () => {
    const refused = readProfile({ KMS_DATA_DIR: "/it's" }, '/clone')
    expect(refused.ok ? '' : refused.error.message).toMatch(/^KMS_DATA_DIR: /)
  })

  test('says so when a variable would have no effect', () => {
    const refused = readProfile({ KMS_CONFIG: '/c', KMS_HTTP_PORT: '1' }, '/clone')
    expect(refused.ok ? '' : refused.error.message).toMatch(/^KMS_HTTP_PORT: has no effect with KMS_CONFIG/)
  })
})
