import { createHash, randomUUID } from 'node:crypto'
import { setFlagsFromString } from 'node:v8'
import { preparsePolicySet, preparseSchema, type Response, statefulIsAuthorized } from '@cedar-policy/cedar-wasm/nodejs'
import { LIMITS } from '../../schemas/limits.ts'
import type { PolicyDecisionPoint, Question, Scheduler, Telemetry, Verdict } from '../core/ports.ts'
import { toCanonicalJson } from './canonicalJson.ts'
import { toCedarQuestion } from './cedarQuestion.ts'
import { createMemo, type Memo } from './memo.ts'
import { readPolicyFolder } from './policyFolder.ts'
import { compilePolicySet, type PolicySet } from './policySet.ts'
import { watchPolicyFolder } from './policyWatch.ts'

/** Which policies are in force. */
export interface PolicySetInForce {
  /** SHA-256 over names and bytes of the folder's files. */
  readonly sha256: Uint8Array
  readonly policies: number
}

export interface CedarPdp extends PolicyDecisionPoint {
  /** The set that decides now; undefined while none has ever loaded. */
  policySet(): PolicySetInForce | undefined
  /** Stops watching the folder and gives the parsed policies back. No decision after it. */
  close(): void
}

export interface CedarOptions {
  /** Holds `*.cedar` and exactly one `*.cedarschema`; files directly in it only. */
  readonly policyDir: string
  readonly telemetry: Telemetry
  readonly scheduler: Scheduler
  /** Called each time a set comes into force, the first included, before `createCedar` answers. */
  readonly onLoaded?: (sha256: Uint8Array, policies: number) => void
  /** 0 turns the memo off; LIMITS.pdpMemoEntriesMax if absent. */
  readonly memoEntriesMax?: number
}

/** A set in force; its memo lives and dies with it, so an answer never outlives the policies that gave it. */
interface Loaded {
  readonly set: PolicySet
  readonly slot: string
  readonly version: string
  readonly memo: Memo<Verdict>
}

/**
 * V8 of Node 20 ends the process ("unreachable code" in Deoptimizer::DoComputeBuiltinContinuation) when it throws away an
 * optimized function while a call to WebAssembly that it had inlined there is under way: so two of three runs ended in which
 * hundreds of keys were listed while others were destroyed. The one run without the inlining did not; that it is the cause is
 * likely, not proven.
 */
const callWasmPlainly = (): void => setFlagsFromString('--no-turbo-inline-js-wasm-calls')

/**
 * Cedar in the process. A folder that does not load leaves the last good set in force and says so at level error; with
 * none good, `decide` throws and `isReady` is false. `decide` throws for every question it cannot answer: an unknown
 * type or action, an attribute of another type than the schema declares.
 */
export const createCedar = async (options: CedarOptions): Promise<CedarPdp> => {
  const { policyDir, telemetry, scheduler, onLoaded } = options
  callWasmPlainly()
  const memoEntriesMax = options.memoEntriesMax ?? LIMITS.pdpMemoEntriesMax
  // Cedar keeps parsed sets by name for the life of the process. Two names, used in turn, bound that: the set in force
  // stays untouched while the next one is parsed into the other name.
  const instance = randomUUID()
  const slots = [`${instance}/a`, `${instance}/b`] as const
  let loaded: Loaded | undefined
  let attempted = ''
  let candidate = ''
  let complaint = ''
  let closed = false

  const load = (set: PolicySet, version: string): void => {
    const slot = loaded?.slot === slots[0] ? slots[1] : slots[0]
    parseIntoSlot(slot, set)
    loaded = { set, slot, version, memo: createMemo(memoEntriesMax) }
    complaint = ''
    for (const warning of set.warnings) telemetry.log('warn', 'a policy looks wrong', { warning })
    telemetry.log('info', 'policies loaded', { policies: set.policiesCount, sha256: version })
    tellLoaded(set)
  }
  const tellLoaded = (set: PolicySet): void => {
    try {
      onLoaded?.(set.sha256, set.policiesCount)
    } catch (error) {
      telemetry.log('error', 'a loaded policy set was not recorded', { reason: toReason(error) })
    }
  }
  const complain = (error: unknown): void => {
    const reason = toReason(error)
    if (reason === complaint) return
    complaint = reason
    const force = loaded === undefined ? 'none: every request is denied' : loaded.version
    telemetry.log('error', 'the policy folder does not load', { reason, policies_in_force: force })
  }
  /** Loads the folder once it reads the same twice in a row; `first` takes it at once. */
  const look = async (first = false): Promise<'settled' | 'again'> => {
    try {
      const folder = await readPolicyFolder(policyDir)
      if (closed) return 'settled'
      const version = Buffer.from(folder.sha256).toString('hex')
      const seen = candidate
      candidate = version
      if (version === loaded?.version) {
        attempted = version
        complaint = ''
      }
      if (version === attempted) return 'settled'
      if (!first && version !== seen) return 'again'
      attempted = version
      load(compilePolicySet(folder), version)
    } catch (error) {
      complain(error)
    }
    return 'settled'
  }

  await look(true)
  const stopWatch = watchPolicyFolder({ policyDir, scheduler, look: () => look() })
  return {
    async decide(question, signal) {
      signal.throwIfAborted()
      if (loaded === undefined) throw new Error('no policy set has loaded')
      return decideWith(loaded, question, telemetry)
    },
    isReady: () => loaded !== undefined,
    policySet: () => loaded && { sha256: loaded.set.sha256, policies: loaded.set.policiesCount },
    close() {
      closed = true
      loaded = undefined
      stopWatch()
      for (const slot of slots) {
        preparsePolicySet(slot, { staticPolicies: {} })
        preparseSchema(slot, '')
      }
    },
  }
}

const toReason = (error: unknown): string => (error instanceof Error ? error.message : 'unknown error')

const parseIntoSlot = (slot: string, set: PolicySet): void => {
  const schema = preparseSchema(slot, set.schema)
  const policies = preparsePolicySet(slot, { staticPolicies: { ...set.policies } })
  for (const answer of [schema, policies]) {
    if (answer.type === 'failure') throw new Error(answer.errors[0]?.message ?? 'Cedar refused the policy set')
  }
}

/** The question without `request_id`, hashed: 44 characters a memo entry however large the question. */
const toMemoKey = ({ principal, action, resource, context }: Question): string =>
  createHash('sha256').update(toCanonicalJson({ principal, action, resource, context })).digest('base64')

const decideWith = ({ set, slot, version, memo }: Loaded, question: Question, telemetry: Telemetry): Verdict => {
  const key = toMemoKey(question)
  const known = memo.get(key)
  if (known !== undefined) return known
  const answer = statefulIsAuthorized({
    ...toCedarQuestion(question, set.shapes),
    preparsedSchemaName: slot,
    preparsedPolicySetId: slot,
    validateRequest: true,
  })
  // Cedar's own words may quote values of the question, identity tags among them: they do not leave this function.
  if (answer.type === 'failure') throw new Error('the question does not fit the Cedar schema')
  const verdict = toVerdict(answer.response, version)
  const erring = answer.response.diagnostics.errors.map(({ policyId }) => policyId).join(' ')
  if (erring !== '') {
    telemetry.log('error', 'policies failed to evaluate; the request is denied', {
      policies: erring.slice(0, LIMITS.policyIdCharsMax),
      action: question.action,
    })
  }
  memo.set(key, verdict)
  return verdict
}

/**
 * Cedar skips a policy that fails to evaluate, so a failing `forbid` would become an allow: any failure denies.
 */
const toVerdict = ({ decision, diagnostics }: Response, version: string): Verdict => {
  const failed = diagnostics.errors.map(({ policyId }) => policyId)
  const permitted = decision === 'allow' && failed.length === 0
  const decided = decision === 'allow' && !permitted ? failed : diagnostics.reason
  return {
    decision: permitted ? 'permit' : 'deny',
    pdp: 'cedar',
    policy_version: version.slice(0, 16),
    reasons: [...decided].sort().slice(0, LIMITS.verdictReasonsMax),
    obligations: [],
  }
}
