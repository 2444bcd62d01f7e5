import { Map as ImmutableMap } from 'immutable'
import type { Projection } from './projection.ts'

/** Messages encrypted by version, counted in ledger order so that the nonce budget is exact. Keys are `<lid>/<version>`. */
export interface UsageState {
  readonly encrypted: ImmutableMap<string, number>
}

const countOne = (state: UsageState, lid: string, version: number | undefined): UsageState =>
  version === undefined ? state : { encrypted: state.encrypted.update(`${lid}/${version}`, 0, (count) => count + 1) }

export const usageProjection: Projection<UsageState> = {
  name: 'usage',
  version: 1,
  initial: { encrypted: ImmutableMap() },
  evolve(state, event) {
    switch (event.type) {
      case 'DataEncrypted':
      case 'DataKeyGenerated':
        return countOne(state, event.data.lid, event.data.version)
      case 'DataReEncrypted':
        return countOne(state, event.data.destination.lid, event.data.destination.version)
      default:
        return state
    }
  },
}

/** Messages that this version has encrypted. */
export const countEncrypted = (state: UsageState, lid: string, version: number): number =>
  state.encrypted.get(`${lid}/${version}`) ?? 0
