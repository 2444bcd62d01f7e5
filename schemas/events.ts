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
