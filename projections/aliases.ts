import { Map as ImmutableMap } from 'immutable'
import type { Lid } from '../src/core/instruction.ts'
import { must } from '../src/core/result.ts'
import { countNames, insertName, NO_NAMES, removeName, type SortedNames } from './names.ts'
import type { Projection } from './projection.ts'

/** A name and the key it stands for now. Its history is in the ledger. */
export interface AliasRecord {
  readonly name: string
  readonly lid: Lid
  readonly createdAtMs: number
  readonly updatedAtMs: number
}

export interface AliasesState {
  readonly byName: ImmutableMap<string, AliasRecord>
  /** All names in order: list order and cursor. */
  readonly names: SortedNames
  /** The names of each key that has one, in order. */
  readonly byKey: ImmutableMap<string, SortedNames>
}

/** How many names a key has. */
export const countAliases = (state: AliasesState, lid: Lid): number => countNames(state.byKey.get(lid) ?? NO_NAMES)

const point = (state: AliasesState, record: AliasRecord): AliasesState => {
  const before = state.byName.get(record.name)
  const byKey = before === undefined ? state.byKey : release(state.byKey, before)
  return {
    byName: state.byName.set(record.name, record),
    names: before === undefined ? insertName(state.names, record.name) : state.names,
    byKey: byKey.update(record.lid, NO_NAMES, (names) => insertName(names, record.name)),
  }
}

const release = (byKey: AliasesState['byKey'], { name, lid }: AliasRecord): AliasesState['byKey'] => {
  const left = removeName(byKey.get(lid) ?? NO_NAMES, name)
  return left.length === 0 ? byKey.delete(lid) : byKey.set(lid, left)
}

export const aliasesProjection: Projection<AliasesState> = {
  name: 'aliases',
  version: 2,
  initial: { byName: ImmutableMap(), names: NO_NAMES, byKey: ImmutableMap() },
  evolve(state, event, { timeMs }) {
    switch (event.type) {
      case 'AliasCreated':
        must(!state.byName.has(event.data.name), `alias ${event.data.name} was created twice`)
        return point(state, {
          name: event.data.name,
          lid: event.data.lid as Lid,
          createdAtMs: timeMs,
          updatedAtMs: timeMs,
        })
      case 'AliasUpdated': {
        const before = state.byName.get(event.data.name)
        must(before !== undefined, `alias ${event.data.name} does not exist`)
        return point(state, { ...before, lid: event.data.lid as Lid, updatedAtMs: timeMs })
      }
      case 'AliasDeleted': {
        const before = state.byName.get(event.data.name)
        must(before !== undefined, `alias ${event.data.name} does not exist`)
        return {
          byName: state.byName.delete(before.name),
          names: removeName(state.names, before.name),
          byKey: release(state.byKey, before),
        }
      }
      default:
        return state
    }
  },
}

const ALIAS_PREFIX = 'alias/'

/** Whether a key id as a caller wrote it is a name, not a LID. */
export const isAlias = (ref: string): boolean => ref.startsWith(ALIAS_PREFIX)

/** The key that a ref stands for: a LID itself, whether it exists or not; an alias's target, or nothing. */
export const resolveRef = (state: AliasesState, ref: string): Lid | undefined =>
  isAlias(ref) ? state.byName.get(ref)?.lid : (ref as Lid)
