import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ok, type Result } from '../core/result.ts'
import { dropStream, findDroppable } from '../ledger/dropStream.ts'
import { toLedgerFiles } from '../ledger/genesis.ts'
import { createTreeKeeper } from '../ledger/treeKeeper.ts'
import { CHECKPOINT_NAME } from './archiveNames.ts'
import { verifyArchive } from './archiveVerify.ts'
import { openConnection } from './connections.ts'
import { type OfflineLedger, recallMemories, runOffline } from './offlineLedger.ts'
import { fault, type OperatorFault } from './operatorFault.ts'
import type { Terminal } from './terminal.ts'

export interface DropFlags {
  /** The directory of the archive. */
  readonly archive: string
  /** Without it nothing is deleted. */
  readonly yes: boolean
}

/**
 * Deletes the oldest stream of the ledger, if it was rolled, the whole archive verifies to its end, and a start goes on without
 * it. A service may run. Gives the exit code: 0 done, or shown without `yes`; 1 refused or failed.
 */
export const runDropStream = (terminal: Terminal, flags: DropFlags): Promise<number> =>
  runOffline(terminal.env, terminal, (ledger) => drop(ledger, terminal, flags))

const drop = async (
  ledger: OfflineLedger,
  terminal: Terminal,
  { archive, yes }: DropFlags,
): Promise<Result<void, OperatorFault>> => {
  const { config, pin, out, telemetry, settings } = ledger
  if (config.nats.provision === undefined) return fault('nats.provision: only that user may delete a stream')
  const memories = await recallMemories(ledger, settings.required)
  if (!memories.ok) return memories
  const tree = createTreeKeeper(toLedgerFiles(config.data_dir).tree, pin.origin, telemetry)
  const goal = { memories: memories.value, tree: tree.file() }
  const found = await findDroppable(ledger, goal, new AbortController().signal)
  await tree.close()
  if (!found.ok) return fault(found.error.message)
  const { name, lastSeq } = found.value
  const checkpoint = await readNewestCheckpoint(archive)
  if (!checkpoint.ok) return checkpoint
  const verified = await verifyArchive(archive, { pin, checkpoint: checkpoint.value }, terminal)
  if (!verified.ok) return verified
  const { anchoredTo } = verified.value
  if (anchoredTo < lastSeq)
    return fault(
      `the archive is vouched for up to ${anchoredTo}, but ${name} ends at ${lastSeq}: run ledger roll again`,
    )
  out.write(`the archive verifies to ${anchoredTo}, ${name} ends at ${lastSeq}, and a start goes on without it\n`)
  if (!yes) {
    out.write('nothing was deleted: add --yes to delete it, for ever\n')
    return ok(undefined)
  }
  const provision = await openConnection(config, config.nats.provision, telemetry)
  if (!provision.ok) return provision
  const dropped = await dropStream(provision.value, name)
  await provision.value.close()
  if (!dropped.ok) return fault(dropped.error.message)
  out.write(`deleted: ${name}. Keep the archive: it is the only place that has sequences up to ${lastSeq}\n`)
  return ok(undefined)
}

const readNewestCheckpoint = async (dir: string): Promise<Result<Uint8Array, OperatorFault>> => {
  try {
    const name = (await readdir(dir))
      .filter((one) => CHECKPOINT_NAME.test(one))
      .sort()
      .at(-1)
    return name === undefined ? fault(`there is no checkpoint in ${dir}`) : ok(await readFile(join(dir, name)))
  } catch {
    return fault(`the archive ${dir} cannot be read`)
  }
}
