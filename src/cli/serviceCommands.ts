import { EXIT } from './exit.ts'
import type { ServiceCommands } from './program.ts'

/** `init`, `serve`, `sweep` and the commands of `ledger` that write; what they need (policies, HSM, gateways) is loaded only when one of them is asked for. */
export const serviceCommands: ServiceCommands = {
  async serve({ env }, flags) {
    const { runService } = await import('./runService.ts')
    return runService(env, flags)
  },
  async sweep({ env, stdout }, flags) {
    const { runSweep } = await import('./sweep.ts')
    return runSweep(env, flags, stdout)
  },
  async recover({ env, stdout, stderr }, flags) {
    const { runRecover } = await import('./ledgerRecover.ts')
    return runRecover(env, flags, { stdout, stderr })
  },
  async rotateRoot({ env, stdout, stderr }, flags) {
    const { runRotateRoot } = await import('./ledgerRotateRoot.ts')
    return runRotateRoot(env, flags, { stdout, stderr })
  },
  async destroyFormerRoots({ env, stdout, stderr }, flags) {
    const { runDestroyFormerRoots } = await import('./ledgerFormerRoots.ts')
    return runDestroyFormerRoots(env, flags, { stdout, stderr })
  },
  async roll(terminal, flags) {
    const { runRoll } = await import('./ledgerRoll.ts')
    return runRoll(terminal, flags)
  },
  async dropStream(terminal, flags) {
    const { runDropStream } = await import('./ledgerDropStream.ts')
    return runDropStream(terminal, flags)
  },
  async restore(terminal, flags) {
    const { runRestore } = await import('./ledgerRestore.ts')
    return runRestore(terminal, flags)
  },
  async init({ env, stdout, stderr }, { name }) {
    const file = env['KMS_CONFIG']
    if (!file) {
      stderr.write('chatelaine: KMS_CONFIG is not set; without it there is the dev profile, which npm start makes\n')
      return EXIT.usage
    }
    const [{ loadConfig }, { runInit }, { createTelemetry }] = await Promise.all([
      import('./config.ts'),
      import('./init.ts'),
      import('../telemetry/telemetry.ts'),
    ])
    const config = await loadConfig(file)
    const telemetry = createTelemetry({ level: 'warn' })
    const made = config.ok ? await runInit(config.value, name, telemetry) : config
    if (!made.ok) {
      stderr.write(`chatelaine: ${made.error.message}\n`)
      return EXIT.unreachable
    }
    stdout.write(`origin: ${made.value.origin}\n`)
    return EXIT.ok
  },
}
