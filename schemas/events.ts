import type { Static } from 'typebox'
import { ALIAS_EVENTS } from './events/aliases.ts'
import { HSM_CONNECTION_EVENTS } from './events/hsmConnections.ts'
import { IMPORT_EVENTS } from './events/imports.ts'
import { KEY_EVENTS } from './events/keys.ts'
import { LEDGER_EVENTS } from './events/ledger.ts'
import { NAMESPACE_EVENTS } from './events/namespaces.ts'
import { ROTATION_JOB_EVENTS } from './events/rotationJobs.ts'
import { USE_EVENTS } from './events/uses.ts'

/** What can have happened: every type of event, by name. */
export const EVENTS = {
  ...LEDGER_EVENTS,
  ...KEY_EVENTS,
  ...ALIAS_EVENTS,
  ...NAMESPACE_EVENTS,
  ...IMPORT_EVENTS,
  ...ROTATION_JOB_EVENTS,
  ...HSM_CONNECTION_EVENTS,
  ...USE_EVENTS,
} as const

export type EventTypes = typeof EVENTS
export type EventName = keyof EventTypes
export type EventData<N extends EventName> = Static<EventTypes[N]['data']>

/** Whether a commit holding an event of this type belongs on `kms.ledger.state`. Unknown types do not. */
export const isStateEvent = (type: string): boolean => Object.hasOwn(EVENTS, type) && EVENTS[type as EventName].state

/** The identity, outcome and payload of one event; the bytes are in docs/LEDGER.md. */
export interface EventOf<N extends EventName> {
  readonly id: string
  readonly type: N
  readonly v: number
  readonly action: string
  readonly principal: { readonly id: string; readonly type: string }
  readonly authn: { readonly method: string }
  readonly transport: 'nats' | 'rest' | 'internal'
  readonly resources: readonly { readonly type: string; readonly id: string; readonly version?: number }[]
  readonly outcome: 'success' | 'denied' | 'failed'
  readonly code?: string
  readonly request_id: string
  readonly decision?: {
    readonly pdp: string
    readonly policy_version: string
    readonly reasons: readonly string[]
    readonly obligations: readonly string[]
  }
  readonly context_hash?: Uint8Array
  readonly data: EventData<N>
}

/** Any event of {@link EVENTS}, discriminated by `type`. */
export type Event = { [N in EventName]: EventOf<N> }[EventName]

export const SUBJECT_STATE = 'kms.ledger.state'
export const SUBJECT_USAGE = 'kms.ledger.usage'
export const STREAM_LEDGER = 'KMS_LEDGER'

/** The n-th stream of the ledger, from 1: where it goes on after n − 1 `LedgerRolled`. */
export const toLedgerStream = (number: number): string => (number === 1 ? STREAM_LEDGER : `${STREAM_LEDGER}_${number}`)

/** Which of the ledger's streams has this name; nothing for any other name. */
export const parseLedgerStream = (name: string): number | undefined => {
  if (name === STREAM_LEDGER) return 1
  const [, digits] = /^KMS_LEDGER_([1-9][0-9]{0,5})$/.exec(name) ?? []
  const number = Number(digits)
  return number > 1 ? number : undefined
}

/** Where checkpoints are kept, for whoever wants to know that the ledger was not cut. */
export const STREAM_CHECKPOINTS = 'KMS_CHECKPOINTS'
export const SUBJECT_CHECKPOINTS = 'kms.checkpoints'

/** Snapshots of the projections: derived, and no evidence of anything. */
export const STREAM_SNAPSHOTS = 'KMS_SNAPSHOTS'
export const SUBJECT_SNAPSHOTS = 'kms.snapshots'
