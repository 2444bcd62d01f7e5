import { resolve } from 'node:path'
import { ok, type Result } from '../core/result.ts'
import { fault, type OperatorFault } from './operatorFault.ts'

/** The environment variables the service and the CLI read, and what each means. */
export const ENVIRONMENT = {
  KMS_CONFIG: 'The configuration file. Unset: the dev profile.',
  KMS_DATA_DIR: 'Directory of the dev profile, `.data` in the clone if unset.',
  KMS_NATS_PORT: 'Port of the dev profile’s nats-server, 4222 if unset.',
  KMS_HTTP_PORT: 'Port of the dev profile’s REST gateway, 8080 if unset.',
} as const

/** Which configuration to run: a file, or the dev profile with its three settings. */
export type Profile =
  | { readonly kind: 'file'; readonly configFile: string }
  | { readonly kind: 'dev'; readonly dataDir: string; readonly natsPort: number; readonly httpPort: number }

/** Reads the `KMS_*` variables; an empty one counts as unset. `root` is the clone. */
export const readProfile = (
  env: Readonly<Record<string, string | undefined>>,
  root: string,
): Result<Profile, OperatorFault> => {
  const configFile = env['KMS_CONFIG'] || undefined
  if (configFile !== undefined) {
    const idle = (['KMS_DATA_DIR', 'KMS_NATS_PORT', 'KMS_HTTP_PORT'] as const).find((name) => env[name])
    if (idle !== undefined) return fault(`${idle}: has no effect with KMS_CONFIG: set it in the configuration file`)
    return ok({ kind: 'file', configFile: resolve(configFile) })
  }
  const natsPort = readPort('KMS_NATS_PORT', env, 4222)
  if (!natsPort.ok) return natsPort
  const httpPort = readPort('KMS_HTTP_PORT', env, 8080)
  if (!httpPort.ok) return httpPort
  const dataDir = env['KMS_DATA_DIR'] ? resolve(env['KMS_DATA_DIR']) : resolve(root, '.data')
  // It goes into nats-server's and SoftHSM's configuration.
  if (/['"\r\n]/.test(dataDir)) return fault('KMS_DATA_DIR: must not have a quote or a line break in it')
  return ok({ kind: 'dev', dataDir, natsPort: natsPort.value, httpPort: httpPort.value })
}

const readPort = (
  name: 'KMS_NATS_PORT' | 'KMS_HTTP_PORT',
  env: Readonly<Record<string, string | undefined>>,
  preset: number,
): Result<number, OperatorFault> => {
  const text = env[name] || undefined
  if (text === undefined) return ok(preset)
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0
  return port >= 1 && port <= 65535 ? ok(port) : fault(`${name}: must be a port, 1 to 65535`)
}
