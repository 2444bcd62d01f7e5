import type { Config } from '../../schemas/config.ts'
import { ok, type Result } from '../core/result.ts'
import { toDevPaths, toPasswordFile } from './dev/devFiles.ts'
import { readProfile } from './environment.ts'
import type { OperatorFault } from './operatorFault.ts'

/** A NATS user and where its password is. */
export interface NatsAccount {
  readonly user: string
  readonly passwordFile: string
}

/** What the command line has to know of an installation: where it is, and who may ask it. */
export interface Settings {
  readonly dataDir: string
  readonly servers: readonly string[]
  readonly tls: Config['nats']['tls']
  /** Base URL of the REST gateway. */
  readonly httpUrl: string
  /** The user for requests; a configuration file names none. */
  readonly app: NatsAccount | undefined
  /** The user that reads the ledger. */
  readonly auditor: NatsAccount | undefined
  /** The bootstrap token's file. */
  readonly tokenFile: string | undefined
  /** What to do when nobody answers. */
  readonly advice: string
}

/**
 * Finds the installation that the `KMS_*` variables mean: the configuration file, or else the dev profile of this clone.
 * Touches neither HSM nor server.
 */
export const findSettings = async (
  env: Readonly<Record<string, string | undefined>>,
  root: string,
): Promise<Result<Settings, OperatorFault>> => {
  const profile = readProfile(env, root)
  if (!profile.ok) return profile
  if (profile.value.kind === 'file') {
    const { loadConfig } = await import('./config.ts')
    const config = await loadConfig(profile.value.configFile)
    return config.ok ? ok(toConfigSettings(config.value)) : config
  }
  const { dataDir, natsPort, httpPort } = profile.value
  const paths = toDevPaths(dataDir)
  return ok({
    dataDir,
    servers: [`nats://127.0.0.1:${natsPort}`],
    tls: undefined,
    httpUrl: `http://127.0.0.1:${httpPort}`,
    app: { user: 'app', passwordFile: toPasswordFile(paths, 'app') },
    auditor: { user: 'auditor', passwordFile: toPasswordFile(paths, 'auditor') },
    tokenFile: paths.bootstrapToken,
    advice: 'run npm start',
  })
}

const toConfigSettings = ({ data_dir, nats, http, authn }: Config): Settings => {
  const bootstrap = authn.chain.find((entry) => entry.kind === 'bootstrap_token')
  const { auditor } = nats
  return {
    dataDir: data_dir,
    servers: nats.servers,
    tls: nats.tls,
    httpUrl: `${http.tls ? 'https' : 'http'}://${toUrlHost(http.host)}:${http.port}`,
    app: undefined,
    auditor: auditor && { user: auditor.user, passwordFile: auditor.password_file },
    tokenFile: bootstrap?.kind === 'bootstrap_token' ? bootstrap.token_file : undefined,
    advice: 'start the service with this KMS_CONFIG',
  }
}

/** Addresses that mean "all of this machine" are reached by loopback; IPv6 stands in brackets. */
const toUrlHost = (host: string): string => {
  if (host === '0.0.0.0') return '127.0.0.1'
  if (host === '::') return '[::1]'
  return host.includes(':') && !host.startsWith('[') ? `[${host}]` : host
}
