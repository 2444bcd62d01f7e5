import { LIMITS } from '../../schemas/limits.ts'
import type {
  ChainState,
  Finding,
  LedgerMessage,
  Pin,
  PlacedHead,
  Step,
  StepOptions,
  VouchedCommit,
} from './chainState.ts'
import { type Commit, decodeCommit, type EncodedCommit, isCommitSignedBy } from './commit.ts'
import { parseVerifyKey } from './ed25519.ts'
import { addMessage, addMissing, startGap } from './gap.ts'
import { isLedgerEvent, type LedgerEvent, parseLedgerEvent } from './ledgerEvents.ts'
import { must, ok, type Result } from './result.ts'
import { type SpecialEvent, toChange } from './specialCommits.ts'

/** The chain before its first commit. Throws if the pinned key is not an Ed25519 key of large order (parse it first). */
export const startChain = (pin: Pin): ChainState => {
  const root = parseVerifyKey(pin.rootPublicKey)
  must(root.ok, 'the pinned root public key is not usable')
  return {
    origin: pin.origin,
    root: root.value,
    seq: 0,
    hash: new Uint8Array(32),
    stream: undefined,
    events: 0,
    epoch: 0,
    epochKey: undefined,
    expects: 'genesis',
    nextStream: undefined,
    gap: undefined,
    unchecked: undefined,
  }
}

/** Reads the next message in stream order; a jump in `seq` is a run of missing messages. */
export const stepChain = (state: ChainState, message: LedgerMessage, options: StepOptions): Step => {
  const reached = reachedBy(state)
  const missing = message.seq - reached - 1
  if (!Number.isSafeInteger(message.seq) || missing < 0)
    return lasting(state, message.seq, `not after ${reached}: a sequence stands twice or out of order`)
  if (missing > LIMITS.missingRunMax)
    return lasting(state, message.seq, `${missing} sequences before it are missing, too many to be a gap`)
  const judged = missing === 0 ? judge(state, message, options) : undefined
  if (judged?.ok && judged.value.isOrdinary) return toGood(judged.value, [])
  const settled = settleChain(state)
  const { state: base, findings } = missing === 0 ? settled : skip(settled, reached + 1, message.seq - 1)
  const again = base === state && judged !== undefined ? judged : judge(base, message, options)
  if (again.ok) return toGood(again.value, findings)
  const gap = addMessage(base.gap ?? startGap(base.seq + 1), message.payload)
  return { ok: false, state: { ...base, gap }, findings: [...findings, { seq: message.seq, ...again.error }] }
}

/**
 * Checks the signature that fast reading still owes, if any. Call it at the end of the ledger; a failure puts that commit
 * into the gap. The same state comes back if nothing was owed.
 */
export const settleChain = (
  state: ChainState,
): { readonly state: ChainState; readonly findings: readonly Finding[] } => {
  const { unchecked } = state
  if (unchecked === undefined) return { state, findings: [] }
  const { before, commit, message } = unchecked
  if (before.epochKey && isCommitSignedBy(before.epochKey, commit)) {
    return { state: { ...state, unchecked: undefined }, findings: [] }
  }
  const gap = addMessage(startGap(before.seq + 1), message.payload)
  return { state: { ...before, gap }, findings: [{ seq: message.seq, reason: BAD_SIGNATURE, kind: 'own' }] }
}

/**
 * The chain after an ordinary commit that this process made itself and saw acknowledged, without reading it again.
 * Special commits go through {@link stepChain}.
 */
export const extendChain = (state: ChainState, commit: EncodedCommit): ChainState => {
  must(state.expects === 'append' && state.gap === undefined, 'an ordinary commit was appended where none may stand')
  must(commit.seq === state.seq + 1 && commit.first === state.events, 'a commit was appended out of order')
  return { ...state, seq: commit.seq, hash: commit.hash, events: state.events + commit.count }
}

/** The chain with every sequence up to `to` missing: messages at the end that the stream counts and does not have. */
export const missUntil = (state: ChainState, to: number): ChainState => ({
  ...state,
  gap: addMissing(state.gap ?? startGap(state.seq + 1), to),
})

/**
 * The chain after an ordinary commit whose syntax, events and signature somebody else has checked, in another thread; what
 * the chain demands of it is judged here. Undefined where it is not plainly the next good commit: only
 * {@link stepChain}, given the whole message, says what is wrong, so there is one judge.
 */
export const stepVouched = (
  state: ChainState,
  message: Omit<LedgerMessage, 'payload'>,
  commit: VouchedCommit,
): ChainState | undefined => {
  const { epochKey, gap, unchecked, expects, seq, epoch } = state
  if (expects !== 'append' || gap !== undefined || unchecked !== undefined || epochKey === undefined) return undefined
  if (message.seq !== seq + 1 || commit.head.epoch !== epoch || commit.kid !== epochKey.kid) return undefined
  if (!Buffer.from(epochKey.raw).equals(commit.signedBy)) return undefined
  const why = findMisplacement(state, message, commit) ?? findBreak(state, commit)
  return why === undefined ? advance(state, message, commit) : undefined
}

/** The last sequence read, valid or not. */
export const reachedBy = (state: ChainState): number => state.gap?.to ?? state.seq

const BAD_SIGNATURE = 'the signature is not by the key of the epoch'

interface Judged {
  readonly state: ChainState
  readonly commit: Commit
  readonly event: LedgerEvent | undefined
  readonly isOrdinary: boolean
}
type Why = Omit<Finding, 'seq'>

const own = (reason: string): { readonly ok: false; readonly error: Why } => ({
  ok: false,
  error: { reason, kind: 'own' },
})

const toGood = ({ state, commit, event }: Judged, findings: readonly Finding[]): Step => ({
  ok: true,
  state,
  commit,
  event,
  findings,
})

const lasting = (state: ChainState, seq: number, reason: string): Step => ({
  ok: false,
  state,
  findings: [{ seq, reason, kind: 'lasting' }],
})

const skip = (settled: ReturnType<typeof settleChain>, from: number, to: number): ReturnType<typeof settleChain> => {
  const { state } = settled
  const gap = addMissing(state.gap ?? startGap(state.seq + 1), to)
  const reason = from === to ? 'the message is missing' : `the messages ${from} to ${to} are missing`
  return { state: { ...state, gap }, findings: [...settled.findings, { seq: from, reason, kind: 'own' }] }
}

/** Whether the message is the next valid commit, and the chain after it. */
const judge = (state: ChainState, message: LedgerMessage, options: StepOptions): Result<Judged, Why> => {
  const decoded = decodeCommit(message.payload)
  if (!decoded.ok) return own(decoded.error)
  const commit = decoded.value
  const misplaced = findMisplacement(state, message, commit)
  if (misplaced !== undefined) return own(misplaced)
  const ledgerEvent = commit.events.find(({ type }) => isLedgerEvent(type))
  if (ledgerEvent === undefined) return judgeOrdinary(state, { message, commit, event: undefined }, options)
  if (commit.events.length > 1) return own(`${ledgerEvent.type} does not stand alone in its commit`)
  const event = parseLedgerEvent(ledgerEvent)
  if (!event.ok) return own(event.error)
  return event.value.type === 'LedgerRolled'
    ? judgeOrdinary(state, { message, commit, event: event.value }, options)
    : judgeSpecial(state, { message, commit, event: event.value })
}

type Placed = { readonly head: PlacedHead }

/** What must hold of every commit, whatever its kind, and can be told without knowing what came before. */
const findMisplacement = (
  state: ChainState,
  message: Omit<LedgerMessage, 'payload'>,
  { head }: Placed,
): string | undefined => {
  if (head.origin !== state.origin) return 'the commit is of another ledger (head.origin)'
  if (head.seq !== message.seq) return `head.seq is ${head.seq}`
  if (head.subject !== message.subject) return 'the message is on another subject than head.subject'
  const stream = state.nextStream ?? state.stream
  const isOther = message.stream !== undefined && stream !== undefined && message.stream !== stream
  if (isOther) return `the message is in stream ${JSON.stringify(message.stream)}, not ${stream}`
  return state.nextStream !== undefined && message.stream === undefined
    ? `a message follows LedgerRolled in its stream`
    : undefined
}

/** What must hold of every commit that goes on from the last valid one. */
const findBreak = (state: ChainState, { head }: Placed): string | undefined => {
  if (!Buffer.from(head.prev).equals(state.hash)) return 'head.prev is not the hash of the commit before'
  return head.first === state.events ? undefined : `head.first is ${head.first}, the events before are ${state.events}`
}

type Read<E> = { readonly message: LedgerMessage; readonly commit: Commit; readonly event: E }

const judgeOrdinary = (
  state: ChainState,
  { message, commit, event }: Read<(LedgerEvent & { type: 'LedgerRolled' }) | undefined>,
  options: StepOptions,
): Result<Judged, Why> => {
  const { epochKey, gap } = state
  const isOfEpoch = epochKey !== undefined && commit.kid === epochKey.kid && commit.head.epoch === state.epoch
  if (gap !== undefined) {
    if (isOfEpoch && !isCommitSignedBy(epochKey, commit)) return own(BAD_SIGNATURE)
    return { ok: false, error: { reason: `follows ${gap.from}, which is not valid`, kind: 'consequence' } }
  }
  if (state.expects === 'genesis') return own('the ledger does not begin with LedgerCreated')
  if (state.expects !== 'append') return own('an ordinary commit stands where an epoch must be opened first')
  const broken = findBreak(state, commit)
  if (broken !== undefined) return own(broken)
  if (commit.head.epoch !== state.epoch) return own(`head.epoch is ${commit.head.epoch}, the open epoch ${state.epoch}`)
  if (!isOfEpoch) return own('the kid is not of the key of the epoch')
  const isFast = options.signatures === 'fast'
  if (!isFast && !isCommitSignedBy(epochKey, commit)) return own(BAD_SIGNATURE)
  const unchecked = isFast ? { message, commit, before: { ...state, unchecked: undefined } } : undefined
  return ok({
    state: { ...advance(state, message, commit), unchecked, nextStream: event?.nextStream },
    commit,
    event,
    isOrdinary: true,
  })
}

const judgeSpecial = (state: ChainState, read: Read<SpecialEvent>): Result<Judged, Why> => {
  const { message, commit, event } = read
  if (state.gap !== undefined && event.type !== 'LedgerRecovered')
    return { ok: false, error: { reason: `follows ${state.gap.from}, which is not valid`, kind: 'consequence' } }
  const broken = findBreak(state, commit)
  if (broken !== undefined) return own(broken)
  const change = toChange(state, commit, event)
  if (!change.ok) return own(`${event.type}: ${change.error}`)
  return ok({ state: { ...advance(state, message, commit), ...change.value }, commit, event, isOrdinary: false })
}

const advance = (
  state: ChainState,
  message: Omit<LedgerMessage, 'payload'>,
  commit: Placed & Pick<Commit, 'hash'>,
): ChainState => ({
  ...state,
  seq: commit.head.seq,
  hash: commit.hash,
  stream: message.stream,
  events: state.events + commit.head.count,
  nextStream: undefined,
  unchecked: undefined,
})
