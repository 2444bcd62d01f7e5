import { type Command, Option } from 'commander'
import { EXIT } from './exit.ts'
import { finish, withSettings } from './finish.ts'
import type { Terminal } from './terminal.ts'

/** The commands that read the ledger. Gives the group, for those that write. */
export const addLedger = (program: Command, terminal: Terminal, setExit: (code: number) => void): Command => {
  const ledger = program
    .command('ledger')
    .description('Reads and verifies the ledger, without service and HSM; recover and rotate-root write.')
  ledger.helpCommand(false)
  addVerify(ledger, terminal, setExit)
  addExport(ledger, terminal, setExit)
  addArchive(ledger, terminal, setExit)
  return ledger
}

/** For an option that may be repeated. */
export const collect = (text: string, previous: readonly string[] | undefined): readonly string[] => [
  ...(previous ?? []),
  text,
]

const toStreamOption = (): Option =>
  new Option('--stream <name>', 'The one stream to read, such as a mirror; all streams of the ledger without it')

const addVerify = (ledger: Command, terminal: Terminal, setExit: (code: number) => void): void => {
  const verify = ledger
    .command('verify')
    .description(
      'Verifies every commit of the ledger, trusting only the root key and the anchors. Exit code: 0 ok, 1 unanchored ' +
        'tail, 2 FAIL, 3 could not run.',
    )
    .addOption(
      new Option(
        '--file <path>',
        'An export or the directory of an archive, instead of the streams; - is standard input',
      ),
    )
    .addOption(toStreamOption())
    .addOption(new Option('--anchor <size:hash>', 'A remembered head; repeat for more').argParser(collect))
    .addOption(new Option('--receipt <file>', 'A saved receipt, as JSON; repeat for more').argParser(collect))
    .addOption(new Option('--checkpoint <file>', 'A checkpoint, a signed note; repeat for more').argParser(collect))
    .addOption(
      new Option(
        '--witness-key <vkey>',
        'A witness that must have cosigned each checkpoint; repeat for more',
      ).argParser(collect),
    )
    .addOption(new Option('--head-file <file>', 'The head file; $KMS_DATA_DIR/head.json for the stream'))
    .addOption(new Option('--origin <name>', 'The ledger that the root key must be of'))
    .addOption(new Option('--root-key <vkey>', 'A vkey, or a file with one; $KMS_DATA_DIR/ledger-root.vkey'))
    .addOption(new Option('--resume <file>', 'Go on where the run ended that wrote this file, and write it anew'))
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
}

const addExport = (ledger: Command, terminal: Terminal, setExit: (code: number) => void): void => {
  const exporting = ledger
    .command('export')
    .description('Writes the exact stored bytes as JSON lines. They hold identity tags: for auditors only.')
    .addOption(new Option('--out <file>', 'Write to a file of mode 0600; standard output otherwise'))
    .addOption(
      new Option('--state-only', 'Leave out commits that change no state: for a migration, not to be verified'),
    )
    .addOption(toStreamOption())
    .addHelpText('after', '\nExample:\n  chatelaine ledger export --out ledger.jsonl')
  exporting.action(async () => {
    const { out, stateOnly, stream } = exporting.opts<{ out?: string; stateOnly?: boolean; stream?: string }>()
    const { exportLedger } = await import('./ledgerExport.ts')
    const flags = { out, stateOnly: stateOnly === true, stream }
    const result = await withSettings(terminal, (settings) => exportLedger(terminal, settings, flags))
    setExit(finish(terminal, result, false))
  })
}

const addArchive = (ledger: Command, terminal: Terminal, setExit: (code: number) => void): void => {
  const archive = ledger
    .command('archive')
    .description(
      'Writes the ledger into a directory as numbered segments that are never written again, and goes on after the last ' +
        'one. They hold identity tags: for auditors only.',
    )
    .argument('<dir>', 'The directory, made if it is not there')
    .addOption(new Option('--checkpoint <file>', 'Cover the archive up to its size, and keep it beside the segment'))
    .addOption(new Option('--newest-checkpoint', 'The same with the newest one in the stream KMS_CHECKPOINTS'))
    .addOption(toStreamOption())
    .addHelpText('after', '\nExample:\n  chatelaine ledger archive /srv/archive')
  archive.action(async (dir: string) => {
    const { checkpoint, newestCheckpoint, stream } = archive.opts<{
      checkpoint?: string
      newestCheckpoint?: boolean
      stream?: string
    }>()
    const { archiveLedger } = await import('./ledgerArchive.ts')
    const flags = { dir, checkpoint, usesNewest: newestCheckpoint === true, stream }
    const result = await withSettings(terminal, (settings) => archiveLedger(terminal, settings, flags))
    setExit(finish(terminal, result, false))
  })
}

const toVerifyFlags = (values: Readonly<Record<string, unknown>>) => {
  const list = (name: string): readonly string[] => (Array.isArray(values[name]) ? values[name] : [])
  const texts = ['file', 'headFile', 'origin', 'rootKey', 'resume', 'stream'] as const
  const given = texts.flatMap((name) => (typeof values[name] === 'string' ? [[name, values[name]] as const] : []))
  const named: Partial<Record<(typeof texts)[number], string>> = Object.fromEntries(given)
  return {
    ...named,
    anchors: list('anchor'),
    receiptFiles: list('receipt'),
    checkpointFiles: list('checkpoint'),
    witnessKeys: list('witnessKey'),
    fast: values['fast'] === true,
    json: values['json'] === true,
  }
}
