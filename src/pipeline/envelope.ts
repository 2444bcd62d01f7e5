import { EVENTS, type Event } from '../../schemas/events.ts'
import type { Principal, Verdict } from '../core/ports.ts'
import type { EventBody } from '../operations/operation.ts'

/** What every event of one request says of it. */
export interface Subject {
  readonly principal: Pick<Principal, 'id' | 'type' | 'method'>
  readonly transport: Event['transport']
  readonly requestId: string
  readonly action: string
}

export interface Circumstances {
  readonly outcome: Event['outcome']
  readonly code?: string
  readonly resources?: Event['resources']
  readonly decision?: Omit<Verdict, 'decision'>
  readonly contextHash?: Uint8Array
}

/** Wraps an event body into the envelope that stands in the ledger. Absent members have no key. */
export const toEvent = (id: string, subject: Subject, body: EventBody, circumstances: Circumstances): Event =>
  ({
    id,
    type: body.type,
    v: EVENTS[body.type].version,
    action: subject.action,
    principal: { id: subject.principal.id, type: subject.principal.type },
    authn: { method: subject.principal.method },
    transport: subject.transport,
    resources: circumstances.resources ?? [],
    outcome: circumstances.outcome,
    ...(circumstances.code === undefined ? {} : { code: circumstances.code }),
    request_id: subject.requestId,
    ...(circumstances.decision === undefined ? {} : { decision: circumstances.decision }),
    ...(circumstances.contextHash === undefined ? {} : { context_hash: circumstances.contextHash }),
    data: body.data,
  }) as Event

/** The subject of events the service makes of its own accord. */
export const toServiceSubject = (origin: string, requestId: string, action: string): Subject => ({
  principal: { id: origin, type: 'Service', method: 'internal' },
  transport: 'internal',
  requestId,
  action,
})
