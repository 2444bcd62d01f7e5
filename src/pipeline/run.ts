import { resolveRef } from '../../projections/aliases.ts'
import { mayPlaceOn } from '../../projections/hsmConnections.ts'
import type { View } from '../../projections/view.ts'
import { LIMITS } from '../../schemas/limits.ts'
import { CONTRACTS, type OperationName, type Request } from '../../schemas/registry.ts'
import { CIPHERTEXT_REFUSED } from '../core/ciphertext.ts'
import { type Instruction, makesObject, type OutputOf } from '../core/instruction.ts'
import type { Verdict } from '../core/ports.ts'
import type { Outgoing } from '../core/request.ts'
import { type Failure, ok, type Result } from '../core/result.ts'
import { owning } from '../core/sensitive.ts'
import type { Facts, Operation, PlanAs, Resolved } from '../operations/operation.ts'
import { OPERATIONS } from '../operations/registry.ts'
import type { Attempt, Permitted, Recording } from './attempt.ts'
import { mergeDecisions } from './authorize.ts'
import { withItems } from './batch.ts'
import { bringEvidence } from './evidence.ts'
import { claimSlot, type Slot } from './idempotency.ts'
import { type Asking, toKeyQuestion, toQuestion } from './question.ts'
import { recordDenial, recordFailure, recordFault, release, toFailed, withDecision } from './record.ts'
import { collectPage, type Found, NO_VERDICT, resolveTargets } from './resolve.ts'

/** Takes a valid request from resolve to reply; every way out is recorded first. */
export const operate = async (attempt: Attempt, input: unknown): Promise<Outgoing> => {
  const { ports, incoming } = attempt
  // Nothing can be recorded here, so nothing is asked of PDP or HSM either: a key made now would be an orphan.
  const { role, overdue, expired } = ports.ledger.status()
  if (role !== 'writer')
    return toFailed(attempt, { code: 'LEDGER_UNAVAILABLE', message: 'this instance is not the writer of the ledger' })
  if (overdue || expired)
    return toFailed(attempt, { code: 'LEDGER_UNAVAILABLE', message: 'the ledger takes no records now' })
  try {
    return await takeTurn(attempt, OPERATIONS[incoming.operation] as Operation<OperationName>, input as never)
  } catch (error) {
    return recordFault(attempt, { found: [] }, error)
  }
}

/** Changes of one key take turns, and so do requests with one idempotency key; everything else goes ahead. */
const takeTurn = async <N extends OperationName>(attempt: Attempt, operation: Operation<N>, input: Request<N>) => {
  const subject = findSubject(attempt, operation, input)
  const claim = claimSlot(attempt, input, subject)
  const name = subject ?? claim?.slotHex
  if (CONTRACTS[attempt.incoming.operation].effect !== 'change' || name === undefined)
    return decide(attempt, operation, { input, slot: undefined })
  const leased = await attempt.lock.lease(name)
  if (!leased.ok) return attempt.refuse(leased.error)
  using _turn = leased.value
  // Awaited here: the turn ends with this block.
  return await decide(attempt, operation, {
    input,
    slot: claim?.find(attempt.ports.ledger.view(), attempt.ports.clock.now()),
  })
}

/**
 * What a change is about, for its turn and its idempotency slot: the LID, so that a key and its aliases are one; the ref
 * as written if nothing has it.
 */
const findSubject = <N extends OperationName>(
  { ports }: Attempt,
  operation: Operation<N>,
  input: Request<N>,
): string | undefined => {
  if (operation.turn !== undefined) return operation.turn(input)
  const ref = (input as { key_id?: string }).key_id
  return ref === undefined ? undefined : (resolveRef(ports.ledger.view().aliases, ref) ?? ref)
}

/** What a plan may know, at this moment. */
export const toFacts = (
  {
    ports,
    settings,
    newId,
    principal,
  }: Pick<Attempt, 'ports' | 'settings' | 'newId'> & Partial<Pick<Attempt, 'principal'>>,
  slot?: Slot,
): Facts => ({
  origin: settings.origin,
  nowMs: ports.clock.now(),
  uniqueId: newId(),
  defaultBackend: settings.defaultBackend,
  hasBackend: (backend) =>
    settings.backends.includes(backend) || mayPlaceOn(ports.ledger.view().hsmConnections, backend, principal?.id),
  isConfigured: (backend) => settings.backends.includes(backend),
  findBackendState: (backend) => ports.hsm.status().find((status) => status.backend === backend)?.state,
  supports: (backend, spec) => ports.hsm.supports(backend, spec),
  wrapping: (backend) => ports.hsm.wrapping(backend),
  messagesPerVersionMax: settings.messagesPerVersionMax,
  isMissing: settings.isMissing,
  newestCheckpoint: () => ports.ledger.checkpoint(),
  hashContext: (encoded) => ports.hashes.hashContext(encoded),
  hashImportToken: (token) => ports.hashes.hashImportToken(token),
  ...(principal === undefined ? {} : { principal: { id: principal.id, type: principal.type } }),
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
  const targets = operation.targets(input, facts, view)
  if (!targets.ok) return attempt.refuse(targets.error)
  const found = resolveTargets(view, targets.value)
  const asked = await authorize(attempt, view, found)
  if (!asked.ok) return asked.error
  const permitted = asked.value
  const absent = found.find(({ target, record }) => target.kind === 'key' && record === undefined)
  if (absent !== undefined) return recordFailure(attempt, permitted, toAbsent(operation, absent))
  if (slot?.success !== undefined) return replay(attempt, operation, { permitted, slot, facts })
  const keys = found.flatMap(({ record }) => (record === undefined ? [] : [record]))
  const paged = await findPage(attempt, operation, { input, resolved: { view, facts, keys } })
  const resolved = paged.ok ? await bringEvidence(attempt, operation, { input, resolved: paged.value }) : paged
  if (!resolved.ok)
    return resolved.error.code === 'PDP_UNAVAILABLE'
      ? recordDenial(attempt, permitted, resolved.error)
      : recordFailure(attempt, permitted, resolved.error)
  const guards = [...found.flatMap(({ alias }) => alias ?? []), ...(slot === undefined ? [] : [slot.guard])]
  const carryOut = (ready: Resolved) => {
    const plan = operation.plan(input, ready)
    if (!plan.ok) return recordFailure(attempt, permitted, plan.error)
    return perform(attempt, permitted, { ...plan.value, guards: [...plan.value.guards, ...guards] })
  }
  if (operation.items === undefined) return carryOut(resolved.value)
  return withItems(attempt, operation.items(input), operate, (outcomes) => carryOut({ ...resolved.value, outcomes }))
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
    const denial =
      verdict.code === 'PDP_UNAVAILABLE'
        ? NO_VERDICT
        : { code: verdict.code, message: `${target.action} is not permitted` }
    return { ok: false, error: await recordDenial(attempt, permitted(), denial) }
  }
  return ok(permitted())
}

const toAbsent = (operation: Operation<OperationName>, { target }: Found): Failure =>
  operation.missing !== undefined && target.action !== 'kms:ReEncryptTo'
    ? { code: operation.missing, message: CIPHERTEXT_REFUSED }
    : { code: 'KEY_NOT_FOUND', message: (target.kind === 'key' && target.absent) || 'there is no such key' }

/** For a list: the part of it that the caller may see, item by item. */
const findPage = async <N extends OperationName>(
  attempt: Attempt,
  operation: Operation<N>,
  { input, resolved }: { readonly input: Request<N>; readonly resolved: Resolved },
): Promise<Result<Resolved>> => {
  if (operation.candidates === undefined) return ok(resolved)
  const candidates = operation.candidates(input, resolved.keys, resolved.view, resolved.facts)
  if (!candidates.ok) return candidates
  const wanted = (input as { max_results?: number }).max_results ?? LIMITS.pageItemsDefault
  const asking = toAsking(attempt)
  const page = await collectPage(candidates.value, wanted, ({ record, target }) => {
    if (target !== undefined) return attempt.ask(toQuestion(asking, resolved.view, target, record), attempt.signal)
    return record && attempt.ask(toKeyQuestion(asking, resolved.view, record, 'kms:DescribeKey'), attempt.signal)
  })
  return page.ok ? ok({ ...resolved, page: page.value }) : page
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
      event: {
        type: 'RequestReplayed',
        data: { slot: slot.slot, ...(success.lid === undefined ? {} : { lid: success.lid }) },
      },
      resources: success.lid === undefined ? [] : [{ lid: success.lid }],
      toReply: (view) => rebuild(success, view, facts),
    },
    guards: [],
  })
}

/** Executes and records; the instruction's secrets are zeroed, and the output unless the reply carries it. */
export const perform = async (attempt: Recording, permitted: Permitted, plan: PlanAs<object>): Promise<Outgoing> => {
  const { instruction, guards } = plan
  using _secrets = owning(instruction ?? {})
  let value: OutputOf<Instruction> | undefined
  try {
    const turn = await attempt.making.enter(plan, attempt.signal)
    if (!turn.ok) return await recordFailure(attempt, permitted, turn.error)
    using _turn = turn.value
    const output =
      instruction === undefined ? ok(undefined) : await attempt.ports.hsm.execute(instruction, attempt.signal)
    if (!output.ok) return await recordFailure(attempt, permitted, output.error)
    value = output.value
    const recorded = plan.record(value)
    const outgoing = await release(attempt, { permitted, recorded, guards })
    if (!outgoing.ok) discard(instruction, value)
    const next = outgoing.ok ? recorded.next?.(attempt.ports.ledger.view()) : undefined
    if (next === undefined) return outgoing
    const second = await perform(attempt, permitted, next)
    return second.ok ? second : outgoing
  } catch (error) {
    discard(instruction, value)
    return recordFault(attempt, permitted, error)
  }
}

/**
 * Zeroes an output that nobody will get. A new key's sealed handle and public key are no secrets and stay: its record
 * holds them, and may yet turn out to stand in the ledger.
 */
const discard = (instruction: Instruction | undefined, output: OutputOf<Instruction> | undefined) => {
  owning(output ?? {})[Symbol.dispose]()
  if (instruction !== undefined && makesObject(instruction)) return
  for (const member of Object.values(output ?? {})) if (member instanceof Uint8Array) member.fill(0)
}
