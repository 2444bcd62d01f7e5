import { LIMITS } from '../../schemas/limits.ts'
import { ok, type Result } from '../core/result.ts'
import { createTelemetry } from '../telemetry/telemetry.ts'
import type { OperatorFault } from './config.ts'
import { type OpenProfile, openProfile } from './openProfile.ts'
import { formatReady } from './ready.ts'
import { type Service, startService } from './service.ts'

export interface RunOptions {
  readonly trustOnFirstUse?: boolean
  readonly takeOver?: boolean
}

/** Gives nothing if a signal came first: a standby serves only once the writer is gone, and an HSM can be away for long. */
const startServing = async (
  { config, pin, openHsm }: OpenProfile,
  options: RunOptions,
  stopped: Promise<string>,
): Promise<Result<Service | undefined, OperatorFault>> => {
  const started = await startService(config, { pin, openHsm, ...options })
  if (!started.ok) return started
  const serving = await Promise.race([started.value.whenServing(), stopped])
  if (typeof serving !== 'string' && serving.ok) return started
  await started.value.stop()
  return typeof serving === 'string' ? ok(undefined) : serving
}

/**
 * Resolves at the first SIGINT or SIGTERM; one that comes later than `signalRepeatMs` ends the process at once. At Ctrl-C
 * the terminal sends SIGINT to the whole group and npm forwards its own to this process as well: that is still the first.
 */
const waitForSignal = (): Promise<string> =>
  new Promise((resolve) => {
    let firstAt: number | undefined
    const hear = (signal: string): void => {
      const now = performance.now()
      firstAt ??= now
      if (now - firstAt > LIMITS.signalRepeatMs) process.exit(1)
      resolve(signal)
    }
    process.on('SIGINT', hear)
    process.on('SIGTERM', hear)
  })

/**
 * Runs the service until a signal: from the file in `KMS_CONFIG`, else the dev profile. Gives the exit code: 0 after a
 * clean stop, 1 when it could not start, with what to mend on stderr.
 */
export const runService = async (env: NodeJS.ProcessEnv, options: RunOptions): Promise<number> => {
  const telemetry = createTelemetry({ level: 'info' })
  const stopped = waitForSignal()
  const profile = await openProfile(env, telemetry)
  const service = profile.ok ? await startServing(profile.value, options, stopped) : profile
  if (!profile.ok || !service.ok) {
    if (profile.ok) await profile.value.stop()
    if (!service.ok) process.stderr.write(`chatelaine: ${service.error.message}\n`)
    return 1
  }
  if (service.value !== undefined) {
    const { httpAddress } = service.value
    const { config, bootstrapTokenFile } = profile.value
    if (bootstrapTokenFile !== undefined)
      process.stdout.write(formatReady({ config, httpAddress, tokenFile: bootstrapTokenFile, env }))
    telemetry.log('info', 'ready', { address: httpAddress })
    telemetry.log('info', 'stopping', { signal: await stopped })
    await service.value.stop()
  }
  await profile.value.stop()
  telemetry.log('info', 'stopped')
  return 0
}
