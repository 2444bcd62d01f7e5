import { createReadStream } from 'node:fs'
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { LIMITS } from '../../schemas/limits.ts'
import { ok, type Result } from '../core/result.ts'
import { type NamedAnchor, parseCheckpointAnchor } from '../verify/anchors.ts'
import { CHECKPOINT_NAME, SEGMENT_NAME } from './archiveNames.ts'
import { type CliFault, describeError, unreachable } from './exit.ts'
import type { Trust } from './ledgerTrust.ts'
import type { Terminal } from './terminal.ts'

/** Files that hold a ledger, in order. */
export interface LedgerFiles {
  readonly files: readonly { open(): AsyncIterable<Uint8Array> }[]
  /** All of them; absent where that is not known. */
  readonly bytes?: number
  /** Checkpoints that an archive keeps beside its segments. */
  readonly anchors: readonly NamedAnchor[]
}

/** An export, standard input for `-`, or all segments of an archive. */
export const openLedgerFiles = async (
  path: string,
  trust: Trust,
  terminal: Pick<Terminal, 'stdin'>,
): Promise<Result<LedgerFiles, CliFault>> => {
  if (path === '-') return ok({ files: [{ open: () => terminal.stdin }], anchors: [] })
  try {
    const found = await stat(path)
    if (!found.isDirectory()) return ok({ files: [{ open: () => openFile(path) }], bytes: found.size, anchors: [] })
    return await openArchive(path, trust)
  } catch (error) {
    return unreachable(`cannot read ${path}: ${describeError(error)}`)
  }
}

const openFile = (path: string): AsyncIterable<Uint8Array> =>
  createReadStream(path, { highWaterMark: LIMITS.verifyBatchBytes / 2 })

const openArchive = async (dir: string, { pin }: Trust): Promise<Result<LedgerFiles, CliFault>> => {
  const names = (await readdir(dir)).sort()
  const segments = names.filter((name) => SEGMENT_NAME.test(name)).map((name) => join(dir, name))
  if (segments.length === 0) return unreachable(`there is no segment in ${dir}`)
  let bytes = 0
  for (const segment of segments) bytes += (await stat(segment)).size
  const anchors: NamedAnchor[] = []
  for (const name of names.filter((one) => CHECKPOINT_NAME.test(one))) {
    const from = { name, origin: pin.origin, witnessKeys: [], isOfArchive: true }
    const anchor = parseCheckpointAnchor(await readFile(join(dir, name)), from)
    if (!anchor.ok) return unreachable(`${join(dir, name)}: ${anchor.error}`)
    anchors.push(anchor.value)
  }
  return ok({ files: segments.map((segment) => ({ open: () => openFile(segment) })), bytes, anchors })
}
