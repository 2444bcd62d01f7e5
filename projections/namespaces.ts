import { Map as ImmutableMap } from 'immutable'
import { must } from '../src/core/result.ts'
import type { Namespace } from '../src/core/routing.ts'
import { insertName, NO_NAMES, type SortedNames } from './names.ts'
import type { Projection } from './projection.ts'

/** A namespace as it was registered last. What it was before is in the ledger. */
export interface NamespaceRecord extends Namespace {
  readonly createdAtMs: number
  readonly updatedAtMs: number
}

export interface NamespacesState {
  readonly byName: ImmutableMap<string, NamespaceRecord>
  /** All names in order: list order and cursor. */
  readonly names: SortedNames
  /** Counts every registration of any name: what a check of all of them together hangs on. */
  readonly registrations: number
}

export const namespacesProjection: Projection<NamespacesState> = {
  name: 'namespaces',
  version: 1,
  initial: { byName: ImmutableMap(), names: NO_NAMES, registrations: 0 },
  evolve(state, event, { timeMs }) {
    if (event.type !== 'NamespaceRegistered') return state
    const { name, version, rules } = event.data
    const before = state.byName.get(name)
    must(version === (before?.revision ?? 0) + 1, `namespace ${name} skips to version ${version}`)
    const record = { name, revision: version, rules, createdAtMs: before?.createdAtMs ?? timeMs, updatedAtMs: timeMs }
    return {
      byName: state.byName.set(name, record),
      names: before === undefined ? insertName(state.names, name) : state.names,
      registrations: state.registrations + 1,
    }
  },
}
