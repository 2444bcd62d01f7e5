import { readFile } from 'node:fs/promises'
import type { Config } from '../../schemas/config.ts'
import type { Pin } from '../core/chainState.ts'
import type { Telemetry } from '../core/ports.ts'
import { ok, type Result } from '../core/result.ts'
import { toLedgerFiles } from '../ledger/genesis.ts'
import { parseVkey } from '../verify/vkey.ts'
import { fault, loadConfig, type OperatorFault } from './config.ts'
import { startDevProfile } from './dev/profile.ts'
import { runInit } from './init.ts'

/** A configuration whose ledger exists, and what runs beside it. */
export interface OpenProfile {
  readonly config: Config
  readonly pin: Pin
  /** The dev profile's token file; absent with a configuration file. */
  readonly bootstrapTokenFile?: string
  /** Ends what was started beside the service. */
  stop(): Promise<void>
}

const readPin = async (dataDir: string): Promise<Result<Pin, OperatorFault>> => {
  const { vkey } = toLedgerFiles(dataDir)
  let text: string
  try {
    text = await readFile(vkey, 'utf8')
  } catch {
    return fault(`${vkey} cannot be read: run \`chatelaine init\` first`)
  }
  const pin = parseVkey(text.trim())
  return pin.ok ? pin : fault(`${vkey}: ${pin.error}`)
}

/** From the file in `KMS_CONFIG`; else the dev profile, whose ledger is made at the first start. */
export const openProfile = async (
  env: NodeJS.ProcessEnv,
  telemetry: Telemetry,
): Promise<Result<OpenProfile, OperatorFault>> => {
  const file = env['KMS_CONFIG']
  if (file) {
    const config = await loadConfig(file)
    if (!config.ok) return config
    const pin = await readPin(config.value.data_dir)
    return pin.ok ? ok({ config: config.value, pin: pin.value, stop: async () => undefined }) : pin
  }
  const dev = await startDevProfile(env, telemetry.log)
  if (!dev.ok) return dev
  const { config, bootstrapTokenFile } = dev.value
  const pin = await runInit(config, 'dev', telemetry)
  if (pin.ok) return ok({ config, pin: pin.value, bootstrapTokenFile, stop: () => dev.value.stop() })
  await dev.value.stop()
  return pin
}
