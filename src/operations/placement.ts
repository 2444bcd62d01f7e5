import type { Guard } from '../../projections/guards.ts'
import { findEffectiveState, listAncestors } from '../../projections/hierarchy.ts'
import type { KeyRecord } from '../../projections/keys.ts'
import type { View } from '../../projections/view.ts'
import { LIMITS } from '../../schemas/limits.ts'
import type { Attributes } from '../core/canonical.ts'
import { STATE_ALLOWS } from '../core/lifecycle.ts'
import { fail, ok, type Result } from '../core/result.ts'
import { type Decided, routeKey } from '../core/routing.ts'
import type { Facts, Target } from './operation.ts'

/** What a request for a new key says of its place. */
export interface Wanted {
  readonly namespace?: string
  readonly parent_key_id?: string
  readonly backend_id?: string
}

/** What rules and request make of it together. `guards` are the rules that were asked. */
export type Place =
  | { readonly kind: 'unknown' }
  | { readonly kind: 'unmatched'; readonly guards: readonly Guard[] }
  | { readonly kind: 'denied'; readonly by: Decided; readonly reason: string; readonly guards: readonly Guard[] }
  | {
      readonly kind: 'placed'
      /** The rule that decided, if a namespace was asked. */
      readonly by?: Decided
      /** LID or alias. */
      readonly parent?: string
      /** The service's default if absent. */
      readonly backend?: string
      /** Set if a rule names the backend, and not the request. */
      readonly isBackendRouted?: true
      readonly guards: readonly Guard[]
    }

export type Placed = Extract<Place, { readonly kind: 'placed' }>

/** Finds the place of a new key with these attributes (in NFC): where its namespace puts it, or where it asks to be put. */
export const findPlace = (wanted: Wanted, attributes: Attributes, view: View): Place => {
  const { namespace: name, parent_key_id: parent, backend_id } = wanted
  if (name === undefined)
    return {
      kind: 'placed',
      ...(parent === undefined ? {} : { parent }),
      ...(backend_id === undefined ? {} : { backend: backend_id }),
      guards: [],
    }
  const namespace = view.namespaces.byName.get(name)
  if (namespace === undefined) return { kind: 'unknown' }
  const { verdict, asked } = routeKey(namespace, attributes, (other) => view.namespaces.byName.get(other))
  const guards = asked.map(({ name, revision }): Guard => ({ kind: 'namespace', name, revision }))
  if (verdict.kind !== 'placed') return { ...verdict, guards }
  const backend = verdict.backend ?? backend_id
  return backend_id === undefined || backend_id === backend
    ? {
        ...verdict,
        ...(backend === undefined ? {} : { backend }),
        ...(verdict.backend === undefined ? {} : { isBackendRouted: true as const }),
        guards,
      }
    : { kind: 'denied', by: verdict.by, reason: 'the rule places such keys on another backend', guards }
}

/** INVALID_REQUEST for a request that names both a parent and the rules that are to choose one. */
export const checkWanted = ({ namespace, parent_key_id }: Wanted): Result<true> =>
  namespace === undefined || parent_key_id === undefined
    ? ok(true)
    : fail('INVALID_REQUEST', 'parent_key_id: the namespace chooses the parent; give one of the two')

/** The place, or why a key can't have one: NOT_FOUND for an unknown namespace, INVALID_REQUEST for what its rules refuse. */
export const takePlace = (place: Place): Result<Placed> => {
  switch (place.kind) {
    case 'placed':
      return ok(place)
    case 'unknown':
      return fail('NOT_FOUND', 'namespace: there is no such namespace')
    case 'unmatched':
      return fail('INVALID_REQUEST', 'namespace: no rule is for a key with these attributes')
    case 'denied':
      return fail('INVALID_REQUEST', `namespace: a rule refuses the key: ${place.reason}`)
    default:
      return place satisfies never
  }
}

/** Whether the caller may have a key on the backend of its place; if not, it reads like one that does not exist. */
export const checkPlaceBackend = (place: Placed, facts: Facts): Result<true> =>
  facts.hasBackend(toBackend(place, facts)) ? ok(true) : place.isBackendRouted ? NO_ROUTED_BACKEND : NO_BACKEND

/** The backend of a new key. */
export const toBackend = (place: Placed, facts: Facts): string => place.backend ?? facts.defaultBackend

export const NO_BACKEND = fail('INVALID_REQUEST', 'backend_id: there is no such backend')
const NO_ROUTED_BACKEND = fail('INVALID_REQUEST', 'namespace: the backend that the routing rule names does not exist')

/** The question about the parent of a place, if it has one. */
export const targetParent = (place: Place, action: string): readonly Target[] => {
  if (place.kind !== 'placed' || place.parent === undefined) return []
  const absent = place.by === undefined ? {} : { absent: 'the parent that the routing rule names does not exist' }
  return [{ kind: 'key', action, ref: place.parent, ...absent }]
}

/** Whether a key may have one more child, as far as it is concerned itself. */
export const checkParent = (view: View, parent: KeyRecord | undefined): Result<true> => {
  if (parent === undefined) return ok(true)
  const { state } = findEffectiveState(view.keys, parent)
  if (!STATE_ALLOWS[state].parent) return fail('PARENT_NOT_USABLE', `the parent key is ${state}`)
  return listAncestors(view.keys, parent).length + 1 <= LIMITS.hierarchyDepthMax
    ? ok(true)
    : fail('INVALID_REQUEST', `parent_key_id: a hierarchy may be ${LIMITS.hierarchyDepthMax} deep at most`)
}
