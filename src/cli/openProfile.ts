import { readFile } from 'node:fs/promises'
import type { Config } from '../../schemas/config.ts'
import type { Pin } from '../core/chainState.ts'
import type { Hsm, Telemetry } from '../core/ports.ts'
import { ok, type Result } from '../core/result.ts'
import { toLedgerFiles } from '../ledger/genesis.ts'
import { parseVkey } from '../verify/vkey.ts'
import { fault, loadConfig, type OperatorFault } from './config.ts'
import { startDevProfile } from './dev/profile.ts'
import { initKeepingHsm } from './init.ts'
import { openHsm } from './openHsm.ts'

/** A configuration whose ledger exists, and what runs beside it. */
export interface OpenProfile {
  readonly config: Config
  readonly pin: Pin
  /** The dev profile's token file; absent with a configuration file. */
  readonly bootstrapTokenFile?: string
  /** Opens the HSM for this ledger, or gives what `init` left open; the caller closes it. */
  openHsm(options: { readonly telemetry: Telemetry; readonly awaited?: string }): Promise<Hsm>
  /** Ends what was started beside the service, and what nobody took. */
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
    return pin.ok ? ok(toOpen(config.value, pin.value, { stop: async () => undefined })) : pin
  }
  const dev = await startDevProfile(env, telemetry.log)
  if (!dev.ok) return dev
  const { config, bootstrapTokenFile } = dev.value
  const made = await initKeepingHsm(config, 'dev', telemetry)
  if (made.ok)
    return ok({ ...toOpen(config, made.value.pin, { hsm: made.value.hsm, ...dev.value }), bootstrapTokenFile })
  await dev.value.stop()
  return made
}

/** One that `init` left open is given once; in the dev profile it has all backends that the service needs. */
const toOpen = (
  config: Config,
  pin: Pin,
  around: { readonly hsm?: Hsm; stop(): Promise<void> },
): Pick<OpenProfile, 'config' | 'pin' | 'openHsm' | 'stop'> => {
  let { hsm: left } = around
  return {
    config,
    pin,
    async openHsm(options) {
      const taken = left
      left = undefined
      return taken ?? openHsm({ config, origin: pin.origin, ...options })
    },
    async stop() {
      await left?.close()
      await around.stop()
    },
  }
}
