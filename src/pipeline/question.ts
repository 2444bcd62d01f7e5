import { createHash } from 'node:crypto'
import { findEffectiveState, listAncestors } from '../../projections/hierarchy.ts'
import type { KeyRecord } from '../../projections/keys.ts'
import type { View } from '../../projections/view.ts'
import type { Principal, Question } from '../core/ports.ts'
import { toCurrentVersion } from '../operations/keyBody.ts'
import type { Target } from '../operations/operation.ts'

/** Who asks, how, and what the PDP is trusted with. */
export interface Asking {
  readonly requestId: string
  readonly principal: Principal
  readonly transport: string
  readonly origin: string
  readonly sendContextSha256: boolean
}

type Resource = Question['resource']
type Values = Resource['attributes']

const toKeyResource = (view: View, record: KeyRecord): Resource => ({
  type: 'Key',
  id: record.lid,
  attributes: {
    exists: true,
    spec: record.spec,
    usage: record.usage,
    state: record.state,
    effective_state: findEffectiveState(view.keys, record).state,
    ...(record.parent === undefined ? {} : { parent: record.parent, ancestors: toAncestors(view, record) }),
    ...(record.namespace === undefined ? {} : { namespace: record.namespace }),
    backend: toCurrentVersion(record).backend,
    identity_tags: record.identityTags as Values,
    user_tags: Object.fromEntries(record.userTags.map(({ key, value }) => [key, value])),
  },
})

const toAncestors = (view: View, record: KeyRecord) => listAncestors(view.keys, record).map(({ lid }) => lid)

const toSubject = (asking: Asking): Omit<Question, 'action' | 'resource'> => ({
  request_id: asking.requestId,
  principal: { id: asking.principal.id, type: asking.principal.type, attributes: asking.principal.attributes },
  context: { transport: asking.transport },
})

/** The question about a key that exists; also asked for each member of a list. */
export const toKeyQuestion = (asking: Asking, view: View, record: KeyRecord, action: string): Question => ({
  ...toSubject(asking),
  action,
  resource: toKeyResource(view, record),
})

/** The question about one target. A key that does not exist is asked about too, so that denied reads the same. */
export const toQuestion = (asking: Asking, view: View, target: Target, record: KeyRecord | undefined): Question => {
  const subject = toSubject(asking)
  if (target.kind === 'service')
    return {
      ...subject,
      action: target.action,
      resource: { type: 'Service', id: asking.origin, attributes: { exists: true } },
      context: { ...subject.context, ...(target.requested ? { requested: target.requested as Values } : {}) },
    }
  if (target.kind === 'resource')
    return {
      ...subject,
      action: target.action,
      resource: { type: target.type, id: target.id, attributes: { exists: target.exists, name: target.id } },
    }
  const context =
    asking.sendContextSha256 && target.contextBytes !== undefined && target.contextBytes.length > 0
      ? { ...subject.context, context_sha256: createHash('sha256').update(target.contextBytes).digest('hex') }
      : subject.context
  const resource: Resource =
    record === undefined ? { type: 'Key', id: target.ref, attributes: { exists: false } } : toKeyResource(view, record)
  return { ...subject, action: target.action, resource, context }
}
