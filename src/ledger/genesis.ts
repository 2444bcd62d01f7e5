import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import type { NatsConnection } from '@nats-io/transport-node'
import type { EventOf } from '../../schemas/events.ts'
import type { Pin } from '../core/chainState.ts'
import type { Clock, Genesis, Hsm, Scheduler, Telemetry } from '../core/ports.ts'
import { ok, type Result } from '../core/result.ts'
import type { Publication } from './commitStream.ts'
import { readIfThere, replaceFile } from './durableFile.ts'
import { toServiceEnvelope } from './epoch.ts'
import { type First, readExisting } from './existing.ts'
import { describeError, faulty, type LedgerResult } from './fault.ts'
import { formatHead } from './headFile.ts'
import { appendOffline, buildRootCommit } from './rootCommit.ts'
import { checkServer, type SyncCheck } from './server.ts'
import { checkStream, provisionCheckpoints, provisionSnapshots, provisionStream } from './stream.ts'
import type { Tip } from './tip.ts'

/** Where the data directory keeps what must survive the ledger's store. */
export const toLedgerFiles = (dataDir: string) => ({
  origin: join(dataDir, 'origin'),
  vkey: join(dataDir, 'ledger-root.vkey'),
  head: join(dataDir, 'head.json'),
  checkpoint: join(dataDir, 'checkpoint'),
  tree: join(dataDir, 'tree'),
})

const ORIGIN_PATTERN = /^[a-z0-9-]{1,32}\/[0-9a-f]{16}$/

/** The origin written by `init`; nothing before it. Fault: `file`. */
export const readOrigin = async (dataDir: string): Promise<LedgerResult<string | undefined>> => {
  const { origin: path } = toLedgerFiles(dataDir)
  try {
    const text = (await readIfThere(path))?.trim()
    return text === undefined || ORIGIN_PATTERN.test(text)
      ? ok(text)
      : faulty('file', `${path} does not hold an origin (<name>/<16 hex digits>)`)
  } catch (error) {
    return faulty('file', `cannot read ${path}: ${describeError(error)}`)
  }
}

/** The origin, made and durable before any object of it exists in an HSM. `name`: `[a-z0-9-]{1,32}`. Fault: `file`. */
export const ensureOrigin = async (dataDir: string, name: string): Promise<LedgerResult<string>> => {
  const known = await readOrigin(dataDir)
  if (!known.ok) return known
  if (known.value !== undefined) return ok(known.value)
  const origin = `${name}/${randomBytes(8).toString('hex')}`
  if (!ORIGIN_PATTERN.test(origin)) return faulty('file', 'a ledger name is 1 to 32 of a-z, 0-9 and -')
  try {
    await replaceFile(toLedgerFiles(dataDir).origin, `${origin}\n`)
    return ok(origin)
  } catch (error) {
    return faulty('file', `cannot write the origin: ${describeError(error)}`)
  }
}

export interface InitOptions {
  readonly dataDir: string
  /** From `ensureOrigin`; the HSM was opened for it. */
  readonly origin: string
  /** May create the stream. */
  readonly provision: NatsConnection
  /** May append to it. */
  readonly connection: NatsConnection
  readonly replicas: number
  /** The stream of checkpoints is on this server too. */
  readonly keepsCheckpoints: boolean
  readonly sync: SyncCheck
  readonly hsm: Pick<Hsm, 'genesisState' | 'createGenesis' | 'listRoots' | 'signAsRoot'>
  readonly backend: string
  readonly clock: Clock
  readonly scheduler: Scheduler
  readonly telemetry: Telemetry
  /** Formats the pin for `ledger-root.vkey`. */
  formatVkey(pin: Pin): string
  parseVkey(text: string): Result<Pin, string>
}

/**
 * Makes the ledger: stream, handle key and `ledger-root`, commit 1, vkey, head file. Safe to repeat after a crash at any
 * point: it goes on while the stream is empty and the token holds nothing of this origin but those two keys, or when
 * commit 1 is this HSM's. Everything else is refused (`genesis_refused`).
 */
export const initLedger = async (options: InitOptions, signal: AbortSignal): Promise<LedgerResult<Pin>> => {
  const server = await checkServer(options.connection, options.sync)
  if (!server.ok) return server
  const provisioned = await provisionStream(options.provision, options.replicas)
  if (!provisioned.ok) return provisioned
  const remembering = options.keepsCheckpoints
    ? await provisionCheckpoints(options.provision, options.replicas)
    : provisioned
  if (!remembering.ok) return remembering
  const snapshots = await provisionSnapshots(options.provision, options.replicas)
  if (!snapshots.ok) return snapshots
  const stream = await checkStream(options.connection, options.replicas)
  if (!stream.ok) return stream
  const state = await options.hsm.genesisState(options.backend, signal)
  if (!state.ok) return faulty('hsm', `the HSM cannot tell what it holds: ${state.error.message}`)
  const isEmpty = stream.value.lastSeq === 0
  if (isEmpty && state.value.others > 0)
    return faulty(
      'genesis_refused',
      `the stream is empty, but the token holds ${state.value.others} objects of ${options.origin}: a ledger was lost. Restore the JetStream store`,
    )
  if (!isEmpty && !(state.value.ledgerRoot && state.value.handleKey))
    return faulty(
      'genesis_refused',
      `the stream holds a ledger, but the token of backend ${options.backend} lacks its keys. Use the token it was made with`,
    )
  if (stream.value.firstSeq > 1 || stream.value.unfinished !== undefined) return readPinned(options)
  const first = isEmpty ? await createFirst(options, signal) : await readFirst(options, signal)
  return first.ok ? writePin(options, first.value, stream.value.lastSeq <= 1) : first
}

const createFirst = async (options: InitOptions, signal: AbortSignal): Promise<LedgerResult<First>> => {
  const genesis = await options.hsm.createGenesis(options.backend, signal)
  if (!genesis.ok) return faulty('hsm', `the HSM cannot make the ledger's keys: ${genesis.error.message}`)
  const pin = { origin: options.origin, rootPublicKey: genesis.value.rootPublicKey }
  const tip = await publishGenesis(options, { genesis: genesis.value, pin }, signal)
  return tip.ok ? ok({ pin, tip: tip.value }) : tip
}

const publishGenesis = async (
  options: InitOptions,
  { genesis, pin }: { readonly genesis: Genesis; readonly pin: Pin },
  signal: AbortSignal,
): Promise<LedgerResult<Tip>> => {
  const { origin } = options
  const made = await buildGenesis({ origin, genesis, timeMs: options.clock.now() }, (message) =>
    options.hsm.signAsRoot(options.backend, { root: genesis.rootPublicKey, message }, signal),
  )
  if (!made.ok) return faulty('hsm', `the HSM cannot sign commit 1: ${made.error.message}`)
  const appended = await appendOffline({ ...options, pin }, { publication: made.value, what: 'commit 1' }, signal)
  if (!appended.ok) return appended
  const { tip, unsettled } = appended.value
  return unsettled === undefined
    ? ok(tip)
    : faulty('genesis_refused', `commit 1 could not be written (${unsettled}); run init again`)
}

/** Commit 1, signed by `ledger-root`, ready to publish. Fails as `signAsRoot` does. */
export const buildGenesis = async (
  made: { readonly origin: string; readonly genesis: Genesis; readonly timeMs: number },
  signAsRoot: (message: Uint8Array) => Promise<Result<Uint8Array>>,
): Promise<Result<Publication>> => {
  const { origin, genesis, timeMs } = made
  const event: EventOf<'LedgerCreated'> = {
    ...toServiceEnvelope(origin, 'LedgerCreated', timeMs),
    type: 'LedgerCreated',
    data: { root_public_key: genesis.rootPublicKey, context_key: genesis.sealedContextKey },
  }
  const place = { origin, epoch: 0, seq: 1, first: 0, timeMs, prev: new Uint8Array(32) }
  return buildRootCommit(place, event, genesis.rootPublicKey, signAsRoot)
}

/** The ledger that is there already. */
const readFirst = async (options: InitOptions, signal: AbortSignal): Promise<LedgerResult<First>> => {
  const roots = await options.hsm.listRoots(options.backend, signal)
  if (!roots.ok) return faulty('hsm', `the HSM cannot tell its root keys: ${roots.error.message}`)
  const { vkey } = toLedgerFiles(options.dataDir)
  try {
    const pinned = await readIfThere(vkey)
    const isPinned = (pin: Pin) => pinned === toVkeyLine(options, pin)
    const { connection, origin, telemetry } = options
    return await readExisting({ connection, origin, telemetry, roots: roots.value, isPinned }, signal)
  } catch (error) {
    return faulty('unreachable', `the ledger that is there cannot be read: ${describeError(error)}`)
  }
}

/** A ledger in the middle of its life, whose beginning may be in no stream any more: this machine's file says which it is. */
const readPinned = async ({ dataDir, origin, parseVkey }: InitOptions): Promise<LedgerResult<Pin>> => {
  const { vkey } = toLedgerFiles(dataDir)
  const text = await readIfThere(vkey)
  const pin = text === undefined ? undefined : parseVkey(text.trim())
  return pin?.ok && pin.value.origin === origin
    ? pin
    : faulty(
        'genesis_refused',
        `the ledger was rolled, and ${vkey} does not pin it: bring that file from the machine the ledger was made on`,
      )
}

const toVkeyLine = ({ formatVkey }: InitOptions, pin: Pin): string => `${formatVkey(pin)}\n`

const writePin = async (options: InitOptions, { pin, tip }: First, isNewest: boolean): Promise<LedgerResult<Pin>> => {
  const files = toLedgerFiles(options.dataDir)
  const line = toVkeyLine(options, pin)
  try {
    const known = await readIfThere(files.vkey)
    if (known !== undefined && known !== line)
      return faulty('genesis_refused', `${files.vkey} pins another ledger; move it away if that one is given up`)
    if (known === undefined) await replaceFile(files.vkey, line)
    // Only while commit 1 is the newest: a head file that is missing later is for the operator to judge.
    if (isNewest && (await readIfThere(files.head)) === undefined) {
      const { origin, seq, hash } = tip.view.at
      await replaceFile(files.head, formatHead({ origin, size: seq, hash }))
    }
    return ok(pin)
  } catch (error) {
    return faulty('file', `cannot write into ${options.dataDir}: ${describeError(error)}`)
  }
}
