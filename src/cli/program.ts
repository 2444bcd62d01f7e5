import { Command, CommanderError, InvalidArgumentError, Option } from 'commander'
import { OPERATION_NAMES } from '../../schemas/registry.ts'
import { EXIT } from './exit.ts'
import { finish, withSettings } from './finish.ts'
import { addLedger, collect } from './ledgerCommands.ts'
import { addRolls, type RollCommands } from './rollCommands.ts'
import { runVerb } from './runVerb.ts'
import type { Terminal } from './terminal.ts'
import { addVerb } from './verb.ts'
import { VERSION } from './version.ts'

/** Commands that start or make a service; they are long in loading, so each is loaded when it is asked for. */
export interface ServiceCommands extends RollCommands {
  /** Makes ledger and root key of a new installation. Gives the exit code. */
  init(terminal: Terminal, flags: { readonly name: string }): Promise<number>
  /** Serves until a signal comes. Gives the exit code. */
  serve(terminal: Terminal, flags: { readonly takeOver: boolean; readonly trustOnFirstUse: boolean }): Promise<number>
  /** Appends what the operator gives up of the ledger. Gives the exit code. */
  recover(
    terminal: Terminal,
    flags: { readonly reason: string; readonly lost: readonly string[]; readonly yes: boolean },
  ): Promise<number>
  /** Replaces the root key of the ledger. Gives the exit code. */
  rotateRoot(terminal: Terminal, flags: { readonly yes: boolean }): Promise<number>
  /** Destroys root keys that are not in force any more. Gives the exit code. */
  destroyFormerRoots(terminal: Terminal, flags: { readonly yes: boolean }): Promise<number>
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
  const ledger = addLedger(program, terminal, setExit)
  addRecover(ledger, terminal, services, setExit)
  addRoots(ledger, terminal, services, setExit)
  addRolls(ledger, terminal, services, setExit)
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

const addRoots = (
  ledger: Command,
  terminal: Terminal,
  services: ServiceCommands,
  setExit: (code: number) => void,
): void => {
  const rotate = ledger
    .command('rotate-root')
    .description(
      'Replaces the root key by a new one beside it in the HSM, signed by both, between two checkpoints. Verifiers go on with the ' +
        'root key of genesis. Run it while no service writes, again after a crash; the next start opens an epoch under the new key.',
    )
    .addOption(new Option('--yes', 'Do it; shows the root key in force otherwise'))
    .addHelpText('after', '\nExample:\n  chatelaine ledger rotate-root --yes')
  rotate.action(async () => setExit(await services.rotateRoot(terminal, toYes(rotate))))
  const destroy = ledger
    .command('destroy-former-roots')
    .description(
      'Destroys the root keys in the HSM that rotate-root has replaced. A store that is restored from before the rotation ' +
        'can then not be continued any more.',
    )
    .addOption(new Option('--yes', 'Do it; lists them otherwise'))
    .addHelpText('after', '\nExample:\n  chatelaine ledger destroy-former-roots --yes')
  destroy.action(async () => setExit(await services.destroyFormerRoots(terminal, toYes(destroy))))
}

const toYes = (command: Command): { readonly yes: boolean } => ({ yes: command.opts<{ yes?: boolean }>().yes === true })

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

/** With `ledger verify` 2 means FAIL, so a mistake on its command line is "could not run". */
const toMisuse = ([first, second]: readonly string[]): number =>
  first === 'ledger' && second === 'verify' ? EXIT.unreachable : EXIT.usage

/** The reader of our output went away, as `head` does. */
const isClosedPipe = (error: unknown): boolean => error instanceof Error && 'code' in error && error.code === 'EPIPE'

const toCount = (text: string): number => {
  if (!/^[0-9]{1,9}$/.test(text)) throw new InvalidArgumentError('a whole number is wanted')
  return Number(text)
}
