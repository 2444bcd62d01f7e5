import { Command, CommanderError, InvalidArgumentError, Option } from 'commander'
import { OPERATION_NAMES } from '../../schemas/registry.ts'
import type { Result } from '../core/result.ts'
import { type CliFault, EXIT, unreachable } from './exit.ts'
import { runVerb, toFaultText } from './runVerb.ts'
import { findSettings, type Settings } from './settings.ts'
import type { Terminal } from './terminal.ts'
import { addVerb } from './verb.ts'
import { VERSION } from './version.ts'

/** Commands that start or make a service; they are long in loading, so each is loaded when it is asked for. */
export interface ServiceCommands {
  /** Makes ledger and root key of a new installation. Gives the exit code. */
  init(terminal: Terminal, flags: { readonly name: string }): Promise<number>
  /** Serves until a signal comes. Gives the exit code. */
  serve(terminal: Terminal, flags: { readonly takeOver: boolean; readonly trustOnFirstUse: boolean }): Promise<number>
  /** Appends what the operator gives up of the ledger. Gives the exit code. */
  recover(
    terminal: Terminal,
    flags: { readonly reason: string; readonly lost: readonly string[]; readonly yes: boolean },
  ): Promise<number>
  /** Lists or destroys HSM objects that the ledger does not name. Gives the exit code. */
  sweep(terminal: Terminal, flags: { readonly destroy: boolean; readonly yes?: number }): Promise<number>
}

/** Runs one command line and gives the exit code of {@link EXIT}; `ledger verify` and the service commands have their own. */
export const runCli = async (
  args: readonly string[],
  terminal: Terminal,
  services: ServiceCommands,
): Promise<number> => {
  let exitCode: number = EXIT.ok
  const program = createProgram(terminal, services, (code) => {
    exitCode = code
  })
  try {
    await program.parseAsync([...args], { from: 'user' })
    return exitCode
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : toMisuse(args)
    if (isClosedPipe(error)) return EXIT.unreachable
    throw error
  }
}

/** All commands, for running and for the generated page; `setExit` is told the exit code of the one that ran. */
export const createProgram = (
  terminal: Terminal,
  services: ServiceCommands,
  setExit: (code: number) => void,
): Command => {
  const program = new Command('chatelaine')
    .description('Keys in an HSM, used over NATS and REST, every outcome in a signed hash chain.')
    .version(VERSION, '--version')
    // A verb's own --version is the version of a key, not the program's.
    .enablePositionalOptions()
    .exitOverride()
    .showHelpAfterError('(--help shows how it is used)')
    .configureHelp({ sortOptions: false, sortSubcommands: false })
    .configureOutput({
      writeOut: (text) => void terminal.stdout.write(text),
      writeErr: (text) => void terminal.stderr.write(text),
    })
  program.commandsGroup('Operations:')
  for (const name of OPERATION_NAMES) {
    addVerb(program, name, async (typed) => {
      const { openCaller } = await import('./openCaller.ts')
      const result = await withSettings(terminal, (settings) =>
        runVerb(terminal, (flags) => openCaller(settings, flags), typed),
      )
      setExit(finish(terminal, result, typed.isSet('json')))
    })
  }
  program.commandsGroup('Ledger:')
  addRecover(addLedger(program, terminal, setExit), terminal, services, setExit)
  program.commandsGroup('Service:')
  addServices(program, terminal, services, setExit)
  program.helpCommand(false)
  program.addHelpText('after', AFTER_HELP)
  return program
}

const AFTER_HELP = `
Without connection flags a command finds the service that npm start runs from this clone; KMS_DATA_DIR, KMS_NATS_PORT,
KMS_HTTP_PORT or KMS_CONFIG name another.

Exit codes: 0 done; 1 the service refused; 2 the command line is wrong; 3 nobody answers, or a file cannot be read or
written. ledger verify: 0 ok; 1 unanchored tail; 2 FAIL; 3 could not run.`

const addLedger = (program: Command, terminal: Terminal, setExit: (code: number) => void): Command => {
  const ledger = program
    .command('ledger')
    .description('Reads and verifies the ledger, without service and HSM; recover alone writes.')
  ledger.helpCommand(false)
  const verify = ledger
    .command('verify')
    .description(
      'Verifies every commit of the ledger, trusting only the root key and the anchors. Exit code: 0 ok, 1 unanchored ' +
        'tail, 2 FAIL, 3 could not run.',
    )
    .addOption(new Option('--file <file>', 'An export, instead of the stream; - is standard input'))
    .addOption(new Option('--anchor <size:hash>', 'A remembered head; repeat for more').argParser(collect))
    .addOption(new Option('--receipt <file>', 'A saved receipt, as JSON; repeat for more').argParser(collect))
    .addOption(new Option('--head-file <file>', 'The head file; $KMS_DATA_DIR/head.json for the stream'))
    .addOption(new Option('--origin <name>', 'The ledger that the root key must be of'))
    .addOption(new Option('--root-key <vkey>', 'A vkey, or a file with one; $KMS_DATA_DIR/ledger-root.vkey'))
    .addOption(new Option('--fast', 'Leave out most signatures of ordinary commits'))
    .addOption(new Option('--json', 'Print the report as JSON'))
    .addHelpText('after', '\nExample:\n  chatelaine ledger verify')
  verify.action(async () => {
    const flags = toVerifyFlags(verify.opts())
    const { verifyLedger } = await import('./ledgerVerify.ts')
    const result = await withSettings(terminal, (settings) => verifyLedger(terminal, settings, flags))
    // A mistake on the command line is "could not run" as well: 2 means FAIL here.
    setExit(result.ok ? result.value : Math.max(EXIT.unreachable, finish(terminal, result, flags.json)))
  })
  const exporting = ledger
    .command('export')
    .description('Writes the exact stored bytes as JSON lines. They hold identity tags: for auditors only.')
    .addOption(new Option('--out <file>', 'Write to a file of mode 0600; standard output otherwise'))
    .addHelpText('after', '\nExample:\n  chatelaine ledger export --out ledger.jsonl')
  exporting.action(async () => {
    const { out } = exporting.opts<{ out?: string }>()
    const { exportLedger } = await import('./ledgerExport.ts')
    const result = await withSettings(terminal, (settings) => exportLedger(terminal, settings, out))
    setExit(finish(terminal, result, false))
  })
  return ledger
}

const addRecover = (
  ledger: Command,
  terminal: Terminal,
  services: ServiceCommands,
  setExit: (code: number) => void,
): void => {
  const recover = ledger
    .command('recover')
    .description(
      'Goes on after messages that are not valid commits, or that were lost. Shows what is given up; with --yes it is ' +
        'written into the ledger, signed by the root key, and every verification says so from then on. Needs the HSM; ' +
        'run it while no service writes.',
    )
    .requiredOption('--reason <text>', 'Why; stays in the ledger for ever')
    .addOption(
      new Option('--lost <size:hash>', 'What an anchor remembers and is given up; repeat for more').argParser(collect),
    )
    .addOption(new Option('--yes', 'Write it'))
    .addHelpText('after', "\nExample:\n  chatelaine ledger recover --reason 'disk of nats-1 lost, ticket 4711'")
  recover.action(async () => {
    const { reason, lost = [], yes } = recover.opts<{ reason: string; lost?: readonly string[]; yes?: boolean }>()
    setExit(await services.recover(terminal, { reason, lost, yes: yes === true }))
  })
}

const addServices = (
  program: Command,
  terminal: Terminal,
  services: ServiceCommands,
  setExit: (code: number) => void,
): void => {
  const init = program
    .command('init')
    .description('Makes the ledger and its root key for the configuration in KMS_CONFIG, once.')
    .addOption(
      new Option('--name <name>', 'First part of the ledger’s origin: a-z, 0-9 and -, at most 32').default('kms'),
    )
    .addHelpText('after', '\nExample:\n  KMS_CONFIG=/etc/chatelaine.json chatelaine init --name orders')
  init.action(async () => setExit(await services.init(terminal, init.opts<{ name: string }>())))
  const serve = program
    .command('serve')
    .description('Runs the service until SIGINT or SIGTERM. npm start sets up what is missing first.')
    .addOption(new Option('--take-over', 'Open an epoch at once, although another writer may live'))
    .addOption(new Option('--trust-on-first-use', 'Start on a ledger without a head file'))
    .addHelpText('after', '\nExample:\n  KMS_CONFIG=/etc/chatelaine.json chatelaine serve')
  serve.action(async () => {
    const { takeOver, trustOnFirstUse } = serve.opts<{ takeOver?: boolean; trustOnFirstUse?: boolean }>()
    setExit(await services.serve(terminal, { takeOver: takeOver === true, trustOnFirstUse: trustOnFirstUse === true }))
  })
  const sweep = program
    .command('sweep')
    .description('Lists HSM objects of this ledger that it does not name. Run it while no service writes.')
    .addOption(new Option('--destroy', 'Destroy what is listed, recorded before and after'))
    .addOption(new Option('--yes <n>', 'The number of objects you expect, where there are many').argParser(toCount))
    .addHelpText('after', '\nExample:\n  chatelaine sweep')
  sweep.action(async () => {
    const { destroy, yes } = sweep.opts<{ destroy?: boolean; yes?: number }>()
    setExit(await services.sweep(terminal, { destroy: destroy === true, ...(yes === undefined ? {} : { yes }) }))
  })
}

const withSettings = async <T>(
  terminal: Terminal,
  run: (settings: Settings) => Promise<Result<T, CliFault>>,
): Promise<Result<T, CliFault>> => {
  const settings = await findSettings(terminal.env, terminal.root)
  return settings.ok ? run(settings.value) : unreachable(settings.error.message)
}

const finish = (terminal: Terminal, result: Result<unknown, CliFault>, asJson: boolean): number => {
  if (result.ok) return EXIT.ok
  terminal.stderr.write(toFaultText(result.error, asJson))
  return result.error.exit
}

const toVerifyFlags = (values: Readonly<Record<string, unknown>>) => {
  const text = (name: string) => (typeof values[name] === 'string' ? values[name] : undefined)
  const list = (name: string): readonly string[] => (Array.isArray(values[name]) ? values[name] : [])
  const [file, headFile, origin, rootKey] = [text('file'), text('headFile'), text('origin'), text('rootKey')]
  return {
    ...(file === undefined ? {} : { file }),
    ...(headFile === undefined ? {} : { headFile }),
    ...(origin === undefined ? {} : { origin }),
    ...(rootKey === undefined ? {} : { rootKey }),
    anchors: list('anchor'),
    receiptFiles: list('receipt'),
    fast: values['fast'] === true,
    json: values['json'] === true,
  }
}

const collect = (text: string, previous: readonly string[] | undefined): readonly string[] => [
  ...(previous ?? []),
  text,
]

/** With `ledger verify` 2 means FAIL, so a mistake on its command line is "could not run". */
const toMisuse = ([first, second]: readonly string[]): number =>
  first === 'ledger' && second === 'verify' ? EXIT.unreachable : EXIT.usage

/** The reader of our output went away, as `head` does. */
const isClosedPipe = (error: unknown): boolean => error instanceof Error && 'code' in error && error.code === 'EPIPE'

const toCount = (text: string): number => {
  if (!/^[0-9]{1,9}$/.test(text)) throw new InvalidArgumentError('a whole number is wanted')
  return Number(text)
}
