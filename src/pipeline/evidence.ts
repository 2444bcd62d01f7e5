import type { OperationName, Request } from '../../schemas/registry.ts'
import { ok, type Result } from '../core/result.ts'
import type { Operation, Resolved } from '../operations/operation.ts'
import type { Attempt } from './attempt.ts'

/** Brings what the plan needs of the ledger itself, where the operation asks for it. Failures: its own, and those of the port. */
export const bringEvidence = async <N extends OperationName>(
  { ports: { ledger }, signal }: Pick<Attempt, 'ports' | 'signal'>,
  operation: Operation<N>,
  { input, resolved }: { readonly input: Request<N>; readonly resolved: Resolved },
): Promise<Result<Resolved>> => {
  const asked = operation.evidence?.(input, resolved)
  if (asked === undefined) return ok(resolved)
  if (!asked.ok) return asked
  switch (asked.value.kind) {
    case 'proof': {
      const proof = await ledger.prove(asked.value.query, signal)
      return proof.ok ? ok({ ...resolved, proof: proof.value }) : proof
    }
    case 'events': {
      const events = await ledger.list(asked.value.query, signal)
      return events.ok ? ok({ ...resolved, events: events.value }) : events
    }
    default:
      return asked.value satisfies never
  }
}
