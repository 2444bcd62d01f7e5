import type { Guard } from '../../projections/guards.ts'
import { encodeContext, encodeHeader } from '../core/ciphertext.ts'
import type { MaterialRef } from '../core/instruction.ts'
import { ok, type Result } from '../core/result.ts'
import { guardBudget } from './budget.ts'
import { guardKey, type Resolved } from './operation.ts'
import { findUsable, takeKey } from './use.ts'

/** What every new ciphertext under one key needs, whatever is in it. */
export interface NewMessage {
  readonly backend: string
  readonly material: MaterialRef
  readonly header: Uint8Array
  readonly context: Uint8Array
  /** For the record: its keyed hash, and nothing for an empty context. */
  readonly recorded: { readonly contextHash?: Uint8Array }
  /** The key is as it was, and its version has budget for one more message. */
  readonly guards: readonly Guard[]
}

/** Prepares a ciphertext under the first key of the request. Codes: those of `findUsable`, KEY_EXHAUSTED. */
export const prepareMessage = (
  resolved: Resolved,
  encryptionContext: Readonly<Record<string, string>> | undefined,
): Result<NewMessage> => {
  const { view, facts } = resolved
  const record = takeKey(resolved)
  const context = encodeContext(encryptionContext)
  if (!context.ok) return context
  const usable = findUsable(view, resolved, record, { usage: 'ENCRYPT_DECRYPT', use: 'produce' })
  if (!usable.ok) return usable
  const { backend, material } = usable.value
  const budget = guardBudget(view, facts, material)
  if (!budget.ok) return budget
  const contextHash = facts.hashContext(context.value)
  return ok({
    backend,
    material,
    header: encodeHeader(material),
    context: context.value,
    recorded: contextHash === undefined ? {} : { contextHash },
    guards: [guardKey(view, record, 'produce'), budget.value],
  })
}
