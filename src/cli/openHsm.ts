import type { Config } from '../../schemas/config.ts'
import type { Hsm, Telemetry } from '../core/ports.ts'
import { createHsm } from '../hsm/createHsm.ts'

interface Options {
  readonly config: Config
  readonly origin: string
  readonly telemetry: Telemetry
  /** The backend without which there is no start; all of them if absent. */
  readonly awaited?: string
}

/** Opens the configured backends for one ledger. A token that is away is waited for in the background. */
export const openHsm = ({ config, telemetry, ...more }: Options): Promise<Hsm> =>
  createHsm({
    ...more,
    backends: config.hsm.backends.map((backend) => ({
      id: backend.id,
      libPath: backend.lib_path,
      tokenLabel: backend.token_label,
      pinFile: backend.pin_file,
    })),
    ...toRuntimeRules(config.hsm),
    placement: config.hsm.placement,
    processesPerBackend: config.hsm.processes,
    telemetry,
  })

const toRuntimeRules = ({ pin_dir, allowed_libraries }: Config['hsm']) =>
  pin_dir === undefined ? {} : { runtime: { pinDir: pin_dir, allowedLibraries: allowed_libraries } }
