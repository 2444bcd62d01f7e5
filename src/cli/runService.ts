import { readFile } from 'node:fs/promises'
import type { Config } from '../../schemas/config.ts'
import type { Pin } from '../core/chainState.ts'
import type { Telemetry } from '../core/ports.ts'
import { ok, type Result } from '../core/result.ts'
import { toLedgerFiles } from '../ledger/genesis.ts'
import { createTelemetry } from '../telemetry/telemetry.ts'
import { parseVkey } from '../verify/vkey.ts'
import { fault, loadConfig, type OperatorFault } from './config.ts'
import { startDevProfile } from './dev/profile.ts'
import { runInit } from './init.ts'
import { formatReady } from './ready.ts'
import { type Service, startService } from './service.ts'

export interface RunOptions {
  readonly trustOnFirstUse?: boolean
  readonly takeOver?: boolean
}

/** What is running, and how to end it. */
interface Running {
  readonly service: Service
  stop(): Promise<void>
}

/** The pin that `init` wrote; a fault tells the operator to run it. */
export const readPin = async (dataDir: string): Promise<Result<Pin, OperatorFault>> => {
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

const startConfigured = async (
  config: Config,
  pin: Pin,
  options: RunOptions,
): Promise<Result<Service, OperatorFault>> => {
  const started = await startService(config, { pin, ...options })
  if (!started.ok) return started
  const serving = await started.value.whenServing()
  if (serving.ok) return started
  await started.value.stop()
  return serving
}

const startFromFile = async (file: string, options: RunOptions): Promise<Result<Running, OperatorFault>> => {
  const config = await loadConfig(file)
  if (!config.ok) return config
  const pin = await readPin(config.value.data_dir)
  if (!pin.ok) return pin
  const service = await startConfigured(config.value, pin.value, options)
  return service.ok ? ok({ service: service.value, stop: () => service.value.stop() }) : service
}

/** The embedded default: nats-server and SoftHSM beside the service, its ledger made at the first start. */
const startDev = async (
  env: NodeJS.ProcessEnv,
  options: RunOptions,
  telemetry: Telemetry,
): Promise<Result<Running, OperatorFault>> => {
  const profile = await startDevProfile(env, telemetry.log)
  if (!profile.ok) return profile
  const { config } = profile.value
  const pin = await runInit(config, 'dev', telemetry)
  const service = pin.ok ? await startConfigured(config, pin.value, options) : pin
  if (!service.ok) {
    await profile.value.stop()
    return service
  }
  process.stdout.write(formatReady(config, service.value.httpAddress, profile.value.bootstrapTokenFile))
  const stop = async () => {
    await service.value.stop()
    await profile.value.stop()
  }
  return ok({ service: service.value, stop })
}

/** Resolves at the first SIGINT or SIGTERM; a second one ends the process at once. */
const waitForSignal = (): Promise<string> =>
  new Promise((resolve) => {
    const stop = (signal: string) => {
      process.on(signal, () => process.exit(1))
      resolve(signal)
    }
    process.once('SIGINT', stop)
    process.once('SIGTERM', stop)
  })

/**
 * Runs the service until a signal: from the file in `KMS_CONFIG`, else the dev profile. Gives the exit code: 0 after a
 * clean stop, 1 when it could not start, with what to mend on stderr.
 */
export const runService = async (env: NodeJS.ProcessEnv, options: RunOptions): Promise<number> => {
  const telemetry = createTelemetry({ level: 'info' })
  const stopped = waitForSignal()
  const file = env['KMS_CONFIG']
  const running = file ? await startFromFile(file, options) : await startDev(env, options, telemetry)
  if (!running.ok) {
    process.stderr.write(`chatelaine: ${running.error.message}\n`)
    return 1
  }
  telemetry.log('info', 'ready', { address: running.value.service.httpAddress })
  telemetry.log('info', 'stopping', { signal: await stopped })
  await running.value.stop()
  telemetry.log('info', 'stopped')
  return 0
}
