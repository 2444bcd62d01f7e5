import type { Guard } from '../../projections/guards.ts'
import { findSlot, type IdempotencyRecord } from '../../projections/idempotency.ts'
import type { View } from '../../projections/view.ts'
import type { Attempt } from './attempt.ts'

/** A request's claim on its idempotency slot, with the success that holds the slot already, if there is one. */
export interface Slot {
  readonly slot: Uint8Array
  readonly body: Uint8Array
  readonly bodyHex: string
  readonly success?: IdempotencyRecord
  readonly guard: Guard
}

export interface SlotClaim {
  readonly slotHex: string
  find(view: View, nowMs: number): Slot
}

const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

/**
 * The slot of a request with an `Idempotency-Key`: principal, operation and `subjectName`, the LID of its key or the
 * name of what else it changes, are its scope. Both hashes are keyed,
 * so the ledger gives away neither the caller's key nor the body.
 */
export const claimSlot = (
  { incoming, principal, ports }: Attempt,
  input: unknown,
  subjectName: string | undefined,
): SlotClaim | undefined => {
  if (incoming.idempotencyKey === undefined) return undefined
  const scope = {
    principal: { id: principal.id, type: principal.type },
    operation: incoming.operation,
    key: subjectName ?? '',
    idempotency_key: incoming.idempotencyKey,
  }
  const slot = ports.hashes.hashIdempotency(scope)
  const body = ports.hashes.hashIdempotency(input)
  const slotHex = toHex(slot)
  return {
    slotHex,
    find(view, nowMs) {
      const success = findSlot(view.idempotency, slotHex, nowMs)
      const guard: Guard = { kind: 'slot', slotHex, nowMs }
      return { slot, body, bodyHex: toHex(body), guard, ...(success === undefined ? {} : { success }) }
    },
  }
}
