import { Map as ImmutableMap, List } from 'immutable'
import type { EventData } from '../schemas/events.ts'
import type { KeySpecName, KeyStateName, KeyUsageName, VersionStateName } from '../schemas/keys.ts'
import type { AttributeValue } from '../schemas/primitives.ts'
import type { Lid } from '../src/core/instruction.ts'
import { must } from '../src/core/result.ts'
import type { EventMeta, Projection } from './projection.ts'

export interface KeyVersionRecord {
  readonly version: number
  readonly createdAtMs: number
  readonly state: Exclude<VersionStateName, 'material_missing'>
  readonly backend: string
  readonly sealedHandle: Uint8Array
  readonly publicKey?: Uint8Array
}

/** Everything the ledger says of one key. Identity tags are in here, and leave only in PDP questions. */
export interface KeyRecord {
  readonly lid: Lid
  readonly spec: KeySpecName
  readonly usage: KeyUsageName
  readonly origin: 'KMS' | 'EXTERNAL'
  readonly description: string
  readonly userTags: readonly { readonly key: string; readonly value: string }[]
  readonly identityTags: Readonly<Record<string, AttributeValue>>
  readonly parent?: Lid
  readonly exportable: boolean
  /** The key's own state; its effective state also depends on its ancestors (`projections/hierarchy.ts`). */
  readonly state: KeyStateName
  readonly versions: readonly KeyVersionRecord[]
  readonly currentVersion: number
  readonly minDecryptionVersion: number
  readonly createdAtMs: number
  readonly updatedAtMs: number
  /** Counts the key's changes, from 1. */
  readonly revision: number
  /** Its place among all keys in order of creation, from 0: list order and cursor. */
  readonly ordinal: number
}

export interface KeysState {
  readonly byLid: ImmutableMap<string, KeyRecord>
  /** In order of creation; `ordinal` is the index. */
  readonly order: List<Lid>
}

const create = (state: KeysState, data: EventData<'KeyCreated'>, meta: EventMeta): KeysState => {
  const lid = data.lid as Lid
  must(!state.byLid.has(lid), `key ${lid} was created twice`)
  must(data.parent === undefined || state.byLid.has(data.parent), `key ${lid} names a parent that does not exist`)
  const { backend, sealed_handle, public_key } = data.material
  const record: KeyRecord = {
    lid,
    spec: data.spec,
    usage: data.usage,
    origin: 'KMS',
    description: data.description,
    userTags: data.user_tags,
    identityTags: data.identity_tags,
    ...(data.parent === undefined ? {} : { parent: data.parent as Lid }),
    exportable: data.exportable,
    state: 'enabled',
    versions: [
      {
        version: data.version,
        createdAtMs: meta.timeMs,
        state: 'enabled',
        backend,
        sealedHandle: sealed_handle,
        ...(public_key === undefined ? {} : { publicKey: public_key }),
      },
    ],
    currentVersion: data.version,
    minDecryptionVersion: 1,
    createdAtMs: meta.timeMs,
    updatedAtMs: meta.timeMs,
    revision: 1,
    ordinal: state.byLid.size,
  }
  return { byLid: state.byLid.set(lid, record), order: state.order.push(lid) }
}

const setState = (state: KeysState, lid: string, next: KeyStateName, meta: EventMeta): KeysState => {
  const record = state.byLid.get(lid)
  must(record !== undefined, `an event names key ${lid}, which does not exist`)
  must(record.state !== next, `key ${lid} is ${next} already`)
  return {
    ...state,
    byLid: state.byLid.set(lid, { ...record, state: next, updatedAtMs: meta.timeMs, revision: record.revision + 1 }),
  }
}

export const keysProjection: Projection<KeysState> = {
  name: 'keys',
  version: 1,
  initial: { byLid: ImmutableMap(), order: List() },
  evolve(state, event, meta) {
    switch (event.type) {
      case 'KeyCreated':
        return create(state, event.data, meta)
      case 'KeyEnabled':
        return setState(state, event.data.lid, 'enabled', meta)
      case 'KeyDisabled':
        return setState(state, event.data.lid, 'disabled', meta)
      default:
        return state
    }
  },
}
