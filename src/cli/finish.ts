import type { Result } from '../core/result.ts'
import { type CliFault, EXIT, unreachable } from './exit.ts'
import { toFaultText } from './runVerb.ts'
import { findSettings, type Settings } from './settings.ts'
import type { Terminal } from './terminal.ts'

/** Runs a command with the settings that environment and clone give. */
export const withSettings = async <T>(
  terminal: Terminal,
  run: (settings: Settings) => Promise<Result<T, CliFault>>,
): Promise<Result<T, CliFault>> => {
  const settings = await findSettings(terminal.env, terminal.root)
  return settings.ok ? run(settings.value) : unreachable(settings.error.message)
}

/** The exit code of a command, whose fault is printed. */
export const finish = (terminal: Terminal, result: Result<unknown, CliFault>, asJson: boolean): number => {
  if (result.ok) return EXIT.ok
  terminal.stderr.write(toFaultText(result.error, asJson))
  return result.error.exit
}
