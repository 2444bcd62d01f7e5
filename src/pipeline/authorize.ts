import type { ErrorCode } from '../../schemas/errors.ts'
import { LIMITS } from '../../schemas/limits.ts'
import type { PolicyDecisionPoint, Question, Telemetry, Verdict } from '../core/ports.ts'

/** The answer to all questions of one request: permitted only if each was. */
export type Authorization =
  | { readonly permitted: true; readonly decision: Omit<Verdict, 'decision'> }
  | { readonly permitted: false; readonly code: ErrorCode; readonly decision?: Omit<Verdict, 'decision'> }

/** Asks the PDP; whatever is not a well-formed permit in time is a denial. Throws only when the request itself ended. */
export type Ask = (question: Question, signal: AbortSignal) => Promise<Authorization>

const isTexts = (value: unknown): value is readonly string[] =>
  Array.isArray(value) &&
  value.length <= LIMITS.verdictReasonsMax &&
  value.every((item) => typeof item === 'string' && item.length <= LIMITS.policyIdCharsMax)

/** The verdict as the port promises it, or nothing: the PDP may be another process, or broken. */
const parseVerdict = (answer: unknown): Verdict | undefined => {
  if (typeof answer !== 'object' || answer === null) return undefined
  const { decision, pdp, policy_version, reasons, obligations } = answer as Partial<Verdict>
  if (decision !== 'permit' && decision !== 'deny') return undefined
  if (typeof pdp !== 'string' || pdp.length > LIMITS.policyIdCharsMax) return undefined
  if (typeof policy_version !== 'string' || policy_version.length > LIMITS.policyIdCharsMax) return undefined
  return isTexts(reasons) && isTexts(obligations) ? { decision, pdp, policy_version, reasons, obligations } : undefined
}

/** Rejects after `ms` or when the request ends, whichever is first, and aborts what it gave the signal to. */
const withDeadline = async <T>(
  run: (signal: AbortSignal) => Promise<T>,
  ms: number,
  outer: AbortSignal,
): Promise<T> => {
  outer.throwIfAborted()
  const inner = new AbortController()
  let onOuter = () => {}
  let timer: NodeJS.Timeout | undefined
  const over = new Promise<never>((_resolve, reject) => {
    const stop = (why: string) => {
      inner.abort()
      reject(new Error(why))
    }
    onOuter = () => stop('the request ended')
    outer.addEventListener('abort', onOuter, { once: true })
    timer = setTimeout(() => stop('no verdict in time'), ms)
  })
  try {
    return await Promise.race([run(inner.signal), over])
  } finally {
    clearTimeout(timer)
    outer.removeEventListener('abort', onOuter)
  }
}

/** Binds the PDP to the rule that no verdict is a denial (invariant 3). There is no setting that changes it. */
export const createAsk = (
  pdp: PolicyDecisionPoint,
  telemetry: Telemetry,
  timeoutMs: number = LIMITS.pdpTimeoutMs,
): Ask => {
  const unavailable = (why: string, question: Question): Authorization => {
    telemetry.log('error', 'the policy decision point gave no verdict', { why, request_id: question.request_id })
    return { permitted: false, code: 'PDP_UNAVAILABLE' }
  }
  return async (question, signal) => {
    let answer: unknown
    try {
      answer = await withDeadline(async (inner) => pdp.decide(question, inner), timeoutMs, signal)
    } catch (error) {
      // Not the PDP's silence: the caller is gone or its deadline has passed, which is recorded as such.
      if (signal.aborted) throw error
      return unavailable(error instanceof Error ? error.name : 'thrown', question)
    }
    const verdict = parseVerdict(answer)
    if (verdict === undefined) return unavailable('malformed', question)
    const { decision, ...rest } = verdict
    // An obligation is a condition on the permit. This version can fulfil none, so a permit with one is no permit.
    if (decision === 'permit' && verdict.obligations.length > 0)
      return { permitted: false, code: 'ACCESS_DENIED', decision: rest }
    return decision === 'permit'
      ? { permitted: true, decision: rest }
      : { permitted: false, code: 'ACCESS_DENIED', decision: rest }
  }
}

/** Folds the answers to several questions into one decision for the record. */
export const mergeDecisions = (
  decisions: readonly Omit<Verdict, 'decision'>[],
): Omit<Verdict, 'decision'> | undefined => {
  const [first] = decisions
  if (first === undefined || decisions.length === 1) return first
  return {
    ...first,
    reasons: [...new Set(decisions.flatMap(({ reasons }) => reasons))].slice(0, LIMITS.verdictReasonsMax),
  }
}
