import { must } from '../src/core/result.ts'
import type { Projection } from './projection.ts'

/** What commit 1 fixed for ever: the root's first public key, and the context key as it is sealed on the ledger's backend. */
export interface GenesisState {
  readonly rootPublicKey?: Uint8Array
  readonly sealedContextKey?: Uint8Array
}

export const genesisProjection: Projection<GenesisState> = {
  name: 'genesis',
  version: 1,
  initial: {},
  evolve(state, event) {
    if (event.type !== 'LedgerCreated') return state
    must(state.rootPublicKey === undefined, 'the ledger was created twice')
    return { rootPublicKey: event.data.root_public_key, sealedContextKey: event.data.context_key }
  },
}
