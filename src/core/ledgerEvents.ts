import { LIMITS } from '../../schemas/limits.ts'
import { encodeMsgpack } from './encodeMsgpack.ts'
import { type EventFields, type RecordedEvent, readOwnFields } from './recordedEvent.ts'
import { ok, type Result } from './result.ts'

/** The ledger's own events as the chain rules read them (docs/LEDGER.md, "Who may sign what"). */
export type LedgerEvent =
  | { readonly type: 'LedgerCreated'; readonly rootPublicKey: Uint8Array }
  | {
      readonly type: 'EpochOpened'
      readonly kid: string
      readonly publicKey: Uint8Array
      readonly attestation: Uint8Array
    }
  | { readonly type: 'RootRotated'; readonly publicKey: Uint8Array; readonly signatureNew: Uint8Array }
  | {
      readonly type: 'LedgerRecovered'
      readonly from: number
      readonly to: number
      readonly digest: Uint8Array
      readonly lost: readonly Anchor[]
      readonly reason: string
    }
  | { readonly type: 'LedgerRolled'; readonly nextStream: string }

/** A place outside the ledger that remembers the commit hash (hex) at a sequence. */
export interface Anchor {
  readonly size: number
  readonly hash: string
}

/** Whether an event is one that the chain rules look into. */
export const isLedgerEvent = (type: string): boolean => Object.hasOwn(READERS, type)

/** Reads a ledger event's data; says in words what does not fit. Members it does not know are ignored. */
export const parseLedgerEvent = (event: RecordedEvent): Result<LedgerEvent, string> => {
  const fields = readOwnFields(event)
  if (!fields.ok) return fields
  const read = isName(event.type) ? READERS[event.type](fields.value.data) : undefined
  return read === undefined ? { ok: false, error: `the data of ${event.type} are malformed` } : ok(read)
}

/** What `ledger-root` signs to attest an epoch; it binds the place, so an unused attestation can't serve another history. */
export const toEpochAttestation = (epoch: {
  readonly origin: string
  readonly epoch: number
  readonly seq: number
  readonly prev: Uint8Array
  readonly kid: string
  readonly publicKey: Uint8Array
}): Uint8Array =>
  Buffer.concat([
    EPOCH_LABEL,
    encodeMsgpack([epoch.origin, epoch.epoch, epoch.seq, epoch.prev, epoch.kid, epoch.publicKey]),
  ])

/** What the *new* root signs when the root is rotated. */
export const toRootAttestation = (root: {
  readonly origin: string
  readonly seq: number
  readonly prev: Uint8Array
  readonly publicKey: Uint8Array
}): Uint8Array => Buffer.concat([ROOT_LABEL, encodeMsgpack([root.origin, root.seq, root.prev, root.publicKey])])

/** Whether bytes begin with one of the labels under which a root key signs: a head, an epoch's or a root's attestation. */
export const isLedgerMessage = (bytes: Uint8Array): boolean =>
  ROOT_SIGNED_PATTERN.test(Buffer.from(bytes.subarray(0, 32)).toString('latin1'))

const ROOT_SIGNED_PATTERN = /^chatelaine\/(sign|epoch|root)\/v1\0/
const EPOCH_LABEL = Buffer.from('chatelaine/epoch/v1\0', 'latin1')
const ROOT_LABEL = Buffer.from('chatelaine/root/v1\0', 'latin1')

type Data = EventFields['data']
type Name = LedgerEvent['type']

const isName = (type: string): type is Name => isLedgerEvent(type)

const READERS: { readonly [N in Name]: (data: Data) => (LedgerEvent & { readonly type: N }) | undefined } = {
  LedgerCreated: ({ root_public_key: rootPublicKey, context_key: contextKey }) =>
    isBytes(rootPublicKey, 32) && contextKey instanceof Uint8Array
      ? { type: 'LedgerCreated', rootPublicKey }
      : undefined,
  EpochOpened: ({ writer, kid, public_key: publicKey, attestation }) =>
    typeof writer === 'string' && typeof kid === 'string' && isBytes(publicKey, 32) && isBytes(attestation, 64)
      ? { type: 'EpochOpened', kid, publicKey, attestation }
      : undefined,
  RootRotated: ({ public_key: publicKey, signature_new: signatureNew }) =>
    isBytes(publicKey, 32) && isBytes(signatureNew, 64) ? { type: 'RootRotated', publicKey, signatureNew } : undefined,
  LedgerRecovered: ({ from, to, digest, lost, reason }) => {
    const anchors = parseLost(lost)
    return isUint(from) && isUint(to) && isBytes(digest, 32) && anchors && typeof reason === 'string'
      ? { type: 'LedgerRecovered', from, to, digest, lost: anchors, reason }
      : undefined
  },
  LedgerRolled: ({ next_stream: nextStream, archived_to: archivedTo }) =>
    typeof nextStream === 'string' && isMap(archivedTo) && isUint(archivedTo['size']) && isBytes(archivedTo['root'], 32)
      ? { type: 'LedgerRolled', nextStream }
      : undefined,
}

const parseLost = (lost: unknown): readonly Anchor[] | undefined => {
  if (!Array.isArray(lost) || lost.length > LIMITS.lostAnchorsMax) return undefined
  const anchors: Anchor[] = []
  for (const item of lost) {
    if (!isMap(item) || !isUint(item['size']) || typeof item['hash'] !== 'string') return undefined
    anchors.push({ size: item['size'], hash: item['hash'] })
  }
  return anchors
}

const isMap = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)

const isBytes = (value: unknown, length: number): value is Uint8Array =>
  value instanceof Uint8Array && value.length === length

const isUint = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0
