import { setMaxListeners } from 'node:events'
import { LIMITS } from '../../schemas/limits.ts'
import { type BatchableName, isBatchable, OPERATION_NAMES } from '../../schemas/registry.ts'
import { zeroBytes } from '../core/byteFields.ts'
import type { Outgoing } from '../core/request.ts'
import type { ItemAsked, ItemOutcome } from '../operations/operation.ts'
import type { Attempt } from './attempt.ts'
import { describeFault, findAbortCode } from './fault.ts'
import { createGathering } from './gathering.ts'
import { FAULT, toFailed } from './record.ts'
import { createTurnstile } from './turnstile.ts'

/** Takes one valid request from resolve to reply: `operate` of the pipeline. */
export type Operate = (attempt: Attempt, input: unknown) => Promise<Outgoing>

/**
 * Carries out the items of a batch, each as a request of its own: validated, authorized, executed and recorded, whatever
 * becomes of the others. Their records go to the ledger together. What they computed is zeroed unless `conclude`, which
 * records the batch as a whole, answers with a success.
 */
export const withItems = async (
  attempt: Attempt,
  items: readonly ItemAsked[],
  operate: Operate,
  conclude: (outcomes: readonly ItemOutcome[]) => Promise<Outgoing>,
): Promise<Outgoing> => {
  const outcomes = await runItems(attempt, items, operate)
  let isReleased = false
  try {
    const outgoing = await conclude(outcomes)
    isReleased = outgoing.ok
    return outgoing
  } finally {
    if (!isReleased) for (const outcome of outcomes) if (outcome.ok) outcome.secrets[Symbol.dispose]()
  }
}

const runItems = (attempt: Attempt, items: readonly ItemAsked[], operate: Operate): Promise<readonly ItemOutcome[]> => {
  const { ledger, scheduler } = attempt.ports
  // All items listen to the one signal of the request; Node would take more than ten for a leak.
  setMaxListeners(items.length * LISTENERS_PER_ITEM, attempt.signal)
  // An item that waits with its record has had its turn: otherwise those still outside could never bring theirs.
  const turnstile = createTurnstile(LIMITS.batchConcurrencyMax)
  const gathering = createGathering({
    ledger,
    scheduler,
    signal: attempt.signal,
    count: items.length,
    onSettled: turnstile.leave,
  })
  return Promise.all(
    items.map(async (item, index) => {
      await turnstile.enter()
      const ports = { ...attempt.ports, ledger: gathering.ledgerOf(index) }
      try {
        return await runItem({ ...attempt, ports }, item, operate)
      } finally {
        gathering.end(index)
      }
    }),
  )
}

/** PDP, HSM, HSM queue, ledger queue: more than one of them has at a time. */
const LISTENERS_PER_ITEM = 8

const runItem = async (batch: Attempt, { operation, request }: ItemAsked, operate: Operate): Promise<ItemOutcome> => {
  if (!isBatchable(operation)) return toOutcome(operation, await batch.refuse(NOT_BATCHABLE, batch))
  const startedMs = performance.now()
  const outgoing = await answerItem(toItemAttempt(batch, operation), request, operate)
  const code = outgoing.ok ? 'OK' : outgoing.error.code
  batch.ports.telemetry.operationDone(operation, batch.incoming.transport, code, performance.now() - startedMs)
  return toOutcome(operation, outgoing)
}

const NOT_BATCHABLE = {
  code: 'INVALID_REQUEST',
  message: `operation: must be one of ${OPERATION_NAMES.filter(isBatchable).join(', ')}`,
} as const

/** The item as a request of its own. It shares the request id, so that an auditor finds all records of a batch. */
const toItemAttempt = (batch: Attempt, operation: BatchableName): Attempt => {
  const item: Attempt = {
    ...batch,
    incoming: { ...batch.incoming, operation },
    subject: { ...batch.subject, action: `kms:${operation}` },
    refuse: (failure) => batch.refuse(failure, item),
  }
  return item
}

const answerItem = async (item: Attempt, request: unknown, operate: Operate): Promise<Outgoing> => {
  try {
    const valid = item.validate(item.incoming.operation, request)
    return valid.ok ? await operate(item, valid.value) : await item.refuse(valid.error)
  } catch (error) {
    const aborted = findAbortCode(item.signal)
    if (aborted === undefined)
      item.ports.telemetry.log('error', 'an item of a batch failed inside the service', {
        request_id: item.requestId,
        ...describeFault(error),
      })
    return toFailed(item, aborted ?? FAULT)
  }
}

const toOutcome = (operation: string, outgoing: Outgoing): ItemOutcome => {
  if (!outgoing.ok || !isBatchable(operation)) return { ok: false, error: outgoing.ok ? FAULT : outgoing.error }
  const { body, dispose } = outgoing
  const secrets: Disposable = {
    [Symbol.dispose]() {
      dispose()
      zeroBytes(body)
    },
  }
  return { ok: true, operation, body, secrets }
}
