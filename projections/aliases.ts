import { Map as ImmutableMap } from 'immutable'
import type { Lid } from '../src/core/instruction.ts'
import { must } from '../src/core/result.ts'
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
  /** How many names each key has. */
  readonly counts: ImmutableMap<string, number>
}

const point = (state: AliasesState, record: AliasRecord): AliasesState => {
  const before = state.byName.get(record.name)
  const counts = before === undefined ? state.counts : release(state.counts, before.lid)
  return {
    byName: state.byName.set(record.name, record),
    counts: counts.update(record.lid, 0, (count) => count + 1),
  }
}

const release = (counts: AliasesState['counts'], lid: Lid): AliasesState['counts'] => {
  const left = (counts.get(lid) ?? 0) - 1
  return left > 0 ? counts.set(lid, left) : counts.delete(lid)
}

export const aliasesProjection: Projection<AliasesState> = {
  name: 'aliases',
  version: 1,
  initial: { byName: ImmutableMap(), counts: ImmutableMap() },
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
        return { byName: state.byName.delete(event.data.name), counts: release(state.counts, before.lid) }
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
