import { Map as ImmutableMap } from 'immutable'
import type { EventOf } from '../schemas/events.ts'
import type { KeySpecName, WrappingAlgorithmName } from '../schemas/keys.ts'
import type { Lid } from '../src/core/instruction.ts'
import { must } from '../src/core/result.ts'
import type { Projection } from './projection.ts'

/** A wrapping key that is in the HSM, and what may be done with it. */
export interface ImportRecord {
  readonly lid: Lid
  readonly spec: KeySpecName
  readonly algorithm: WrappingAlgorithmName
  readonly backend: string
  readonly sealedHandle: Uint8Array
  readonly publicKey: Uint8Array
  readonly tokenHash: Uint8Array
  readonly expiresAtMs: number
  /** The only one who may use it. */
  readonly principal: { readonly id: string; readonly type: string }
  /** Only an open one takes a key in; the others wait for their destruction. */
  readonly state: 'open' | 'used' | 'expired'
}

/** By the wrapping key's LID; one that was destroyed is forgotten. */
export interface ImportsState {
  readonly byLid: ImmutableMap<string, ImportRecord>
}

export const importsProjection: Projection<ImportsState> = {
  name: 'imports',
  version: 1,
  initial: { byLid: ImmutableMap() },
  evolve(state, event) {
    switch (event.type) {
      case 'ImportParametersIssued':
        return issue(state, event)
      case 'KeyImported':
        return close(state, event.data.import, 'used')
      case 'ImportParametersExpired':
        return close(state, event.data.lid, 'expired')
      case 'ImportWrappingKeyDestroyed':
        must(
          state.byLid.get(event.data.lid)?.state !== 'open',
          `wrapping key ${event.data.lid} was destroyed while open`,
        )
        return { byLid: state.byLid.delete(event.data.lid) }
      default:
        return state
    }
  },
}

const issue = (state: ImportsState, { data, principal }: EventOf<'ImportParametersIssued'>): ImportsState => {
  const { lid, material } = data
  must(!state.byLid.has(lid), `wrapping key ${lid} was made twice`)
  must(material.public_key !== undefined, `wrapping key ${lid} has no public key`)
  const record: ImportRecord = {
    lid: lid as Lid,
    spec: data.spec,
    algorithm: data.algorithm,
    backend: material.backend,
    sealedHandle: material.sealed_handle,
    publicKey: material.public_key,
    tokenHash: data.token_hash,
    expiresAtMs: data.expires_at,
    principal,
    state: 'open',
  }
  return { byLid: state.byLid.set(lid, record) }
}

const close = (state: ImportsState, lid: string, to: 'used' | 'expired'): ImportsState => {
  const record = state.byLid.get(lid)
  must(record?.state === 'open', `wrapping key ${lid} is not open`)
  return { byLid: state.byLid.set(lid, { ...record, state: to }) }
}
