import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Config } from '../../../schemas/config.ts'
import { LIMITS } from '../../../schemas/limits.ts'
import type { Telemetry } from '../../core/ports.ts'
import { must, ok, type Result } from '../../core/result.ts'
import { checkConfig, fault, type OperatorFault } from '../config.ts'
import { type Profile, readProfile } from '../environment.ts'
import { findRoot } from '../root.ts'
import {
  type DevPaths,
  ensureBootstrapToken,
  ensureDirectories,
  ensurePasswords,
  ensurePolicies,
  exists,
  toDevPaths,
  toPasswordFile,
} from './devFiles.ts'
import { lockDataDir } from './devLock.ts'
import { findMonitorPort, startNatsProcess } from './natsProcess.ts'
import { checkPortFree } from './ports.ts'
import { DEV_TOKEN_LABEL, ensureSoftHsmToken, findSoftHsmLibrary } from './softhsmToken.ts'

/** Everything around the service on one machine, for trying it out and for developing it. */
export interface DevProfile {
  /** The same kind of configuration that a file would give. */
  readonly config: Config
  /** Mode 0600; show the path, never what is in it. */
  readonly bootstrapTokenFile: string
  /** Ends nats-server and frees the data directory. Call it after the service has drained. */
  stop(): Promise<void>
}

type Environment = Record<string, string | undefined>
type DevSettings = Extract<Profile, { kind: 'dev' }>

/**
 * Makes what is missing under the data directory, starts nats-server, and gives the configuration; a second start finds
 * everything as it was. Sets `SOFTHSM2_CONF` in `env`, where SoftHSM looks for it: give it `process.env`. For use only
 * when `KMS_CONFIG` is unset. A fault names the variable to set or what to install.
 */
export const startDevProfile = async (
  env: Environment,
  log: Telemetry['log'],
): Promise<Result<DevProfile, OperatorFault>> => {
  const root = findRoot(import.meta.url)
  const settings = readDevSettings(env, root)
  if (!settings.ok) return settings
  const paths = toDevPaths(settings.value.dataDir)
  await ensureDirectories(paths)
  const unlock = await lockDataDir(paths.lockFile)
  if (!unlock.ok) return unlock
  const started = await startLocked(settings.value, paths, root, log).catch(async (error: unknown) => {
    await unlock.value()
    throw error
  })
  if (!started.ok) {
    await unlock.value()
    return started
  }
  env['SOFTHSM2_CONF'] = paths.softhsmConf
  const stop = async (): Promise<void> => {
    await started.value.stop()
    await unlock.value()
  }
  return ok({ config: started.value.config, bootstrapTokenFile: paths.bootstrapToken, stop })
}

/**
 * The configuration of a dev profile that was started before, for the command line beside it. Needs no running server;
 * `nats.monitor_url` is there only if one runs.
 */
export const findDevConfig = async (env: Environment): Promise<Result<Config, OperatorFault>> => {
  const root = findRoot(import.meta.url)
  const settings = readDevSettings(env, root)
  if (!settings.ok) return settings
  const paths = toDevPaths(settings.value.dataDir)
  const library = findSoftHsmLibrary()
  if (library === undefined || !(await exists(paths.bootstrapToken))) {
    return fault(`no dev profile in ${paths.dataDir}: run \`npm start\` once, or set KMS_DATA_DIR or KMS_CONFIG`)
  }
  env['SOFTHSM2_CONF'] = paths.softhsmConf
  const monitorPort = await findMonitorPort({ configFile: join(root, 'nats.conf'), paths })
  const expiresAtMs = Math.floor((await stat(paths.bootstrapToken)).mtimeMs) + LIMITS.devBootstrapTokenAgeMs
  return ok(toDevConfig({ settings: settings.value, paths, library, monitorPort, expiresAtMs }))
}

const readDevSettings = (env: Environment, root: string): Result<DevSettings, OperatorFault> => {
  const profile = readProfile(env, root)
  if (!profile.ok) return profile
  return profile.value.kind === 'dev' ? ok(profile.value) : fault('KMS_CONFIG: is set, so there is no dev profile')
}

const startLocked = async (
  settings: DevSettings,
  paths: DevPaths,
  root: string,
  log: Telemetry['log'],
): Promise<Result<{ readonly config: Config; stop(): Promise<void> }, OperatorFault>> => {
  const free = await checkPortFree(settings.httpPort, 'KMS_HTTP_PORT')
  if (!free.ok) return free
  const passwords = await ensurePasswords(paths)
  const expiresAtMs = await ensureBootstrapToken(paths.bootstrapToken, Date.now())
  await ensurePolicies(paths.policyDir, join(root, 'policies'))
  const library = await ensureSoftHsmToken(paths)
  if (!library.ok) return library
  const binary = join(root, '.tools', 'bin', 'nats-server')
  if (!(await exists(binary))) return fault('nats-server is missing: run npm run setup')
  const configFile = join(root, 'nats.conf')
  const server = await startNatsProcess({ binary, configFile, paths, port: settings.natsPort, passwords })
  if (!server.ok) return server
  let stopping = false
  void server.value.ended.then(() => {
    if (!stopping) log('error', 'nats-server ended by itself', { log_file: paths.natsLog })
  })
  log('info', 'nats-server started', { pid: server.value.pid, port: settings.natsPort })
  const { monitorPort } = server.value
  const stop = async (): Promise<void> => {
    stopping = true
    await server.value.stop()
  }
  return ok({ config: toDevConfig({ settings, paths, library: library.value, monitorPort, expiresAtMs }), stop })
}

const toDevConfig = (from: {
  readonly settings: DevSettings
  readonly paths: DevPaths
  readonly library: string
  readonly monitorPort: number | undefined
  readonly expiresAtMs: number
}): Config => {
  const { settings, paths, library, monitorPort } = from
  const user = (name: 'kms-front' | 'kms-ledger' | 'provision' | 'auditor') => ({
    user: name,
    password_file: toPasswordFile(paths, name),
  })
  const checked = checkConfig({
    data_dir: paths.dataDir,
    nats: {
      servers: [`nats://127.0.0.1:${settings.natsPort}`],
      front: user('kms-front'),
      ledger: user('kms-ledger'),
      provision: user('provision'),
      auditor: user('auditor'),
      ...(monitorPort === undefined ? {} : { monitor_url: `http://127.0.0.1:${monitorPort}` }),
    },
    ledger: { anchors: { stream: {} } },
    http: { port: settings.httpPort },
    hsm: {
      backends: [{ id: 'softhsm', lib_path: library, token_label: DEV_TOKEN_LABEL, pin_file: paths.softhsmPin }],
      // For HSM connections: another token of this SoftHSM, with its PIN in a file of that directory.
      allowed_libraries: [library],
      pin_dir: paths.pinDir,
      ledger_backend: 'softhsm',
    },
    authn: {
      chain: [
        {
          kind: 'bootstrap_token',
          token_file: paths.bootstrapToken,
          expires_at: new Date(from.expiresAtMs).toISOString(),
        },
      ],
    },
    pdp: { cedar: { policy_dir: paths.policyDir } },
  })
  must(checked.ok, `the dev profile's configuration is not valid: ${checked.ok ? '' : checked.error.message}`)
  return checked.value
}
