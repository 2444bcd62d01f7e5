import type { Event } from '../../schemas/events.ts'
import type { KeySpecName, WrappingAlgorithmName } from '../../schemas/keys.ts'
import type { EventListing, EventsQuery } from './eventListing.ts'
import type { HsmRoots } from './hsmRoots.ts'
import type { Instruction, MaterialRef, OutputOf, TokenPlace } from './instruction.ts'
import type { LedgerProof, ProofQuery } from './ledgerProof.ts'
import type { Failure, Result } from './result.ts'
import type { Sensitive } from './sensitive.ts'

/** Wall time and timers, so that tests can drive years in seconds. */
export interface Clock {
  /** Unix milliseconds. */
  now(): number
}
export interface Scheduler {
  /** Runs `task` once after `ms`; the timer does not hold the process open. Returns the cancel function. */
  after(ms: number, task: () => void): () => void
}

// Authentication ------------------------------------------------------------------------------------------------------

/** What a transport saw of the caller. `authorization` is the raw header value. */
export interface Credentials {
  readonly authorization?: string
  /** Subject of a verified client certificate; only from a TLS listener. */
  readonly certificate?: { readonly spiffeId?: string; readonly commonName?: string }
}

/** Who is asking. `attributes` is an allow-list of claims; nothing that changes by itself (time, jti) is in it. */
export interface Principal {
  readonly id: string
  readonly type: string
  readonly attributes: Readonly<Record<string, string | number | boolean | readonly string[]>>
  readonly method: string
}

/** Why a credential was refused; for the aggregated record only, never told to the caller. */
export type AuthenticationReason =
  | 'missing'
  | 'malformed'
  | 'unknown_kind'
  | 'wrong_token'
  | 'expired'
  | 'not_yet_valid'
  | 'wrong_issuer'
  | 'wrong_audience'
  | 'wrong_algorithm'
  | 'unknown_key'
  | 'bad_signature'
  | 'keys_unavailable'
  | 'not_configured'

export type Authentication =
  | { readonly kind: 'authenticated'; readonly principal: Principal }
  | { readonly kind: 'refused'; readonly reason: AuthenticationReason }
  /** The credential is of a kind that this authenticator does not handle; only `chain` acts on it. */
  | { readonly kind: 'not_mine' }

export interface Authenticator {
  /** Never throws for bad credentials. Anything but `authenticated` is UNAUTHENTICATED to the caller. */
  authenticate(credentials: Credentials, signal: AbortSignal): Promise<Authentication>
}

// Authorization -------------------------------------------------------------------------------------------------------

type QuestionValue = string | number | boolean | readonly QuestionValue[] | { readonly [key: string]: QuestionValue }

/** What the PDP is asked. `context_sha256` is hex, and present only where the PDP is trusted with it. */
export interface Question {
  readonly request_id: string
  readonly principal: { readonly id: string; readonly type: string; readonly attributes: Principal['attributes'] }
  readonly action: string
  readonly resource: {
    readonly type: 'Key' | 'Service' | 'Alias' | 'Namespace' | 'HsmConnection'
    readonly id: string
    readonly attributes: { readonly exists: boolean; readonly [key: string]: QuestionValue }
  }
  readonly context: { readonly transport: string; readonly [key: string]: QuestionValue }
}

export interface Verdict {
  readonly decision: 'permit' | 'deny'
  readonly pdp: string
  readonly policy_version: string
  /** Ids of the policies that decided; ≤ 16, each ≤ 128 characters. */
  readonly reasons: readonly string[]
  readonly obligations: readonly string[]
}

export interface PolicyDecisionPoint {
  /** May throw, hang or answer garbage: the pipeline turns everything but a well-formed permit into a denial. */
  decide(question: Question, signal: AbortSignal): Promise<Verdict>
  /** Whether it can answer now; for readiness. */
  isReady(): boolean
}

// HSM -----------------------------------------------------------------------------------------------------------------

export interface BackendStatus {
  readonly backend: string
  readonly state: 'HEALTHY' | 'DEGRADED' | 'DOWN'
  readonly breaker: 'closed' | 'open'
  readonly queued: number
}

/** One object of this origin on the token, as the start-up report and the sweep see it. */
export interface HsmObject {
  /** The parsed label `chatelaine/<origin>/<epoch>/<lid>/<version>`, or why it cannot be parsed. */
  readonly label: string
  readonly ckaIdHex: string
  readonly objectClass: string
  readonly lid?: string
  readonly version?: number
  readonly epoch?: number
  /** False for the half-written object of a kill while a key was made. */
  readonly complete: boolean
  /** Made elsewhere and brought to the token. */
  readonly imported: boolean
}

/** What a backend can take in and give out wrapped; found out by trying, since mechanism lists do not tell. */
export interface WrappingSupport {
  /** The strongest first. */
  readonly algorithms: readonly WrappingAlgorithmName[]
  /** Specs whose material goes through at least one of them. */
  readonly specs: readonly KeySpecName[]
}

export interface Genesis {
  readonly rootPublicKey: Uint8Array
  /** The context key, sealed for the ledger (`['chatelaine/context-key/v1', origin, backend]`). */
  readonly sealedContextKey: Uint8Array
}

export interface Hsm extends HsmRoots {
  /**
   * Executes one instruction on the backend it names. Failures: HSM_UNAVAILABLE, INVALID_CIPHERTEXT, UNSUPPORTED_BY_HSM,
   * KEY_NOT_USABLE (material missing), OVERLOADED, TIMEOUT. Takes no ownership of the instruction's Sensitive members.
   */
  execute<I extends Instruction>(instruction: I, signal: AbortSignal): Promise<Result<OutputOf<I>>>
  status(): readonly BackendStatus[]
  supports(backend: string, spec: KeySpecName): boolean
  /** None while the backend has never answered. */
  wrapping(backend: string): WrappingSupport | undefined
  /** Every object on the token whose label is of this origin, `ledger-root` and `handle-key` excluded. */
  inventory(backend: string, signal: AbortSignal): Promise<Result<readonly HsmObject[]>>
  /** The CKA_ID, in hex, of each version's object, in the order given; nothing for one that the token does not hold. */
  findIds(
    backend: string,
    keys: readonly MaterialRef[],
    signal: AbortSignal,
  ): Promise<Result<readonly (string | undefined)[]>>
  /** Destroys objects by CKA_ID, for `sweep`; refuses `ledger-root` and `handle-key`. Gives how many went. */
  destroyObjects(backend: string, ckaIdsHex: readonly string[], signal: AbortSignal): Promise<Result<number>>
  /**
   * Opens one more backend, until `closeBackend`. Answers after the first try, whether the token answered or not: one that
   * is away is waited for in the background. The same place once more is ok. INVALID_REQUEST for a library or PIN that the
   * configuration does not allow; ALREADY_EXISTS if the id, or the token, is another backend's.
   */
  openBackend(backend: string, place: TokenPlace): Promise<Result<void>>
  /** Closes a backend that was opened by `openBackend`; false if there is none. */
  closeBackend(backend: string): Promise<boolean>
  /**
   * Makes the handle key of a backend that has none, so that it can have keys; ok too if it is there. INVALID_REQUEST, and
   * nothing is made, on a token that holds other objects of this origin: its handle key was lost, and a new one would open
   * none of their handles.
   */
  createHandleKey(backend: string, signal: AbortSignal): Promise<Result<'found' | 'made'>>
  /**
   * Makes handle key and `ledger-root` where they are missing, and a fresh sealed context key. Only for `init`, on a token that
   * holds at most one root: more than one was made by a rotation, and then there is a ledger.
   */
  createGenesis(backend: string, signal: AbortSignal): Promise<Result<Genesis>>
  /** What the token holds of what `createGenesis` makes, and how much else of this origin, further roots too; for the resume rule of `init`. */
  genesisState(
    backend: string,
    signal: AbortSignal,
  ): Promise<Result<{ readonly handleKey: boolean; readonly ledgerRoot: boolean; readonly others: number }>>
  unsealContextKey(backend: string, sealed: Uint8Array, signal: AbortSignal): Promise<Result<Sensitive>>
  close(): Promise<void>
}

// Ledger --------------------------------------------------------------------------------------------------------------

export interface LedgerReceipt {
  readonly seq: number
  readonly index: number
  readonly hash: string
}

/**
 * One operation's record. Its events are never split over commits. `G` is the guard and `V` the view of
 * `projections/`, a tier above this one.
 */
export interface Entry<G> {
  readonly events: readonly Event[]
  /** Checked in order against the view with all earlier events of the same commit folded in. */
  readonly guards: readonly G[]
  /** What to append instead when a guard fails. */
  toFailed(failure: Failure): Event
}

export interface Appended<V> {
  readonly receipt: LedgerReceipt
  /** The view with this commit folded in. */
  readonly view: V
  /** Set when a guard failed: the events were not appended, `toFailed` was. */
  readonly refused?: Failure
}

/** A checkpoint's place: the sequence it covers, and the time since it was signed. */
export interface CheckpointPlace {
  readonly size: number
  readonly ageMs: number
}

export interface CheckpointStatus {
  /** The newest that this process signed. */
  readonly signed?: CheckpointPlace
  /** The newest that as many anchors have as must agree. */
  readonly anchored?: CheckpointPlace
  /** Each anchor with the newest checkpoint it has, and what is wrong with it now. */
  readonly anchors: readonly {
    readonly name: string
    readonly size?: number
    readonly failing?: 'unanswered' | 'ahead' | 'disagrees'
    readonly why?: string
  }[]
}

export interface LedgerStatus {
  readonly role: 'starting' | 'writer' | 'follower' | 'stopped'
  readonly epoch: number
  readonly seq: number
  readonly hash: string
  readonly queued: number
  readonly inDoubt: boolean
  /** Set while a commit is in doubt past its deadline: until it is settled, no record is taken. */
  readonly overdue?: true
  /** Set while the epoch key is past its bound and the HSM of the ledger is away: no record is taken. */
  readonly expired?: true
  readonly checkpoints?: CheckpointStatus
  /** The newest snapshot that this process wrote or started from; the time since, or since its last commit. */
  readonly snapshot?: { readonly seq: number; readonly ageMs: number }
  /** How full the storage is, and whether it is time to act; absent while nobody has told a limit. */
  readonly storage?: { readonly usedBytes: number; readonly limitBytes: number; readonly isWarning: boolean }
  /** Set when the ledger stopped for good: which sequence, and why. */
  readonly alarm?: string
}

export interface Ledger<V, G> {
  /** Durable when it answers ok. LEDGER_UNAVAILABLE: outcome unknown, or not the writer. OVERLOADED: the queue is full. */
  append(entry: Entry<G>, signal: AbortSignal): Promise<Result<Appended<V>>>
  /**
   * How far this process's clock is ahead of the one by which the storage stamps messages, at this moment; nothing if the
   * storage does not tell.
   */
  measureClockSkew(signal: AbortSignal): Promise<number | undefined>
  /** Failures: INVALID_REQUEST, NOT_FOUND, LEDGER_UNAVAILABLE. */
  prove(query: ProofQuery, signal: AbortSignal): Promise<Result<LedgerProof>>
  /**
   * Reads part of the stream again: the events that are wanted, in order, bounded by `LIMITS`; it may find none and still
   * have a place to go on from. Nothing is listed that is not what this process has verified at that place. Failures:
   * LEDGER_UNAVAILABLE (also where the stream now holds something else), OVERLOADED.
   */
  list(query: EventsQuery, signal: AbortSignal): Promise<Result<EventListing>>
  /** The newest checkpoint that this process signed, a note. */
  checkpoint(): string | undefined
  /** The newest acknowledged and folded view; an immutable value. */
  view(): V
  status(): LedgerStatus
}

// Telemetry -----------------------------------------------------------------------------------------------------------

/** What the pipeline tells of each request: names, codes and times, never contents. */
export interface Telemetry {
  operationDone(operation: string, transport: string, code: 'OK' | string, milliseconds: number): void
  /** One structured line. `fields` are scalars; no secret, token, context or identity tag is ever among them. */
  log(
    level: 'debug' | 'info' | 'warn' | 'error',
    message: string,
    fields?: Readonly<Record<string, string | number | boolean>>,
  ): void
}
