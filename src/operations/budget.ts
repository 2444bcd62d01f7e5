import { checkGuard, type Guard } from '../../projections/guards.ts'
import type { View } from '../../projections/view.ts'
import type { MaterialRef } from '../core/instruction.ts'
import { ok, type Result } from '../core/result.ts'
import type { Facts } from './operation.ts'

/**
 * The guard that this version has one more message in its nonce budget (invariant 13); KEY_EXHAUSTED if it has none
 * already. Random 96-bit nonces stay safe below 2^32 messages (NIST SP 800-38D §8.3); the margin of 2^20 is for what
 * may be in flight.
 */
export const guardBudget = (view: View, facts: Facts, { lid, version }: MaterialRef): Result<Guard> => {
  const guard: Guard = { kind: 'budget', lid, version, messagesMax: facts.messagesPerVersionMax }
  const failure = checkGuard(view, guard)
  return failure === undefined ? ok(guard) : { ok: false, error: failure }
}
