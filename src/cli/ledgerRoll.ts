import { mkdir } from 'node:fs/promises'
import { hostname } from 'node:os'
import type { NatsConnection } from '@nats-io/transport-node'
import { LIMITS } from '../../schemas/limits.ts'
import { ok, type Result } from '../core/result.ts'
import { formatNote } from '../core/signedNote.ts'
import type { Checkpoints } from '../ledger/checkpoints.ts'
import { toLedgerFiles } from '../ledger/genesis.ts'
import { beginOf, listLedgerStreams, toStreamOf } from '../ledger/ledgerStreams.ts'
import { createNatsStream } from '../ledger/natsStream.ts'
import { checkNoWriter, readToEnd } from '../ledger/readToEnd.ts'
import { endStream, moveOn, openEpochOffline } from '../ledger/roll.ts'
import { createSnapshotStore } from '../ledger/snapshots/store.ts'
import { readMessages } from '../ledger/streamReader.ts'
import type { Tip } from '../ledger/tip.ts'
import { createTreeKeeper, type TreeKeeper } from '../ledger/treeKeeper.ts'
import { verifyArchive } from './archiveVerify.ts'
import { type ArchiveEnd, appendToArchive, findEnd } from './archiveWriter.ts'
import { openConnection } from './connections.ts'
import {
  createOfflineCheckpoints,
  type OfflineLedger,
  recallMemories,
  requireAnchors,
  requireHeadFile,
  runOffline,
} from './offlineLedger.ts'
import { fault, type OperatorFault } from './operatorFault.ts'
import { showProgress } from './progress.ts'
import type { Terminal } from './terminal.ts'

export interface RollFlags {
  /** The directory of the archive; made if it is not there. */
  readonly archive: string
  /** Without it nothing is written. */
  readonly yes: boolean
}

/**
 * Ends the stream that is written, once an archive holds it and enough anchors have a checkpoint of it, and makes the next one. After
 * a crash at any point it is run again. Gives the exit code: 0 done, or shown without `yes`; 1 refused or failed.
 */
export const runRoll = (terminal: Terminal, flags: RollFlags): Promise<number> =>
  runOffline(terminal.env, terminal, (ledger) => roll({ ledger, terminal, flags }))

interface Rolling {
  readonly ledger: OfflineLedger
  readonly terminal: Terminal
  readonly flags: RollFlags
}

const unending = new AbortController().signal

const roll = async (rolling: Rolling): Promise<Result<void, OperatorFault>> => {
  const { ledger, flags } = rolling
  const { config, pin, out, telemetry, settings, connection } = ledger
  if (config.nats.provision === undefined) return fault('nats.provision: a roll needs the user that makes streams')
  const alone = await checkNoWriter(connection)
  if (!alone.ok) return fault(alone.error.message)
  const memories = await recallMemories(ledger, settings.required)
  if (!memories.ok) return memories
  const known = requireHeadFile(ledger, memories.value)
  if (!known.ok) return known
  const tree = createTreeKeeper(toLedgerFiles(config.data_dir).tree, pin.origin, telemetry)
  try {
    const onStep = (before: Tip, after: Tip): void => putTree(tree, before, after)
    const read = await readToEnd(ledger, { memories: memories.value, tree: tree.file(), onStep }, unending)
    if (!read.ok) return fault(read.error.message)
    const { chain, view } = read.value
    out.write(`the ledger ends at ${view.at.seq}, hash ${view.at.hash}, in stream ${chain.stream}\n`)
    if (chain.nextStream !== undefined) out.write(`that stream was ended: ${chain.nextStream} is to be made\n`)
    if (!flags.yes) {
      out.write('nothing was written: add --yes to archive it, end it for ever and go on in the next one\n')
      return ok(undefined)
    }
    return await carryOut(rolling, read.value, tree)
  } finally {
    await tree.close()
  }
}

const putTree = (tree: TreeKeeper, before: Tip, after: Tip): void => {
  if (after.tree !== before.tree) tree.put(after.tree)
}

const carryOut = async (rolling: Rolling, tip: Tip, tree: TreeKeeper): Promise<Result<void, OperatorFault>> => {
  const { ledger, flags } = rolling
  const { config, out } = ledger
  const checkpoints = createOfflineCheckpoints(ledger, { anchors: ledger.anchors, tree: tree.file })
  const ended = tip.chain.nextStream === undefined ? await end(rolling, tip, { tree, checkpoints }) : ok(tip)
  if (!ended.ok) return ended
  const kept = await anchorAndArchive(rolling, ended.value, checkpoints)
  if (!kept.ok) return kept
  const { stream, nextStream, seq } = ended.value.chain
  if (stream === undefined || nextStream === undefined) return fault('the last commit ends no stream')
  const { provision, replicas } = config.nats
  if (provision === undefined) return fault('nats.provision is not set')
  const connection = await openConnection(config, provision, ledger.telemetry)
  if (!connection.ok) return connection
  const moved = await moveOn(connection.value, { ended: stream, next: nextStream, seq, replicas })
  await connection.value.close()
  if (!moved.ok) return fault(moved.error.message)
  out.write(`rolled: ${stream} ends at ${seq}, the ledger goes on in ${nextStream}. Start the service.\n`)
  out.write(
    `${stream} may be deleted when nobody reads it any more: chatelaine ledger drop-stream --archive ${flags.archive}\n`,
  )
  return ok(undefined)
}

interface EndPorts {
  readonly tree: TreeKeeper
  readonly checkpoints: Pick<Checkpoints, 'round'>
}

/** Opens an epoch, archives everything up to it under an anchored checkpoint, verifies the archive, and ends the stream. */
const end = async (
  rolling: Rolling,
  tip: Tip,
  { tree, checkpoints }: EndPorts,
): Promise<Result<Tip, OperatorFault>> => {
  const { ledger, flags, terminal } = rolling
  const { pin, connection, out } = ledger
  const options = { ...ledger, writer: `${hostname()}/${process.pid}/roll`.slice(0, 128) }
  const opened = await openEpochOffline(options, tip, unending)
  if (!opened.ok) return fault(opened.error.message)
  putTree(tree, tip, opened.value.tip)
  const kept = await anchorAndArchive(rolling, opened.value.tip, checkpoints)
  if (!kept.ok) return kept
  const verified = await verifyArchive(flags.archive, { pin, checkpoint: kept.value }, terminal)
  if (!verified.ok) return verified
  out.write(`the archive verifies: ${verified.value.lines.at(-1)}\n`)
  const store = createSnapshotStore(connection)
  const rolled = await endStream(options, { opened: opened.value, store, tree: tree.file() }, unending)
  if (!rolled.ok) return fault(rolled.error.message)
  putTree(tree, opened.value.tip, rolled.value)
  return rolled
}

/** A checkpoint of the tip, kept by enough anchors, and the archive up to it; gives the checkpoint as a signed note. */
const anchorAndArchive = async (
  { ledger, flags, terminal }: Rolling,
  tip: Tip,
  checkpoints: Pick<Checkpoints, 'round'>,
): Promise<Result<Uint8Array, OperatorFault>> => {
  const { headFile, pin, connection, out } = ledger
  const { seq, hash } = tip.view.at
  headFile.note({ origin: pin.origin, size: seq, hash })
  const signed = await checkpoints.round(tip, AbortSignal.timeout(LIMITS.checkpointDeadlineMs))
  if (!signed.ok) return fault(`no checkpoint was signed: ${signed.error}`)
  const agreed = requireAnchors(ledger, signed.value)
  if (!agreed.ok) return agreed
  const note = Buffer.from(formatNote(signed.value.signed.note))
  await mkdir(flags.archive, { recursive: true, mode: 0o700 })
  const begin = await findEnd(flags.archive)
  if (!begin.ok) return begin
  const fits = await checkContinuation(connection, begin.value, seq)
  if (!fits.ok) return fits
  const messages = readMessages(connection, { from: begin.value.seq + 1, to: seq }, unending)
  const shown = showProgress(terminal, messages, (one) => ({ what: 'archiving', done: one.seq, total: seq }))
  const done = await appendToArchive(shown, { dir: flags.archive, begin: begin.value, last: seq, note })
  if (done.seq !== seq) return fault(`the archive ends at ${done.seq}, but the ledger at ${seq}`)
  out.write(`archived to ${seq}\n`)
  return ok(note)
}

/** Before a segment is added: what the archive holds must be the beginning of this ledger, and the streams must have the rest. */
const checkContinuation = async (
  connection: NatsConnection,
  { seq, message }: ArchiveEnd,
  last: number,
): Promise<Result<void, OperatorFault>> => {
  const streams = await listLedgerStreams(connection)
  const firstSeq = beginOf(streams)
  if (seq > last) return fault(`the archive ends at ${seq}, the ledger at ${last}: it is of another ledger`)
  if (seq + 1 < firstSeq)
    return fault(
      `the archive ends at ${seq}, and the streams begin at ${firstSeq}: it is not the archive of this ledger`,
    )
  if (message === undefined || seq < firstSeq) return ok(undefined)
  const back = await createNatsStream(connection, toStreamOf(streams)).readBack(seq)
  return back.kind === 'found' && Buffer.compare(back.message.payload, message.payload) === 0
    ? ok(undefined)
    : fault(`the archive ends with another message than the one at ${seq} in the ledger: it is of another ledger`)
}
