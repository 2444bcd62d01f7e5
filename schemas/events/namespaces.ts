import { Fields } from '../primitives.ts'
import { NamespaceName, RoutingEntries } from '../routing.ts'
import { claim, state, version } from './eventType.ts'

/** What changed where new keys belong. `version` counts the registrations of a name, from 1. */
export const NAMESPACE_EVENTS = {
  NamespaceRegistered: state(Fields({ name: NamespaceName, version, rules: RoutingEntries, ...claim })),
} as const
