import { encodeMsgpack } from './encodeMsgpack.ts'
import { ok, type Result } from './result.ts'
import { parseStrictJson } from './strictJson.ts'

/** What is signed of a snapshot (docs/LEDGER.md, "Snapshots"). */
export interface SnapshotClaim {
  readonly origin: string
  readonly name: string
  readonly version: number
  /** The commit whose state it is, and that commit's hash in hex. */
  readonly seq: number
  readonly hash: string
  /** Of the state's bytes, in hex. */
  readonly state_sha256: string
}

/** A signed snapshot without its state. What it says beside the claim helps to find things, and is evidence of nothing. */
export interface SnapshotManifest extends SnapshotClaim {
  readonly v: 1
  /** The epoch key that signed. */
  readonly kid: string
  /** Hex, 64 bytes. */
  readonly signature: string
  /** The commit that opened the epoch, and those that rotated the root before. */
  readonly opened: number
  readonly rotated: readonly number[]
  /** Stored messages of these commits, in base64, for when their streams are gone: those that rotated the root at least. */
  readonly commits: readonly string[]
  /** Length of the state, and the pieces it is stored in. */
  readonly bytes: number
  readonly pieces: number
}

/** What the epoch key signs. */
export const toSnapshotSigned = (claim: SnapshotClaim): Uint8Array =>
  Buffer.concat([
    LABEL,
    encodeMsgpack([
      claim.origin,
      claim.name,
      claim.version,
      claim.seq,
      Buffer.from(claim.hash, 'hex'),
      Buffer.from(claim.state_sha256, 'hex'),
    ]),
  ])

const LABEL = Buffer.from('chatelaine/snapshot/v1\0', 'latin1')

export const formatSnapshotManifest = (manifest: SnapshotManifest): string => JSON.stringify(manifest)

/** Reads a manifest; says in words why it is none. */
export const parseSnapshotManifest = (bytes: Uint8Array): Result<SnapshotManifest, string> => {
  const json = parseStrictJson(bytes, 2)
  if (!json.ok) return { ok: false, error: 'it is not JSON' }
  return isManifest(json.value) ? ok(json.value) : { ok: false, error: 'a member is missing or has another form' }
}

const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && Number(value) >= 0
const isHex = (value: unknown, digits: number): boolean =>
  typeof value === 'string' && value.length === digits && /^[0-9a-f]*$/.test(value)

const MEMBERS: { readonly [M in keyof SnapshotManifest]: (value: unknown) => boolean } = {
  v: (value) => value === 1,
  origin: (value) => typeof value === 'string',
  name: (value) => typeof value === 'string',
  version: isCount,
  seq: isCount,
  hash: (value) => isHex(value, 64),
  state_sha256: (value) => isHex(value, 64),
  kid: (value) => isHex(value, 32),
  signature: (value) => isHex(value, 128),
  opened: isCount,
  rotated: (value) => Array.isArray(value) && value.every(isCount),
  commits: (value) => Array.isArray(value) && value.every((one) => typeof one === 'string'),
  bytes: isCount,
  pieces: isCount,
}

const isManifest = (value: unknown): value is SnapshotManifest => {
  if (typeof value !== 'object' || value === null) return false
  const members = new Map<string, unknown>(Object.entries(value))
  return Object.entries(MEMBERS).every(([name, isIt]) => isIt(members.get(name)))
}
