import type { Guard } from '../../projections/guards.ts'
import { findEffectiveState } from '../../projections/hierarchy.ts'
import type { IdempotencyRecord } from '../../projections/idempotency.ts'
import type { KeyRecord } from '../../projections/keys.ts'
import type { View } from '../../projections/view.ts'
import type { EventData, EventName } from '../../schemas/events.ts'
import type { KeySpecName } from '../../schemas/keys.ts'
import type { Body, OperationName, Request } from '../../schemas/registry.ts'
import type { Instruction, Lid, OutputOf } from '../core/instruction.ts'
import type { UseKind } from '../core/lifecycle.ts'
import type { Result } from '../core/result.ts'
import type { Sensitive } from '../core/sensitive.ts'

/** Something an operation touches, and the action it asks the PDP about. `ref` is a key id as the caller wrote it. */
export type Target =
  | { readonly kind: 'key'; readonly action: string; readonly ref: string; readonly contextBytes?: Uint8Array }
  | { readonly kind: 'service'; readonly action: string; readonly requested?: Readonly<Record<string, unknown>> }

/** What a plan may know beside its input and the view: values and pure functions only. */
export interface Facts {
  readonly origin: string
  readonly nowMs: number
  /** A fresh UUIDv7 for this request. */
  readonly uniqueId: string
  readonly defaultBackend: string
  readonly hasBackend: (backend: string) => boolean
  readonly supports: (backend: string, spec: KeySpecName) => boolean
  readonly isMissing: (lid: Lid, version: number) => boolean
  readonly hashContext: (encoded: Uint8Array) => Uint8Array | undefined
  /** The claim on an idempotency slot that a state event must carry. */
  readonly idempotency?: { readonly slot: Uint8Array; readonly body: Uint8Array }
}

/** One member of a list before the PDP was asked whether the caller may see it. */
export interface Candidate {
  readonly record: KeyRecord
  readonly depth: number
  /** Set if it is not what was asked for: it only counts as looked at. */
  readonly isFiltered?: boolean
}

export interface VisiblePage {
  readonly items: readonly Candidate[]
  readonly nextCursor?: string
}

/** The input with everything it names looked up and permitted. `keys` follows the order of the key targets. */
export interface Resolved {
  readonly view: View
  readonly facts: Facts
  readonly keys: readonly KeyRecord[]
  readonly page?: VisiblePage
}

export type EventBody = { [E in EventName]: { readonly type: E; readonly data: EventData<E> } }[EventName]

export interface Recorded<N extends OperationName> {
  readonly event: EventBody
  readonly resources: readonly { readonly lid: Lid; readonly version?: number }[]
  readonly contextHash?: Uint8Array
  /** The reply, from the view with the event folded in; so a change answers with what it made. */
  toReply(view: View): Body<N>
  /** Secret bytes in the reply; zeroed when the transport has encoded it, or when the append failed. */
  readonly secrets?: readonly Sensitive[]
  /** What to undo in the HSM if the ledger refused the record. */
  readonly compensation?: Instruction
}

export interface Plan<N extends OperationName, I extends Instruction = Instruction> {
  readonly instruction?: I
  readonly guards: readonly Guard[]
  record(output: OutputOf<I> | undefined): Recorded<N>
}

/** How one operation is decided: pure. The pipeline alone asks, executes and appends. */
export interface Operation<N extends OperationName> {
  /** What the request touches, each with its action; the first is what the record is filed under. */
  targets(input: Request<N>, facts: Facts): Result<readonly Target[]>
  /** For lists: what might be shown, after the cursor, in an order that later changes do not disturb. */
  candidates?(input: Request<N>, keys: readonly KeyRecord[], view: View): Result<Iterable<Candidate>>
  plan(input: Request<N>, resolved: Resolved): Result<Plan<N>>
  /** For idempotent operations: the reply to a repeated request, rebuilt from the view. */
  replay?(success: IdempotencyRecord, view: View, facts: Facts): Body<N>
  /** The failure when a key target does not exist; KEY_NOT_FOUND unless the operation hides it. */
  readonly missing?: 'INVALID_CIPHERTEXT'
}

/** A plan whose record needs the output of its instruction. */
export const planInstruction = <N extends OperationName, I extends Instruction>(
  instruction: I,
  guards: readonly Guard[],
  record: (output: OutputOf<I>) => Recorded<N>,
): Plan<N> => ({ instruction, guards, record: (output) => record(output as OutputOf<I>) })

/** A plan that needs no HSM. */
export const planRecord = <N extends OperationName>(guards: readonly Guard[], record: () => Recorded<N>): Plan<N> => ({
  guards,
  record,
})

/** The guard that a key still is as it was read; `use` is what it was read for, if that depends on its state. */
export const guardKey = (view: View, record: KeyRecord, use?: UseKind | 'parent'): Guard => ({
  kind: 'key',
  lid: record.lid,
  revision: record.revision,
  effective: findEffectiveState(view.keys, record).state,
  ...(use === undefined ? {} : { use }),
})
