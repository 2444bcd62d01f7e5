import type { ErrorCode } from '../../schemas/errors.ts'
import { LIMITS } from '../../schemas/limits.ts'
import { CONTRACTS } from '../../schemas/registry.ts'
import { zeroBytes } from '../core/byteFields.ts'
import { createUuidV7 } from '../core/lid.ts'
import type { Principal } from '../core/ports.ts'
import type { Dispatch, Incoming, Outgoing } from '../core/request.ts'
import { fail, ok, type Result } from '../core/result.ts'
import { DUTIES } from '../operations/duties.ts'
import type { Duty } from '../operations/duty.ts'
import type { Attempt, Call, Ports, Settings } from './attempt.ts'
import { createAsk } from './authorize.ts'
import { createDutyRunner, type DutyRunner } from './duties.ts'
import { toEvent } from './envelope.ts'
import { describeFault, findAbortCode } from './fault.ts'
import { createKeyLock } from './keyLock.ts'
import { createMaking } from './making.ts'
import { FAULT, recordFault, recordRefusal } from './record.ts'
import { createRefusals, type Refusals } from './refusals.ts'
import { operate } from './run.ts'
import { createValidate } from './validate.ts'

export interface Pipeline {
  readonly dispatch: Dispatch
  /** Records what was counted and not yet recorded; call after the transports have stopped. */
  flush(): Promise<void>
  /** What the writer does of its own accord. */
  readonly duties: DutyRunner
}

/**
 * The only caller of the ports, and the only way from a transport to an operation (invariant 1):
 * authenticate → validate → resolve → authorize → plan → execute → record → append → reply.
 * How many requests are under way is bounded by the transports, which share one bound (`src/transport/admission.ts`).
 */
export const createPipeline = (ports: Ports, settings: Settings, duties: readonly Duty[] = DUTIES): Pipeline => {
  const { clock, telemetry } = ports
  const newId = () => createUuidV7(clock.now())
  const stage: Stage = {
    ports,
    settings,
    refusals: createServiceRefusals(ports, settings, newId),
    tools: {
      ask: createAsk(ports.pdp, telemetry, settings.pdpTimeoutMs),
      lock: createKeyLock(),
      validate: createValidate(),
      newId,
      making: createMaking(ports),
    },
  }
  const answer = async (incoming: Incoming, requestId: string, signal: AbortSignal): Promise<Outgoing> => {
    try {
      return await answerAnyone(stage, { incoming, requestId, signal })
    } catch (error) {
      const aborted = findAbortCode(signal)
      if (aborted !== undefined) return { ok: false, requestId, error: aborted }
      telemetry.log('error', 'a request failed inside the service', { request_id: requestId, ...describeFault(error) })
      return { ok: false, requestId, error: FAULT }
    }
  }

  return {
    async dispatch(incoming, signal) {
      const startedMs = performance.now()
      const outgoing = await answer(incoming, incoming.requestId ?? newId(), signal)
      const code = outgoing.ok ? 'OK' : outgoing.error.code
      telemetry.operationDone(incoming.operation, incoming.transport, code, performance.now() - startedMs)
      return outgoing
    },
    flush: () => stage.refusals.flush(),
    duties: createDutyRunner({ ports, settings, ...stage.tools }, duties),
  }
}

interface Stage {
  readonly ports: Ports
  readonly settings: Settings
  readonly refusals: Refusals
  readonly tools: Pick<Attempt, 'ask' | 'lock' | 'validate' | 'newId' | 'making'>
}

const toRefused = (requestId: string, code: ErrorCode, message: string): Outgoing => ({
  ok: false,
  requestId,
  error: { code, message },
})

const createServiceRefusals = (ports: Ports, settings: Settings, newId: () => string): Refusals =>
  createRefusals({
    origin: settings.origin,
    scheduler: ports.scheduler,
    telemetry: ports.telemetry,
    append: async (subject, body, circumstances) => {
      const event = toEvent(newId(), subject, body, circumstances)
      return ports.ledger.append({ events: [event], guards: [], toFailed: () => event }, new AbortController().signal)
    },
  })

const answerAnyone = async (stage: Stage, call: Omit<Call, 'principal'>): Promise<Outgoing> => {
  const { incoming, signal, requestId } = call
  const outcome = await stage.ports.authenticator.authenticate(incoming.credentials, signal)
  if (outcome.kind === 'authenticated') return answerCaller(stage, { ...call, principal: outcome.principal })
  stage.refusals.countAuthentication(outcome.kind === 'refused' ? outcome.reason : 'unknown_kind')
  return toRefused(requestId, 'UNAUTHENTICATED', 'a valid bearer token is required')
}

const answerCaller = async (stage: Stage, call: Call & { readonly principal: Principal }): Promise<Outgoing> => {
  const { incoming, principal, requestId } = call
  const attempt: Attempt = {
    ...call,
    ...stage.tools,
    subject: { principal, transport: incoming.transport, requestId, action: `kms:${incoming.operation}` },
    ports: stage.ports,
    settings: stage.settings,
    refuse: async (error, as = attempt) =>
      stage.refusals.shouldRecord(principal, error.code) ? recordRefusal(as, error) : { ok: false, requestId, error },
  }
  const { refuse } = attempt
  let decoded: ReturnType<Incoming['decode']> | undefined
  try {
    decoded = incoming.decode()
    const accepted = checkIdempotencyKey(incoming)
    if (!decoded.ok) return await refuse(decoded.error)
    if (!accepted.ok) return await refuse(accepted.error)
    const valid = attempt.validate(incoming.operation, decoded.value)
    return valid.ok ? await operate(attempt, valid.value) : await refuse(valid.error)
  } catch (error) {
    return recordFault(attempt, { found: [] }, error)
  } finally {
    // The pipeline owns the bytes, and any may be a secret, also in a request that breaks its schema (invariant 5).
    if (decoded?.ok) zeroBytes(decoded.value)
  }
}

const IDEMPOTENCY_KEY_REGEX = /^[\x21-\x7e]+$/

const checkIdempotencyKey = ({ operation, idempotencyKey }: Incoming): Result<true> => {
  if (idempotencyKey === undefined) return ok(true)
  if (!CONTRACTS[operation].idempotent)
    return fail('INVALID_REQUEST', `Idempotency-Key: ${operation} does not take one`)
  const isFit = idempotencyKey.length <= LIMITS.idempotencyKeyCharsMax && IDEMPOTENCY_KEY_REGEX.test(idempotencyKey)
  return isFit
    ? ok(true)
    : fail(
        'INVALID_REQUEST',
        `Idempotency-Key must be 1 to ${LIMITS.idempotencyKeyCharsMax} printable ASCII characters`,
      )
}
