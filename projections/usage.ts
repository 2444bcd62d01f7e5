import { Map as ImmutableMap, Set as ImmutableSet } from 'immutable'
import type { Projection } from './projection.ts'

/** Messages encrypted by version, counted in ledger order so that the nonce budget is exact. Keys are `<lid>/<version>`. */
export interface UsageState {
  readonly encrypted: ImmutableMap<string, number>
  /** The versions whose budget was warned of. */
  readonly warned: ImmutableSet<string>
}

const countOne = (state: UsageState, lid: string, version: number | undefined): UsageState =>
  version === undefined
    ? state
    : { ...state, encrypted: state.encrypted.update(`${lid}/${version}`, 0, (count) => count + 1) }

export const usageProjection: Projection<UsageState> = {
  name: 'usage',
  version: 2,
  initial: { encrypted: ImmutableMap(), warned: ImmutableSet() },
  evolve(state, event) {
    switch (event.type) {
      case 'DataEncrypted':
      case 'DataKeyGenerated':
        return countOne(state, event.data.lid, event.data.version)
      case 'DataReEncrypted':
        return countOne(state, event.data.destination.lid, event.data.destination.version)
      case 'BudgetWarned':
        return { ...state, warned: state.warned.add(`${event.data.lid}/${event.data.version}`) }
      default:
        return state
    }
  },
}

/** Messages that this version has encrypted. */
export const countEncrypted = (state: UsageState, lid: string, version: number): number =>
  state.encrypted.get(`${lid}/${version}`) ?? 0
