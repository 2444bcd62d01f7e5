import { access } from 'node:fs/promises'
import { LIMITS } from '../../schemas/limits.ts'
import type { Pin } from '../core/chainState.ts'
import { ok, type Result } from '../core/result.ts'
import { type NoteKey, parseNoteKey } from '../core/signedNote.ts'
import { toLedgerFiles } from '../ledger/genesis.ts'
import {
  type NamedAnchor,
  parseAnchorFlag,
  parseCheckpointAnchor,
  parseHeadFile,
  parseReceipt,
} from '../verify/anchors.ts'
import { parseVkey } from '../verify/vkey.ts'
import { type CliFault, misused, unreachable } from './exit.ts'
import { readTextFile } from './terminal.ts'

/** What a verification may trust, as it was typed. */
export interface TrustFlags {
  /** A vkey, or a file with one. */
  readonly rootKey?: string
  /** Must be the vkey's, where it is given. */
  readonly origin?: string
  readonly anchors: readonly string[]
  readonly receiptFiles: readonly string[]
  readonly checkpointFiles: readonly string[]
  /** Verifier keys of witnesses. */
  readonly witnessKeys: readonly string[]
  readonly headFile?: string
}

/** What a verification trusts. */
export interface Trust {
  readonly pin: Pin
  readonly anchors: readonly NamedAnchor[]
  readonly witnessKeys: readonly NoteKey[]
}

/**
 * Reads pin and anchors. `dataDir` fills in what was not given: the root key, and with `usesHeadFile` the head file
 * where there is one.
 */
export const readTrust = async (
  flags: TrustFlags,
  defaults: { readonly dataDir: string; readonly usesHeadFile: boolean },
): Promise<Result<Trust, CliFault>> => {
  const files = toLedgerFiles(defaults.dataDir)
  const pin = await readPin(flags, files.vkey)
  if (!pin.ok) return pin
  const anchors: NamedAnchor[] = []
  for (const text of flags.anchors) {
    const anchor = parseAnchorFlag(text)
    if (!anchor.ok) return misused(`--anchor: ${anchor.error}`)
    anchors.push(anchor.value)
  }
  for (const file of flags.receiptFiles) {
    const receipt = await readAnchorFile(file, parseReceipt)
    if (!receipt.ok) return receipt
    anchors.push(receipt.value)
  }
  const witnessKeys = readWitnessKeys(flags.witnessKeys)
  if (!witnessKeys.ok) return witnessKeys
  for (const file of flags.checkpointFiles) {
    const from = { name: 'checkpoint', origin: pin.value.origin, witnessKeys: witnessKeys.value, isOfArchive: false }
    const checkpoint = await readAnchorFile(file, (text) => parseCheckpointAnchor(Buffer.from(`${text}\n`), from))
    if (!checkpoint.ok) return checkpoint
    anchors.push(checkpoint.value)
  }
  const trust = { pin: pin.value, witnessKeys: witnessKeys.value }
  const headFile = flags.headFile ?? (defaults.usesHeadFile ? await ifThere(files.head) : undefined)
  if (headFile === undefined) return ok({ ...trust, anchors })
  const head = await readAnchorFile(headFile, (text) => parseHeadFile(text, pin.value.origin))
  return head.ok ? ok({ ...trust, anchors: [...anchors, head.value] }) : head
}

const readWitnessKeys = (texts: readonly string[]): Result<readonly NoteKey[], CliFault> => {
  const keys: NoteKey[] = []
  for (const text of texts) {
    const key = parseNoteKey(text)
    if (!key.ok) return misused(`--witness-key: ${key.error}`)
    if (key.value.type !== 'cosignature') return misused('--witness-key: the key is not of a witness')
    keys.push(key.value)
  }
  return ok(keys)
}

const readPin = async ({ rootKey, origin }: TrustFlags, vkeyFile: string): Promise<Result<Pin, CliFault>> => {
  const direct = rootKey === undefined ? undefined : parseVkey(rootKey)
  if (direct?.ok) return checkOrigin(direct.value, origin)
  const file = rootKey ?? vkeyFile
  const text = await readTextFile(file, LIMITS.cliTextFileBytesMax)
  if (!text.ok) return unreachable(`--root-key is neither a vkey nor a file with one: ${text.error}`)
  const parsed = parseVkey(text.value)
  return parsed.ok ? checkOrigin(parsed.value, origin) : unreachable(`${file}: ${parsed.error}`)
}

const checkOrigin = (pin: Pin, origin: string | undefined): Result<Pin, CliFault> =>
  origin === undefined || origin === pin.origin
    ? ok(pin)
    : misused(`--origin ${origin} is not the origin of the root key, which is ${pin.origin}`)

const readAnchorFile = async (
  file: string,
  parse: (text: string) => Result<NamedAnchor, string>,
): Promise<Result<NamedAnchor, CliFault>> => {
  const text = await readTextFile(file, LIMITS.cliTextFileBytesMax)
  if (!text.ok) return unreachable(text.error)
  const anchor = parse(text.value)
  return anchor.ok ? anchor : unreachable(`${file}: ${anchor.error}`)
}

/** The file's name if there is one; one that cannot be read must not be passed over. */
const ifThere = (file: string): Promise<string | undefined> =>
  access(file).then(
    () => file,
    (error: NodeJS.ErrnoException) => (error.code === 'ENOENT' ? undefined : file),
  )
