import type { View } from '../../projections/view.ts'
import { LIMITS } from '../../schemas/limits.ts'
import { CONTRACTS, type OperationName, type Request } from '../../schemas/registry.ts'
import { CIPHERTEXT_REFUSED } from '../core/ciphertext.ts'
import type { Instruction, OutputOf } from '../core/instruction.ts'
import type { Verdict } from '../core/ports.ts'
import type { Outgoing } from '../core/request.ts'
import { type Failure, ok, type Result } from '../core/result.ts'
import { owning } from '../core/sensitive.ts'
import type { Facts, Operation, Plan, Resolved } from '../operations/operation.ts'
import { OPERATIONS } from '../operations/registry.ts'
import type { Attempt, Permitted } from './attempt.ts'
import { mergeDecisions } from './authorize.ts'
import { describeFault, findAbortCode } from './fault.ts'
import { claimSlot, type Slot } from './idempotency.ts'
import { type Asking, toKeyQuestion, toQuestion } from './question.ts'
import { recordDenial, recordFailure, release, toFailed, withDecision } from './record.ts'
import { collectPage, type Found, resolveTargets } from './resolve.ts'

/** Takes a valid request from resolve to reply; every way out is recorded first. */
export const operate = async (attempt: Attempt, input: unknown): Promise<Outgoing> => {
  const { ports, incoming, signal, requestId } = attempt
  // Nothing can be recorded here, so nothing is asked of PDP or HSM either.
  if (ports.ledger.status().role !== 'writer')
    return toFailed(attempt, { code: 'LEDGER_UNAVAILABLE', message: 'this instance is not the writer of the ledger' })
  try {
    return await takeTurn(attempt, OPERATIONS[incoming.operation] as Operation<OperationName>, input as never)
  } catch (error) {
    const aborted = findAbortCode(signal)
    if (aborted === undefined)
      ports.telemetry.log('error', 'an operation failed', { request_id: requestId, ...describeFault(error) })
    const failure = aborted ?? { code: 'INTERNAL', message: 'the service failed; its log has the request id' }
    return recordFailure(attempt, { found: [] }, failure)
  }
}

/** Changes of one key take turns, and so do requests with one idempotency key; everything else goes ahead. */
const takeTurn = async <N extends OperationName>(attempt: Attempt, operation: Operation<N>, input: Request<N>) => {
  const claim = claimSlot(attempt, input)
  const name = (input as { key_id?: string }).key_id ?? claim?.slotHex
  if (CONTRACTS[attempt.incoming.operation].effect !== 'change' || name === undefined)
    return decide(attempt, operation, { input, slot: undefined })
  const leased = await attempt.lock.lease(name)
  if (!leased.ok) return attempt.refuse(leased.error)
  using _turn = leased.value
  return decide(attempt, operation, {
    input,
    slot: claim?.find(attempt.ports.ledger.view(), attempt.ports.clock.now()),
  })
}

const toFacts = ({ ports, settings, newId }: Attempt, slot: Slot | undefined): Facts => ({
  origin: settings.origin,
  nowMs: ports.clock.now(),
  uniqueId: newId(),
  defaultBackend: settings.defaultBackend,
  hasBackend: (backend) => settings.backends.includes(backend),
  supports: (backend, spec) => ports.hsm.supports(backend, spec),
  isMissing: settings.isMissing,
  hashContext: (encoded) => ports.hashes.hashContext(encoded),
  ...(slot === undefined ? {} : { idempotency: { slot: slot.slot, body: slot.body } }),
})

const toAsking = ({ incoming, principal, requestId, settings }: Attempt): Asking => ({
  requestId,
  principal,
  transport: incoming.transport,
  origin: settings.origin,
  sendContextSha256: settings.sendContextSha256,
})

interface Asked<N extends OperationName> {
  readonly input: Request<N>
  readonly slot: Slot | undefined
}

const decide = async <N extends OperationName>(
  attempt: Attempt,
  operation: Operation<N>,
  { input, slot }: Asked<N>,
): Promise<Outgoing> => {
  const view = attempt.ports.ledger.view()
  const facts = toFacts(attempt, slot)
  const targets = operation.targets(input, facts)
  if (!targets.ok) return attempt.refuse(targets.error)
  const found = resolveTargets(view, targets.value)
  const asked = await authorize(attempt, view, found)
  if (!asked.ok) return asked.error
  const permitted = asked.value
  const absent = found.find(({ target, record }) => target.kind === 'key' && record === undefined)
  if (absent !== undefined) return recordFailure(attempt, permitted, toAbsent(operation, absent))
  if (slot?.success !== undefined) return replay(attempt, operation, { permitted, slot, facts })
  const keys = found.flatMap(({ record }) => (record === undefined ? [] : [record]))
  const resolved = await findPage(attempt, operation, { input, resolved: { view, facts, keys } })
  if (!resolved.ok) return recordFailure(attempt, permitted, resolved.error)
  const plan = operation.plan(input, resolved.value)
  if (!plan.ok) return recordFailure(attempt, permitted, plan.error)
  const guards = slot === undefined ? plan.value.guards : [...plan.value.guards, slot.guard]
  return perform(attempt, permitted, { ...plan.value, guards })
}

/** Asks about every target (invariant 1); the first denial decides, and is recorded. */
const authorize = async (
  attempt: Attempt,
  view: View,
  found: readonly Found[],
): Promise<Result<Permitted, Outgoing>> => {
  const decisions: Omit<Verdict, 'decision'>[] = []
  const permitted = () => ({ found, ...withDecision(mergeDecisions(decisions)) })
  for (const { target, record } of found) {
    const verdict = await attempt.ask(toQuestion(toAsking(attempt), view, target, record), attempt.signal)
    if (verdict.decision !== undefined) decisions.push(verdict.decision)
    if (verdict.permitted) continue
    const message =
      verdict.code === 'PDP_UNAVAILABLE'
        ? 'the policy decision point gave no verdict; the request is denied'
        : `${target.action} is not permitted`
    return { ok: false, error: await recordDenial(attempt, permitted(), { code: verdict.code, message }) }
  }
  return ok(permitted())
}

const toAbsent = (operation: Operation<OperationName>, { target }: Found): Failure =>
  operation.missing !== undefined && target.action !== 'kms:ReEncryptTo'
    ? { code: operation.missing, message: CIPHERTEXT_REFUSED }
    : { code: 'KEY_NOT_FOUND', message: 'there is no such key' }

/** For a list: the part of it that the caller may see, item by item. */
const findPage = async <N extends OperationName>(
  attempt: Attempt,
  operation: Operation<N>,
  { input, resolved }: { readonly input: Request<N>; readonly resolved: Resolved },
): Promise<Result<Resolved>> => {
  if (operation.candidates === undefined) return ok(resolved)
  const candidates = operation.candidates(input, resolved.keys, resolved.view)
  if (!candidates.ok) return candidates
  const wanted = (input as { max_results?: number }).max_results ?? LIMITS.pageItemsDefault
  const page = await collectPage(candidates.value, wanted, async ({ record }) => {
    const question = toKeyQuestion(toAsking(attempt), resolved.view, record, 'kms:DescribeKey')
    return (await attempt.ask(question, attempt.signal)).permitted
  })
  return ok({ ...resolved, page })
}

interface Repeated {
  readonly permitted: Permitted
  readonly slot: Slot
  readonly facts: Facts
}

const replay = async <N extends OperationName>(
  attempt: Attempt,
  operation: Operation<N>,
  { permitted, slot, facts }: Repeated,
): Promise<Outgoing> => {
  const { success } = slot
  const rebuild = operation.replay
  if (success === undefined || rebuild === undefined || success.bodyHex !== slot.bodyHex)
    return recordFailure(attempt, permitted, {
      code: 'IDEMPOTENCY_CONFLICT',
      message: 'this Idempotency-Key was used with another request',
    })
  return release(attempt, {
    permitted,
    recorded: {
      event: { type: 'RequestReplayed', data: { lid: success.lid, slot: slot.slot } },
      resources: [{ lid: success.lid }],
      toReply: (view) => rebuild(success, view, facts),
    },
    guards: [],
  })
}

/** Executes and records; the instruction's secrets are zeroed, and the output's unless the reply carries them. */
const perform = async (attempt: Attempt, permitted: Permitted, plan: Plan<OperationName>): Promise<Outgoing> => {
  using _secrets = owning(plan.instruction ?? {})
  const output =
    plan.instruction === undefined ? ok(undefined) : await attempt.ports.hsm.execute(plan.instruction, attempt.signal)
  if (!output.ok) return recordFailure(attempt, permitted, output.error)
  const value = output.value as OutputOf<Instruction> | undefined
  try {
    return await release(attempt, { permitted, recorded: plan.record(value), guards: plan.guards })
  } catch (error) {
    owning(value ?? {})[Symbol.dispose]()
    throw error
  }
}
