import { Map as ImmutableMap } from 'immutable'
import { must } from '../src/core/result.ts'
import { insertName, NO_NAMES, removeName, type SortedNames } from './names.ts'
import type { Projection } from './projection.ts'

/** An HSM backend that was opened by a request, not by the configuration. Its name is the backend's id. */
export interface HsmConnectionRecord {
  readonly name: string
  readonly libPath: string
  readonly tokenLabel: string
  readonly pinRef: string
  /** The principal that alone may place keys there; everybody if absent. */
  readonly scopeOwner?: string
  readonly createdAtMs: number
}

export interface HsmConnectionsState {
  readonly byName: ImmutableMap<string, HsmConnectionRecord>
  /** In order: list order and cursor. */
  readonly names: SortedNames
  /** Those that were deleted. Destroyed versions still name them, so none of these ids is ever used again. */
  readonly deleted: ImmutableMap<string, HsmConnectionRecord>
}

export const hsmConnectionsProjection: Projection<HsmConnectionsState> = {
  name: 'hsmConnections',
  version: 1,
  initial: { byName: ImmutableMap(), names: NO_NAMES, deleted: ImmutableMap() },
  evolve(state, event, { timeMs }) {
    switch (event.type) {
      case 'HsmConnectionCreated': {
        const { name, lib_path, token_label, pin_ref, scope_owner } = event.data
        must(!state.byName.has(name) && !state.deleted.has(name), `HSM connection ${name} was created twice`)
        const record: HsmConnectionRecord = {
          name,
          libPath: lib_path,
          tokenLabel: token_label,
          pinRef: pin_ref,
          ...(scope_owner === undefined ? {} : { scopeOwner: scope_owner }),
          createdAtMs: timeMs,
        }
        return { ...state, byName: state.byName.set(name, record), names: insertName(state.names, name) }
      }
      case 'HsmConnectionDeleted': {
        const { name } = event.data
        const record = state.byName.get(name)
        must(record !== undefined, `HSM connection ${name} does not exist`)
        return {
          byName: state.byName.delete(name),
          names: removeName(state.names, name),
          deleted: state.deleted.set(name, record),
        }
      }
      default:
        return state
    }
  },
}

/** Whether a principal may have new key material on this connection; the service itself has no id. */
export const mayPlaceOn = (state: HsmConnectionsState, name: string, principalId: string | undefined): boolean => {
  const record = state.byName.get(name)
  return record !== undefined && (record.scopeOwner === undefined || record.scopeOwner === principalId)
}
