import { type Command, Option } from 'commander'
import type { Terminal } from './terminal.ts'

interface Flags {
  readonly archive: string
  /** Without it nothing is ended, deleted or written into the ledger. */
  readonly yes: boolean
}

/** What the commands do; each gives the exit code. */
export interface RollCommands {
  /** Ends the stream of the ledger and makes the next one. */
  roll(terminal: Terminal, flags: Flags): Promise<number>
  /** Deletes the oldest stream of the ledger, which was rolled. */
  dropStream(terminal: Terminal, flags: Flags): Promise<number>
  /** Makes tree file and snapshot anew from the archive. */
  restore(terminal: Terminal, flags: Flags): Promise<number>
}

/** The commands that end streams, delete them, and go on without them. */
export const addRolls = (
  ledger: Command,
  terminal: Terminal,
  services: RollCommands,
  setExit: (code: number) => void,
): void => {
  const add = (name: string, description: string, yes: string, run: (flags: Flags) => Promise<number>): void => {
    const command = ledger
      .command(name)
      .description(description)
      .requiredOption('--archive <dir>', 'The directory of the archive')
      .addOption(new Option('--yes', yes))
      .addHelpText('after', `\nExample:\n  chatelaine ledger ${name} --archive /srv/archive --yes`)
    command.action(async () => {
      const { archive, yes: isSaid } = command.opts<{ archive: string; yes?: boolean }>()
      setExit(await run({ archive, yes: isSaid === true }))
    })
  }
  add(
    'roll',
    'Ends the stream that is written, once an archive holds and verifies it and enough anchors have a checkpoint of it, and makes ' +
      'the next one, in which sequence, chain and tree go on. Needs the HSM; run it while no service writes, again after a crash.',
    'Do it; shows where the ledger ends otherwise',
    (flags) => services.roll(terminal, flags),
  )
  add(
    'drop-stream',
    'Deletes the oldest stream, if it was rolled, the whole archive verifies to its end and a start goes on without it. From then ' +
      'on only the archive has what stood in it.',
    'Do it; shows which stream otherwise',
    (flags) => services.dropStream(terminal, flags),
  )
  add(
    'restore',
    'For a machine without tree file, or without any snapshot, after a stream was deleted: reads archive and streams, verifies all ' +
      'of it, and makes both anew. Needs the HSM; run it while no service writes.',
    'Write the snapshot, which takes an epoch; makes the tree file alone otherwise',
    (flags) => services.restore(terminal, flags),
  )
}
