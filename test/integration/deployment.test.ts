import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { connect } from '@nats-io/transport-node'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { parseConfig } from '../../src/cli/config.ts'

const run = promisify(execFile)
const root = fileURLToPath(new URL('../../', import.meta.url))

interface Service {
  readonly build: { readonly target: string }
  readonly read_only?: boolean
  readonly cap_drop?: readonly string[]
  readonly environment?: Readonly<Record<string, string>>
  readonly volumes?: readonly string[]
  readonly secrets?: readonly string[]
  readonly ports?: readonly string[]
  readonly depends_on?: Readonly<Record<string, unknown>>
}
interface Compose {
  readonly services: Readonly<Record<string, Service>>
  readonly secrets: Readonly<Record<string, { readonly file: string }>>
  readonly volumes: Readonly<Record<string, unknown>>
}

let work: string
let secrets: string
let compose: Compose
let dockerfile: string

beforeAll(async () => {
  work = await mkdtemp(join(tmpdir(), 'kms-deploy-'))
  secrets = join(work, 'secrets')
  compose = parse(await readFile(join(root, 'docker-compose.yml'), 'utf8'), { merge: true })
  dockerfile = await readFile(join(root, 'Dockerfile'), 'utf8')
  await run('sh', [join(root, 'deploy/makeSecrets.sh'), secrets])
})
afterAll(() => rm(work, { recursive: true, force: true }))

const services = () => Object.entries(compose.services)
const secret = async (name: string) => (await readFile(join(secrets, name), 'utf8')).trim()

describe('docker-compose.yml', () => {
  test('names only files that are in the repository or that makeSecrets makes', () => {
    const mounts = services().flatMap(([, { volumes = [] }]) => volumes.map((volume) => volume.split(':')[0] ?? ''))
    const paths = [
      ...mounts.filter((path) => path.startsWith('.')),
      ...Object.values(compose.secrets).map(({ file }) => file),
    ]
    expect(paths.length).toBeGreaterThan(8)
    const missing = paths.filter((path) => {
      const made = path.replace(/^\.\/deploy\/secrets\//, '')
      return made === path ? !existsSync(join(root, path)) : !existsSync(join(secrets, made))
    })
    expect(missing).toEqual([])
    const named = mounts.filter((path) => !path.startsWith('.'))
    expect(named.filter((name) => !(name in compose.volumes))).toEqual([])
  })

  test('gives each container only declared secrets, the service not the right to change the stream', () => {
    for (const [name, service] of services()) {
      expect([name, (service.secrets ?? []).filter((one) => !(one in compose.secrets))]).toEqual([name, []])
    }
    expect(compose.services['kms']?.secrets).not.toContain('nats_provision')
    expect(compose.services['kms']?.secrets).not.toContain('nats_auditor')
  })

  test('runs every container without a writable root or capabilities, and publishes on loopback only', () => {
    expect(services().map(([name]) => name)).toEqual(['nats', 'token', 'init', 'kms'])
    for (const [name, { read_only, cap_drop, ports = [] }] of services()) {
      expect([name, read_only, cap_drop]).toEqual([name, true, ['ALL']])
      expect([name, ports.filter((port) => !port.startsWith('127.0.0.1:'))]).toEqual([name, []])
    }
  })

  test('has no password or token in an environment', () => {
    const variables = services().flatMap(([, { environment = {} }]) => Object.keys(environment))
    expect(variables.filter((name) => /PASS|TOKEN|PIN|SECRET/i.test(name))).toEqual([])
  })

  test('builds and waits for things that exist', () => {
    const stages = [...dockerfile.matchAll(/^FROM \S+ AS (\S+)$/gm)].map(([, name]) => name)
    for (const [name, { build, depends_on = {} }] of services()) {
      expect([name, stages.includes(build.target)]).toEqual([name, true])
      expect(Object.keys(depends_on).filter((other) => !(other in compose.services))).toEqual([])
    }
  })
})

describe('the Dockerfile', () => {
  test('copies only files that are in the repository and not kept out of the build', async () => {
    const copied = [...dockerfile.matchAll(/^COPY (?!--from)(?:--\S+ )?(.+)$/gm)].flatMap(([, names = '']) =>
      names.split(' ').slice(0, -1),
    )
    expect(copied.length).toBeGreaterThan(10)
    expect(copied.filter((path) => !existsSync(join(root, path)))).toEqual([])
    const allowed = (await readFile(join(root, '.dockerignore'), 'utf8'))
      .split('\n')
      .filter((line) => line.startsWith('!'))
    expect(copied.filter((path) => !allowed.includes(`!${path.split('/')[0]}`))).toEqual([])
  })

  test('ends each image as a user that is not root', () => {
    const images = dockerfile.split(/^FROM /m).slice(1)
    const last = (text: string) => [...text.matchAll(/^USER (\S+)$/gm)].at(-1)?.[1]
    expect(images.filter((text) => !/ AS build\n/.test(text)).map(last)).toEqual(['10001:10001', '10001:10001'])
  })
})

describe('makeSecrets', () => {
  test('makes a configuration that the service accepts, with a token that expires', async () => {
    const parsed = parseConfig(await readFile(join(secrets, 'config.json'), 'utf8'))
    if (!parsed.ok) throw new Error(parsed.error.message)
    const [entry] = parsed.value.authn.chain
    const expires = entry?.kind === 'bootstrap_token' ? Date.parse(entry.expires_at) : 0
    expect(expires).toBeGreaterThan(Date.now() + 29 * 24 * 3600 * 1000)
    expect(expires).toBeLessThan(Date.now() + 31 * 24 * 3600 * 1000)
  })

  test('keeps the directory to its user, and what is there at a second run', async () => {
    expect((await stat(secrets)).mode & 0o777).toBe(0o700)
    const before = await Promise.all((await readdir(secrets)).map(secret))
    expect(new Set(before).size).toBe(before.length)
    await run('sh', [join(root, 'deploy/makeSecrets.sh'), secrets])
    expect(await Promise.all((await readdir(secrets)).map(secret))).toEqual(before)
  })
})

describe('what the containers run', () => {
  test('runNats starts nats-server with the passwords of the secrets', async () => {
    const child = spawn('sh', [join(root, 'deploy/runNats.sh'), '--ports_file_dir', work], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: {
        PATH: `${join(root, '.tools/bin')}:${process.env['PATH']}`,
        KMS_SECRETS_DIR: secrets,
        KMS_NATS_HOST: '127.0.0.1',
        KMS_NATS_PORT: '-1',
        KMS_NATS_MONITOR_PORT: '-1',
        KMS_NATS_STORE_DIR: join(work, 'store'),
        KMS_NATS_CONFIG: join(root, 'nats.conf'),
      },
    })
    try {
      let said = ''
      child.stderr.on('data', (chunk: Buffer) => {
        said += chunk.toString()
      })
      await expect.poll(() => said, { timeout: 10_000 }).toContain('Server is ready')
      const ports = await readFile(join(work, `nats-server_${child.pid}.ports`), 'utf8')
      const servers = /nats:\/\/127\.0\.0\.1:\d+/.exec(ports)?.[0] ?? ''
      const nc = await connect({ servers, user: 'kms-front', pass: await secret('nats_front') })
      await nc.close()
      await expect(connect({ servers, user: 'kms-front', pass: 'x', reconnect: false })).rejects.toThrow()
    } finally {
      const exited = once(child, 'exit')
      child.kill('SIGTERM')
      await exited
    }
  })

  test('runNats refuses to start with an empty password', async () => {
    const empty = join(work, 'empty')
    await run('cp', ['-r', secrets, empty])
    await writeFile(join(empty, 'nats_ledger'), '')
    const refused = run('sh', [join(root, 'deploy/runNats.sh')], { env: { ...process.env, KMS_SECRETS_DIR: empty } })
    await expect(refused).rejects.toThrow(/secret nats_ledger is empty/)
  })

  test('makeToken makes the token once', async () => {
    const conf = join(work, 'softhsm2.conf')
    const text = await readFile(join(root, 'deploy/softhsm2.conf'), 'utf8')
    await writeFile(conf, text.replace('/var/lib/softhsm-trial/tokens', join(work, 'tokens')))
    const env = { ...process.env, SOFTHSM2_CONF: conf, KMS_SECRETS_DIR: secrets }
    await run('sh', [join(root, 'deploy/makeToken.sh')], { env })
    await run('sh', [join(root, 'deploy/makeToken.sh')], { env })
    expect(await readdir(join(work, 'tokens'))).toHaveLength(1)
    expect((await run('softhsm2-util', ['--show-slots'], { env })).stdout).toMatch(/Label:\s+chatelaine\s/)
  })
})
