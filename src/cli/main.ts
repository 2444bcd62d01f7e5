import { runCli } from './program.ts'
import { findRoot } from './root.ts'
import { serviceCommands } from './serviceCommands.ts'

const terminal = {
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  showsProgress: process.stderr.isTTY,
  env: process.env,
  root: findRoot(import.meta.url),
}
// The reader of a pipe may go away before the end; the write that failed says so.
process.stdout.on('error', () => undefined)

process.exitCode = await runCli(process.argv.slice(2), terminal, serviceCommands)
