import type { Guard } from '../../projections/guards.ts'
import type { View } from '../../projections/view.ts'
import type { Lid } from '../core/instruction.ts'
import type { KeyedHashes } from '../core/keyedHash.ts'
import type {
  Authenticator,
  Clock,
  Hsm,
  Ledger,
  PolicyDecisionPoint,
  Principal,
  Scheduler,
  Telemetry,
  Verdict,
} from '../core/ports.ts'
import type { Incoming, Outgoing } from '../core/request.ts'
import type { Failure } from '../core/result.ts'
import type { Ask } from './authorize.ts'
import type { Subject } from './envelope.ts'
import type { KeyLock } from './keyLock.ts'
import type { Making } from './making.ts'
import type { Found } from './resolve.ts'
import type { Validate } from './validate.ts'

export interface Ports {
  readonly authenticator: Authenticator
  readonly pdp: PolicyDecisionPoint
  readonly hsm: Hsm
  readonly ledger: Ledger<View, Guard>
  readonly clock: Clock
  readonly scheduler: Scheduler
  readonly telemetry: Telemetry
  readonly hashes: KeyedHashes
}

export interface Settings {
  readonly origin: string
  readonly defaultBackend: string
  readonly backends: readonly string[]
  readonly sendContextSha256: boolean
  /** Whether the start-up comparison found that the HSM lacks this version's material. */
  readonly isMissing: (lid: Lid, version: number) => boolean
  /** Messages that one version of a key may encrypt; never more than LIMITS has. */
  readonly messagesPerVersionMax: number
  /** For tests; LIMITS otherwise. */
  readonly pdpTimeoutMs?: number
}

/** One authenticated request. */
export interface Call {
  readonly incoming: Incoming
  readonly requestId: string
  readonly principal: Principal
  readonly signal: AbortSignal
}

/** What executing and recording needs, whoever wants it: a caller or the service itself. */
export interface Recording {
  readonly requestId: string
  readonly signal: AbortSignal
  readonly subject: Subject
  readonly ports: Ports
  readonly newId: () => string
  readonly making: Making
}

/** One authenticated request on its way, with all it may use. */
export interface Attempt extends Call, Recording {
  readonly settings: Settings
  readonly ask: Ask
  readonly lock: KeyLock
  readonly validate: Validate
  /**
   * Records a refusal, or counts it when this caller has too many, and answers it. `as` is the item of a batch that is
   * refused.
   */
  readonly refuse: (failure: Failure, as?: Recording) => Promise<Outgoing>
}

/** What is known of a request once it was permitted; goes into its record. */
export interface Permitted {
  readonly found: readonly Found[]
  readonly decision?: Omit<Verdict, 'decision'>
}
