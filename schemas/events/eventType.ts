import Type, { type TSchema } from 'typebox'
import { LIMITS } from '../limits.ts'
import { BackendId, Bytes, Fields, Lid, Text } from '../primitives.ts'

/** Turns the data of one version of an event into that of the next. Pure, and total: old events are history. */
export type Upcaster = (older: Readonly<Record<string, unknown>>) => Readonly<Record<string, unknown>>

/**
 * One kind of thing that can have happened. Append-only: a field is never removed or re-read with another meaning; a new
 * version comes with an upcaster that runs on read, so `version` is one more than there are of them. `state` events put
 * their commit on `kms.ledger.state`, all others on `kms.ledger.usage`.
 */
export interface EventType<D extends TSchema = TSchema> {
  readonly version: number
  readonly state: boolean
  readonly data: D
  /** From version 1 to 2, from 2 to 3, and so on. */
  readonly upcasters: readonly Upcaster[]
}

const declare = <D extends TSchema, S extends boolean>(data: D, isState: S, upcasters: readonly Upcaster[]) => ({
  version: 1 + upcasters.length,
  state: isState,
  data,
  upcasters,
})

/** A change that projections fold. */
export const state = <D extends TSchema>(
  data: D,
  ...upcasters: readonly Upcaster[]
): EventType<D> & { readonly state: true } => declare(data, true, upcasters)

/** A use, a query or something that did not succeed. */
export const usage = <D extends TSchema>(
  data: D,
  ...upcasters: readonly Upcaster[]
): EventType<D> & { readonly state: false } => declare(data, false, upcasters)

export const raw32 = Bytes(32, 32)
export const signature = Bytes(64, 64)
export const count = Type.Integer({ minimum: 0 })
export const version = Type.Integer({ minimum: 1 })
export const none = Fields({})
export const one = Fields({ lid: Lid, version: Type.Optional(version) })
export const reason = Type.Optional(Text(1, LIMITS.reasonBytesMax))

/** The claim of a change on its idempotency slot; any state event may carry it (`projections/idempotency.ts`). */
export const claim = {
  idempotency: Type.Optional(Fields({ slot: raw32, body: raw32 })),
}

/** One HSM-held version of a key as the ledger knows it. */
export const Material = Fields({
  backend: BackendId,
  sealed_handle: Bytes(1, 256, 'CKA_ID, sealed under the handle key of the backend'),
  public_key: Type.Optional(Bytes(1, 1024, 'SubjectPublicKeyInfo, DER')),
})
