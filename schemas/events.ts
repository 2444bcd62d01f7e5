import Type, { type Static, type TSchema } from 'typebox'
import { KeySpec, KeyUsage } from './keys.ts'
import { LIMITS } from './limits.ts'
import { AttributeSet, BackendId, Bytes, Fields, Lid, Tags, Text } from './primitives.ts'

/**
 * What can have happened. Append-only: a field is never removed or re-read with another meaning; a new version gets an
 * upcaster that runs on read. `state` events put their commit on `kms.ledger.state`, all others on `kms.ledger.usage`.
 */
interface EventType<D extends TSchema = TSchema> {
  readonly version: number
  readonly state: boolean
  readonly data: D
}
const state = <D extends TSchema>(data: D): EventType<D> & { readonly state: true } => ({
  version: 1,
  state: true,
  data,
})
const usage = <D extends TSchema>(data: D): EventType<D> & { readonly state: false } => ({
  version: 1,
  state: false,
  data,
})

const raw32 = Bytes(32, 32)
const signature = Bytes(64, 64)
const count = Type.Integer({ minimum: 0 })
const version = Type.Integer({ minimum: 1 })
const none = Fields({})
const one = Fields({ lid: Lid, version: Type.Optional(version) })
const idempotency = Fields({ slot: raw32, body: raw32 })
const transition = Fields({ lid: Lid, affected: count, idempotency: Type.Optional(idempotency) })

/** One HSM-held version of a key as the ledger knows it. */
const Material = Fields({
  backend: BackendId,
  sealed_handle: Bytes(1, 256, 'CKA_ID, sealed under the handle key of the backend'),
  public_key: Type.Optional(Bytes(1, 1024, 'SubjectPublicKeyInfo, DER')),
})

export const EVENTS = {
  // The ledger's own (see docs/LEDGER.md)
  LedgerCreated: state(Fields({ root_public_key: raw32, context_key: Bytes(1, 256, 'sealed') })),
  EpochOpened: state(Fields({ writer: Text(1, 128), kid: Text(32, 32), public_key: raw32, attestation: signature })),
  RootRotated: state(Fields({ public_key: raw32, signature_new: signature })),
  LedgerRecovered: state(
    Fields({
      from: version,
      to: count,
      digest: raw32,
      lost: Type.Array(Fields({ size: count, hash: Text(64, 64) }), { maxItems: 64 }),
      reason: Text(1, 1024),
    }),
  ),
  LedgerRolled: state(Fields({ next_stream: Text(1, 64), archived_to: Fields({ size: count, root: raw32 }) })),
  PolicySetLoaded: state(Fields({ sha256: raw32, policies: count })),
  // Destruction of HSM objects that the ledger does not name, in two commits around it
  SweepStarted: state(Fields({ backend: BackendId, objects: version })),
  SweepFinished: state(Fields({ backend: BackendId, objects: version, destroyed: count })),
  // Keys
  KeyCreated: state(
    Fields({
      lid: Lid,
      version: Type.Literal(1),
      spec: KeySpec,
      usage: KeyUsage,
      description: Text(0, LIMITS.descriptionBytesMax),
      user_tags: Tags,
      identity_tags: AttributeSet,
      canonicalization_version: Type.Literal(1),
      parent: Type.Optional(Lid),
      exportable: Type.Boolean(),
      material: Material,
      idempotency: Type.Optional(idempotency),
    }),
  ),
  KeyEnabled: state(transition),
  KeyDisabled: state(transition),
  // Uses and queries: recorded, and counted where a budget depends on them
  DataEncrypted: usage(one),
  DataDecrypted: usage(one),
  DataReEncrypted: usage(
    Fields({
      source: one,
      destination: one,
      source_context_hash: Type.Optional(raw32),
      destination_context_hash: Type.Optional(raw32),
    }),
  ),
  DataKeyGenerated: usage(Fields({ lid: Lid, version, bytes: count, plaintext_returned: Type.Boolean() })),
  RandomGenerated: usage(Fields({ bytes: count })),
  MessageSigned: usage(Fields({ lid: Lid, version, algorithm: Text(1, 64) })),
  SignatureVerified: usage(Fields({ lid: Lid, version, algorithm: Text(1, 64), valid: Type.Boolean() })),
  KeyDescribed: usage(one),
  KeysListed: usage(Fields({ items: count })),
  DependentsListed: usage(Fields({ lid: Lid, items: count })),
  AncestorsListed: usage(Fields({ lid: Lid, items: count })),
  PublicKeyRead: usage(one),
  LedgerHeadRead: usage(none),
  RequestReplayed: usage(Fields({ lid: Lid, slot: raw32 })),
  // What did not succeed
  AccessDenied: usage(none),
  OperationFailed: usage(none),
  RequestRefused: usage(Fields({ count: version })),
  AuthenticationRefused: usage(
    Fields({ count: version, reasons: Type.Array(Fields({ reason: Text(1, 64), count: version }), { maxItems: 16 }) }),
  ),
} as const

export type EventTypes = typeof EVENTS
export type EventName = keyof EventTypes
export type EventData<N extends EventName> = Static<EventTypes[N]['data']>

/** Whether a commit holding an event of this type belongs on `kms.ledger.state`. Unknown types do not. */
export const isStateEvent = (type: string): boolean => Object.hasOwn(EVENTS, type) && EVENTS[type as EventName].state

/** The identity, outcome and payload of one event; the bytes are in docs/LEDGER.md. */
export interface EventOf<N extends EventName> {
  readonly id: string
  readonly type: N
  readonly v: number
  readonly action: string
  readonly principal: { readonly id: string; readonly type: string }
  readonly authn: { readonly method: string }
  readonly transport: 'nats' | 'rest' | 'internal'
  readonly resources: readonly { readonly type: string; readonly id: string; readonly version?: number }[]
  readonly outcome: 'success' | 'denied' | 'failed'
  readonly code?: string
  readonly request_id: string
  readonly decision?: {
    readonly pdp: string
    readonly policy_version: string
    readonly reasons: readonly string[]
    readonly obligations: readonly string[]
  }
  readonly context_hash?: Uint8Array
  readonly data: EventData<N>
}

/** Any event of {@link EVENTS}, discriminated by `type`. */
export type Event = { [N in EventName]: EventOf<N> }[EventName]

export const SUBJECT_STATE = 'kms.ledger.state'
export const SUBJECT_USAGE = 'kms.ledger.usage'
export const STREAM_LEDGER = 'KMS_LEDGER'
