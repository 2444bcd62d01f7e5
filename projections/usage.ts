import { Map as ImmutableMap, Set as ImmutableSet } from 'immutable'
import type { Projection } from './projection.ts'

/**
 * Messages encrypted by version, counted in ledger order so that the nonce budget is exact. A version's name is
 * `<lid>/<version>`.
 */
export interface UsageState {
  readonly encrypted: ImmutableMap<string, number>
  /** Current versions by the power of two that their count has reached: the busiest are found without looking at all. */
  readonly busy: ImmutableMap<number, ImmutableSet<string>>
  /** The versions whose budget was warned of. */
  readonly warned: ImmutableSet<string>
}

/** Names one version. */
export const toVersionKey = (lid: string, version: number): string => `${lid}/${version}`

/** Parts a name that {@link toVersionKey} made. */
export const parseVersionKey = (name: string): { readonly lid: string; readonly version: number } => {
  const [lid = '', version = ''] = name.split('/')
  return { lid, version: Number(version) }
}

const countOne = (state: UsageState, lid: string, version: number | undefined): UsageState => {
  if (version === undefined) return state
  const name = toVersionKey(lid, version)
  const count = (state.encrypted.get(name) ?? 0) + 1
  const encrypted = state.encrypted.set(name, count)
  // Exact: a power of two has a whole logarithm, and no other count below 2^40 comes out as one.
  const power = Math.log2(count)
  return Number.isInteger(power)
    ? {
        ...state,
        encrypted,
        busy: leave(state.busy, power - 1, name).update(power, ImmutableSet(), (set) => set.add(name)),
      }
    : { ...state, encrypted }
}

const leave = (busy: UsageState['busy'], power: number, name: string): UsageState['busy'] => {
  const left = busy.get(power)?.delete(name)
  if (left === undefined) return busy
  return left.size === 0 ? busy.delete(power) : busy.set(power, left)
}

/** A version that is no longer the current one encrypts nothing more. */
const retire = (state: UsageState, name: string): UsageState => {
  const count = state.encrypted.get(name)
  return count === undefined ? state : { ...state, busy: leave(state.busy, Math.floor(Math.log2(count)), name) }
}

export const usageProjection: Projection<UsageState> = {
  name: 'usage',
  version: 4,
  initial: { encrypted: ImmutableMap(), busy: ImmutableMap(), warned: ImmutableSet() },
  evolve(state, event) {
    switch (event.type) {
      case 'DataEncrypted':
      case 'DataKeyGenerated':
      case 'DataKeyPairGenerated':
        return countOne(state, event.data.lid, event.data.version)
      case 'DataReEncrypted':
        return countOne(state, event.data.destination.lid, event.data.destination.version)
      case 'KeyRotated':
        return retire(state, toVersionKey(event.data.lid, event.data.version - 1))
      case 'BudgetWarned':
        return { ...state, warned: state.warned.add(toVersionKey(event.data.lid, event.data.version)) }
      default:
        return state
    }
  },
}

/** Messages that this version has encrypted. */
export const countEncrypted = (state: UsageState, lid: string, version: number): number =>
  state.encrypted.get(toVersionKey(lid, version)) ?? 0

/** The names of the current versions that have encrypted at least `messages`, which is 1 or more. Lazy. */
export function* walkBusy({ busy, encrypted }: UsageState, messages: number): Generator<string> {
  const least = Math.floor(Math.log2(messages))
  for (const [power, names] of busy)
    if (power >= least) for (const name of names) if ((encrypted.get(name) ?? 0) >= messages) yield name
}
