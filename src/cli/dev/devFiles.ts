import { randomBytes } from 'node:crypto'
import { cp, mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { LIMITS } from '../../../schemas/limits.ts'
import { NATS_USERS, type NatsUser } from './natsEnvironment.ts'

/** Where the dev profile keeps what, under one data directory. */
export const toDevPaths = (dataDir: string) => ({
  dataDir,
  lockFile: join(dataDir, 'service.lock'),
  bootstrapToken: join(dataDir, 'bootstrap-token'),
  policyDir: join(dataDir, 'policies'),
  natsDir: join(dataDir, 'nats'),
  natsStore: join(dataDir, 'nats', 'store'),
  natsPidFile: join(dataDir, 'nats', 'nats-server.pid'),
  natsLog: join(dataDir, 'nats', 'nats-server.log'),
  secretsDir: join(dataDir, 'secrets'),
  softhsmDir: join(dataDir, 'softhsm'),
  softhsmConf: join(dataDir, 'softhsm', 'softhsm2.conf'),
  softhsmTokens: join(dataDir, 'softhsm', 'tokens'),
  softhsmPin: join(dataDir, 'softhsm', 'pin'),
  pinDir: join(dataDir, 'softhsm', 'pins'),
})
export type DevPaths = ReturnType<typeof toDevPaths>

/** The file with one NATS user's password. */
export const toPasswordFile = (paths: DevPaths, user: NatsUser): string => join(paths.secretsDir, `nats-${user}`)

/** Makes the directories, readable by this user only. */
export const ensureDirectories = async (paths: DevPaths): Promise<void> => {
  for (const dir of [paths.dataDir, paths.natsDir, paths.secretsDir, paths.softhsmDir, paths.pinDir]) {
    await mkdir(dir, { recursive: true, mode: 0o700 })
  }
}

/** The secret in `file`, made at random and written with mode 0600 if there is none. It begins with a letter. */
export const ensureSecret = async (file: string): Promise<string> => {
  const present = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return ''
    throw error
  })
  if (present.trim() !== '') return present.trim()
  const secret = `k${randomBytes(32).toString('hex')}`
  await writeWhole(file, `${secret}\n`)
  return secret
}

/** Every NATS user's password, made where missing. */
export const ensurePasswords = async (paths: DevPaths): Promise<Readonly<Record<NatsUser, string>>> => {
  const made = new Map<NatsUser, string>()
  for (const user of NATS_USERS) made.set(user, await ensureSecret(toPasswordFile(paths, user)))
  const of = (user: NatsUser) => made.get(user) ?? ''
  return {
    'kms-front': of('kms-front'),
    'kms-ledger': of('kms-ledger'),
    provision: of('provision'),
    auditor: of('auditor'),
    app: of('app'),
    app2: of('app2'),
  }
}

/** Makes the bootstrap token where it is missing or its time is over; gives when its time will be over, in Unix ms. */
export const ensureBootstrapToken = async (file: string, nowMs: number): Promise<number> => {
  const madeAt = await stat(file).then(
    (found) => found.mtimeMs,
    () => undefined,
  )
  if (madeAt !== undefined && madeAt + LIMITS.devBootstrapTokenAgeMs <= nowMs) await rm(file)
  await ensureSecret(file)
  return Math.floor((await stat(file)).mtimeMs) + LIMITS.devBootstrapTokenAgeMs
}

/** Copies the starter policies once; afterwards they are the operator's. */
export const ensurePolicies = async (policyDir: string, starterDir: string): Promise<void> => {
  if (await exists(policyDir)) return
  const unfinished = `${policyDir}.new`
  await rm(unfinished, { recursive: true, force: true })
  await cp(starterDir, unfinished, { recursive: true })
  await rename(unfinished, policyDir)
}

/** Whether there is something at `path`. */
export const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  )

/** Writes a file of mode 0600 that is whole or absent. */
export const writeWhole = async (file: string, text: string): Promise<void> => {
  const unfinished = `${file}.new`
  await rm(unfinished, { force: true })
  await writeFile(unfinished, text, { mode: 0o600, flag: 'wx' })
  await rename(unfinished, file)
}
