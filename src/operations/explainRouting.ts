import type { KeyRecord } from '../../projections/keys.ts'
import type { Body, Request } from '../../schemas/registry.ts'
import { deriveIdentity } from '../core/lid.ts'
import { fail, ok } from '../core/result.ts'
import { guardKey, type Operation, planRecord, type Resolved } from './operation.ts'
import { checkParent, checkPlaceBackend, findPlace, type Place, targetParent, toBackend } from './placement.ts'

type Input = Request<'ExplainRouting'>

/**
 * What CreateKey would make of the same place, in the same words. The caller's attributes are in no part of it: neither the
 * name that a rule made of them, nor the rule itself.
 */
const toBody = (
  place: Exclude<Place, { kind: 'unknown' }>,
  { view, facts, keys }: Resolved,
): Body<'ExplainRouting'> => {
  if (place.kind === 'unmatched') return { outcome: 'NO_MATCH' }
  const matched =
    place.by === undefined
      ? {}
      : {
          matched_namespace: place.by.namespace,
          matched_revision: place.by.revision,
          matched_rule_index: place.by.index,
        }
  if (place.kind === 'denied') return { outcome: 'DENY', ...matched, deny_reason: place.reason }
  const [parent] = keys
  const reachable = checkPlaceBackend(place, facts)
  const found = {
    ...matched,
    ...(parent === undefined ? {} : { parent_key_id: parent.lid }),
    ...(reachable.ok ? { selected_backend_id: toBackend(place, facts) } : {}),
  }
  const usable = reachable.ok ? checkParent(view, parent) : reachable
  return usable.ok ? { outcome: 'ALLOW', ...found } : { outcome: 'DENY', ...found, deny_reason: usable.error.message }
}

const toGuards = ({ view, keys }: Resolved) => keys.map((parent: KeyRecord) => guardKey(view, parent))

export const explainRouting: Operation<'ExplainRouting'> = {
  /** Asked like CreateKey, and whether the caller may know the parent. */
  targets(input: Input, facts, view) {
    const identity = deriveIdentity(input.attributes, facts.uniqueId)
    if (!identity.ok) return identity
    const { attributes } = identity.value
    const requested = {
      identity_tags: attributes,
      ...(input.namespace === undefined ? {} : { namespace: input.namespace }),
    }
    return ok([
      { kind: 'service', action: 'kms:ExplainRouting', requested },
      ...targetParent(findPlace(input, attributes, view), 'kms:DescribeKey'),
    ])
  },
  plan(input, resolved) {
    const { view, facts, keys } = resolved
    const identity = deriveIdentity(input.attributes, facts.uniqueId)
    if (!identity.ok) return identity
    const place = findPlace(input, identity.value.attributes, view)
    if (place.kind === 'unknown') return fail('NOT_FOUND', 'namespace: there is no such namespace')
    const body = toBody(place, resolved)
    const about = input.namespace === undefined ? {} : { namespace: input.namespace }
    return ok(
      planRecord([...place.guards, ...toGuards(resolved)], () => ({
        event: { type: 'RoutingExplained', data: { ...about, outcome: body.outcome } },
        resources: [
          ...(input.namespace === undefined ? [] : [{ type: 'Namespace', id: input.namespace } as const]),
          ...keys.map(({ lid }) => ({ lid })),
        ],
        toReply: () => body,
      })),
    )
  },
}
