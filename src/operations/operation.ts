import type { Guard } from '../../projections/guards.ts'
import { findEffectiveState } from '../../projections/hierarchy.ts'
import type { IdempotencyRecord } from '../../projections/idempotency.ts'
import type { KeyRecord } from '../../projections/keys.ts'
import type { View } from '../../projections/view.ts'
import type { EventData, EventName } from '../../schemas/events.ts'
import type { KeySpecName } from '../../schemas/keys.ts'
import type { BatchableName, Body, OperationName, Request } from '../../schemas/registry.ts'
import type { EventListing, EventsQuery } from '../core/eventListing.ts'
import type { Instruction, Lid, OutputOf } from '../core/instruction.ts'
import type { LedgerProof, ProofQuery } from '../core/ledgerProof.ts'
import type { UseKind } from '../core/lifecycle.ts'
import type { BackendStatus, WrappingSupport } from '../core/ports.ts'
import type { Failure, Result } from '../core/result.ts'

/**
 * Something an operation touches, and the action it asks the PDP about. `ref` is a key id as the caller wrote it, LID or
 * alias; the pipeline resolves it. A `resource` is anything else that has a name of its own.
 */
export type Target =
  | {
      readonly kind: 'key'
      readonly action: string
      readonly ref: string
      readonly contextBytes?: Uint8Array
      /** What the caller is told if there is no such key, where it is not he who named it. */
      readonly absent?: string
    }
  | {
      readonly kind: 'resource'
      readonly action: string
      readonly type: 'Alias' | 'Namespace' | 'HsmConnection'
      readonly id: string
      readonly exists: boolean
    }
  | { readonly kind: 'service'; readonly action: string; readonly requested?: Readonly<Record<string, unknown>> }

/** What a plan may know beside its input and the view: values and pure functions only. */
export interface Facts {
  readonly origin: string
  readonly nowMs: number
  /** A fresh UUIDv7 for this request. */
  readonly uniqueId: string
  readonly defaultBackend: string
  /** Whether this caller may place a key on a backend of this id: one of the configuration, or a connection open to him. */
  readonly hasBackend: (backend: string) => boolean
  /** Whether the configuration has a backend of this id. */
  readonly isConfigured: (backend: string) => boolean
  /** How a backend is; nothing if none of this id is open. */
  readonly findBackendState: (backend: string) => BackendStatus['state'] | undefined
  readonly supports: (backend: string, spec: KeySpecName) => boolean
  /** None while the backend has never answered. */
  readonly wrapping: (backend: string) => WrappingSupport | undefined
  /** Messages that one version may encrypt. */
  readonly messagesPerVersionMax: number
  readonly isMissing: (lid: Lid, version: number) => boolean
  /** The newest checkpoint of the ledger, a signed note. */
  readonly newestCheckpoint: () => string | undefined
  readonly hashContext: (encoded: Uint8Array) => Uint8Array | undefined
  readonly hashImportToken: (token: Uint8Array) => Uint8Array
  /** Who asks; nobody where the service acts of its own accord. */
  readonly principal?: { readonly id: string; readonly type: string }
  /** The claim on an idempotency slot that a state event must carry. */
  readonly idempotency?: { readonly slot: Uint8Array; readonly body: Uint8Array }
}

/** One member of a list before the PDP was asked whether the caller may see it. */
export interface Candidate {
  /** The key that the caller must be allowed to describe; without one, the permit for the list is enough. */
  readonly record?: KeyRecord
  /** What else the caller must be permitted to see it, for what is no key. */
  readonly target?: Target
  /** Where it stands in the list: what a cursor to it says, and how the plan finds it again. See `cursor.ts`. */
  readonly place: string
  /** Steps from the key asked about, in a list of relatives. */
  readonly depth?: number
  /** About what it takes in a JSON reply; a key's own estimate if absent. */
  readonly bytes?: number
  /** Set if it is not what was asked for: it only counts as looked at. */
  readonly isFiltered?: boolean
}

export interface VisiblePage {
  readonly items: readonly Candidate[]
  readonly nextCursor?: string
}

/** One item of a batch as it was asked for. */
export interface ItemAsked {
  readonly operation: string
  readonly request: unknown
}

/** What became of one item of a batch: its whole reply, receipt included, or why there is none. */
export type ItemOutcome =
  | {
      readonly ok: true
      readonly operation: BatchableName
      readonly body: Readonly<Record<string, unknown>>
      /** Zeroes the bytes of the reply. */
      readonly secrets: Disposable
    }
  | { readonly ok: false; readonly error: Failure }

/** The input with everything it names looked up and permitted. `keys` follows the order of the key targets. */
export interface Resolved {
  readonly view: View
  readonly facts: Facts
  readonly keys: readonly KeyRecord[]
  readonly page?: VisiblePage
  /** For a batch: what became of its items, in their order. */
  readonly outcomes?: readonly ItemOutcome[]
  readonly proof?: LedgerProof
  readonly events?: EventListing
}

/** What a plan may want of the ledger itself, beside its view. */
export type Evidence =
  | { readonly kind: 'proof'; readonly query: ProofQuery }
  | { readonly kind: 'events'; readonly query: EventsQuery }

export type EventBody = { [E in EventName]: { readonly type: E; readonly data: EventData<E> } }[EventName]

/** What an event is about: a key, perhaps one version of it, or something else with a name. */
export type ResourceRef =
  | { readonly lid: Lid; readonly version?: number }
  | { readonly type: 'Alias' | 'Namespace' | 'HsmConnection'; readonly id: string }

/** The record of something done, and the reply `B` it allows. */
export interface RecordedAs<B> {
  readonly event: EventBody
  readonly resources: readonly ResourceRef[]
  readonly contextHash?: Uint8Array
  /** The reply, from the view with the event folded in; so a change answers with what it made. */
  toReply(view: View): B
  /** Secret bytes in the reply; zeroed when the transport has encoded it, or when the append failed. */
  readonly secrets?: readonly Disposable[]
  /** What to undo in the HSM if the ledger refused the record. */
  readonly compensation?: Instruction
  /**
   * A second step, done once this record is durable; the reply is then the second's. If it cannot be done now the first
   * reply stands, and a duty finishes what was begun.
   */
  next?(view: View): PlanAs<B> | undefined
}

export type Recorded<N extends OperationName> = RecordedAs<Body<N>>

/** What the HSM shall do, what must still hold when the record enters the ledger, and how the record is made. */
export interface PlanAs<B, I extends Instruction = Instruction> {
  readonly instruction?: I
  readonly guards: readonly Guard[]
  /** The backend that the record takes away: it is appended while nothing is being made there. */
  readonly closes?: string
  record(output: OutputOf<I> | undefined): RecordedAs<B>
}
export type Plan<N extends OperationName, I extends Instruction = Instruction> = PlanAs<Body<N>, I>

/** How one operation is decided: pure. The pipeline alone asks, executes and appends. */
export interface Operation<N extends OperationName> {
  /** What the request touches, each with its action; the first is what the record is filed under. */
  targets(input: Request<N>, facts: Facts, view: View): Result<readonly Target[]>
  /** The name under which changes take turns, where it is not the key of the request. */
  turn?(input: Request<N>): string
  /** For lists: what might be shown, after the cursor, in an order that later changes do not disturb. */
  candidates?(input: Request<N>, keys: readonly KeyRecord[], view: View, facts: Facts): Result<Iterable<Candidate>>
  /** For a batch: what is carried out on its own before the plan is made. */
  items?(input: Request<N>): readonly ItemAsked[]
  /** What the ledger shall prove or list before the plan is made. */
  evidence?(input: Request<N>, resolved: Resolved): Result<Evidence>
  plan(input: Request<N>, resolved: Resolved): Result<Plan<N>>
  /** For idempotent operations: the reply to a repeated request, rebuilt from the view. */
  replay?(success: IdempotencyRecord, view: View, facts: Facts): Body<N>
  /** The failure when a key target does not exist; KEY_NOT_FOUND unless the operation hides it. */
  readonly missing?: 'INVALID_CIPHERTEXT'
}

/** A plan whose record needs the output of its instruction. */
export const planInstruction = <B, I extends Instruction>(
  instruction: I,
  guards: readonly Guard[],
  record: (output: OutputOf<I>) => RecordedAs<B>,
): PlanAs<B> => ({ instruction, guards, record: (output) => record(output as OutputOf<I>) })

/** A plan that needs no HSM. */
export const planRecord = <B>(guards: readonly Guard[], record: () => RecordedAs<B>): PlanAs<B> => ({ guards, record })

/** For the data of a state event: the claim on its idempotency slot, if the request made one. */
export const toClaim = ({ idempotency }: Facts) => (idempotency === undefined ? {} : { idempotency })

/** The guards of new material on a backend: an HSM connection must still be there. */
export const guardBackend = (view: View, backend: string): readonly Guard[] =>
  view.hsmConnections.byName.has(backend) ? [{ kind: 'connection', name: backend }] : []

/** The guard that a key still is as it was read; `use` is what it was read for, if that depends on its state. */
export const guardKey = (view: View, record: KeyRecord, use?: UseKind | 'parent'): Guard => ({
  kind: 'key',
  lid: record.lid,
  revision: record.revision,
  effective: findEffectiveState(view.keys, record).state,
  ...(use === undefined ? {} : { use }),
})
