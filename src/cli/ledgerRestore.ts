import { hostname } from 'node:os'
import type { LedgerMessage } from '../core/chainState.ts'
import { createEventCheck } from '../core/eventCheck.ts'
import { ok, type Result } from '../core/result.ts'
import { createAnchorWatch } from '../ledger/anchors/watch.ts'
import { toLedgerFiles } from '../ledger/genesis.ts'
import { listLedgerStreams } from '../ledger/ledgerStreams.ts'
import { checkNoWriter } from '../ledger/readToEnd.ts'
import { openEpochOffline } from '../ledger/roll.ts'
import { writeSnapshot } from '../ledger/snapshots/keeper.ts'
import { createSnapshotStore } from '../ledger/snapshots/store.ts'
import { readMessages } from '../ledger/streamReader.ts'
import { createVerifier, type Tip } from '../ledger/tip.ts'
import { createTreeKeeper, type TreeKeeper } from '../ledger/treeKeeper.ts'
import { toLineBatches } from '../verify/batches.ts'
import { parseExportLine } from '../verify/exportLine.ts'
import { describeError } from './exit.ts'
import { type LedgerFiles, openLedgerFiles } from './ledgerFiles.ts'
import { type OfflineLedger, recallMemories, runOffline } from './offlineLedger.ts'
import { fault, type OperatorFault } from './operatorFault.ts'
import { showProgress } from './progress.ts'
import type { Terminal } from './terminal.ts'

export interface RestoreFlags {
  /** The directory of the archive. */
  readonly archive: string
  /** Without it nothing is written. */
  readonly yes: boolean
}

/**
 * For a machine that cannot start since older streams were deleted and it has no tree file, or no snapshot is left: reads archive and
 * streams, verifies all of it, and makes both anew. Gives the exit code: 0 done, or shown without `yes`; 1 refused or failed.
 */
export const runRestore = (terminal: Terminal, flags: RestoreFlags): Promise<number> =>
  runOffline(terminal.env, terminal, (ledger) => restore(ledger, terminal, flags))

const unending = new AbortController().signal

const restore = async (
  ledger: OfflineLedger,
  terminal: Terminal,
  { archive, yes }: RestoreFlags,
): Promise<Result<void, OperatorFault>> => {
  const { config, pin, out, telemetry, settings, connection } = ledger
  const alone = await checkNoWriter(connection)
  if (!alone.ok) return fault(alone.error.message)
  const memories = await recallMemories(ledger, settings.required)
  if (!memories.ok) return memories
  if (memories.value.length === 0)
    return fault(
      'nothing remembers how long this ledger was, so its end could have been cut off: bring the head file, or the checkpoint file, or an anchor',
    )
  const files = await openLedgerFiles(archive, { pin, anchors: [], witnessKeys: [] }, terminal)
  if (!files.ok) return files
  const watch = createAnchorWatch(memories.value)
  const tree = createTreeKeeper(toLedgerFiles(config.data_dir).tree, pin.origin, telemetry)
  try {
    const onStep = (before: Tip, after: Tip): void => {
      watch.see(before, after)
      if (after.tree !== before.tree) tree.put(after.tree)
    }
    const read = await readBoth({ ledger, files: files.value, terminal }, onStep)
    if (!read.ok) return read
    const tip = read.value
    const wrong = tip.gap?.fault ?? watch.judge(tip)
    if (wrong !== undefined) return fault(wrong.message)
    out.write(`archive and streams verify to ${tip.view.at.seq}, hash ${tip.view.at.hash}; the tree file is complete\n`)
    if (yes) return await putSnapshot(ledger, tip, tree)
    out.write('no snapshot was written: add --yes to open an epoch and write one\n')
    return ok(undefined)
  } catch (error) {
    return fault(`archive and streams cannot be read: ${describeError(error)}`)
  } finally {
    await tree.close()
  }
}

interface Sources {
  readonly ledger: OfflineLedger
  readonly files: LedgerFiles
  readonly terminal: Terminal
}

const readBoth = async (
  { ledger: { pin, connection }, files, terminal }: Sources,
  onStep: (before: Tip, after: Tip) => void,
): Promise<Result<Tip, OperatorFault>> => {
  const verifier = createVerifier(pin, createEventCheck())
  let tip = verifier.start
  const readAll = async (messages: AsyncIterable<LedgerMessage>): Promise<Result<void, OperatorFault>> => {
    const shown = showProgress(terminal, messages, ({ seq }) => ({ what: 'reading', done: seq }))
    for await (const message of shown) {
      const next = verifier.read(tip, message)
      if (!next.ok) return fault(next.error.message)
      onStep(tip, next.value)
      tip = next.value
    }
    return ok(undefined)
  }
  const archived = await readAll(readArchive(files))
  if (!archived.ok) return archived
  const newest = (await listLedgerStreams(connection)).at(-1)
  if (newest === undefined || newest.isSealed) return fault('no stream is there to be written: run ledger roll first')
  const range = { from: tip.chain.seq + 1, to: newest.lastSeq }
  const streamed = await readAll(readMessages(connection, range, unending))
  return streamed.ok ? ok(tip) : streamed
}

async function* readArchive({ files }: LedgerFiles): AsyncGenerator<LedgerMessage> {
  for (const { open } of files)
    for await (const { bytes } of toLineBatches(open())) {
      const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
      for (let at = 0; at < text.length; ) {
        const end = text.indexOf(NEWLINE, at)
        const line = parseExportLine(text.subarray(at, end < 0 ? text.length : end))
        if (!line.ok) throw new Error(`a line of the archive: ${line.error}`)
        yield line.value
        at = end < 0 ? text.length : end + 1
      }
    }
}

const NEWLINE = 0x0a

const putSnapshot = async (ledger: OfflineLedger, tip: Tip, tree: TreeKeeper): Promise<Result<void, OperatorFault>> => {
  const { pin, connection, headFile, out } = ledger
  const options = { ...ledger, writer: `${hostname()}/${process.pid}/restore`.slice(0, 128) }
  const opened = await openEpochOffline(options, tip, unending)
  if (!opened.ok) return fault(opened.error.message)
  const { tip: now, epoch } = opened.value
  tree.put(now.tree)
  headFile.note({ origin: pin.origin, size: now.view.at.seq, hash: now.view.at.hash })
  const store = createSnapshotStore(connection)
  const flushTree = async () => tree.file()?.flush()
  await writeSnapshot({ store, flushTree }, { tip: now, epoch }, () => false)
  out.write(`restored: a snapshot of ${now.view.at.seq} was written. Start the service.\n`)
  return ok(undefined)
}
