import { Map as ImmutableMap, Set as ImmutableSet, List } from 'immutable'
import type { KEY_EVENTS } from '../schemas/events/keys.ts'
import type { Event, EventData, EventOf } from '../schemas/events.ts'
import type { KeyStateName } from '../schemas/keys.ts'
import type { Lid } from '../src/core/instruction.ts'
import { must } from '../src/core/result.ts'
import type { KeyRecord, KeysState, KeyVersionRecord } from './keys.ts'
import { moveMaterial } from './material.ts'
import type { EventMeta, Projection } from './projection.ts'
import { moveRotation } from './rotation.ts'

/** The events of one key that change its record, and so count as a revision. */
type ChangeName = Exclude<keyof typeof KEY_EVENTS, 'KeyCreated' | 'KeyImported' | 'BudgetWarned'>
type Change<N extends ChangeName> = (record: KeyRecord, data: EventData<N>, meta: EventMeta) => KeyRecord

export const keysProjection: Projection<KeysState> = {
  name: 'keys',
  version: 5,
  initial: {
    byLid: ImmutableMap(),
    order: List(),
    rotating: ImmutableMap(),
    doomed: ImmutableSet(),
    material: ImmutableMap(),
  },
  evolve(state, event, meta) {
    if (event.type === 'KeyCreated') return create(state, event.data, meta)
    if (event.type === 'KeyImported') return create(state, event.data, meta, 'EXTERNAL')
    return isChange(event) ? applyChange(state, event, meta) : state
  },
}

const isChange = (event: Event): event is Extract<Event, { readonly type: ChangeName }> =>
  Object.hasOwn(CHANGES, event.type)

const applyChange = <N extends ChangeName>(state: KeysState, event: EventOf<N>, meta: EventMeta): KeysState => {
  const record = state.byLid.get(event.data.lid)
  must(record !== undefined, `an event names key ${event.data.lid}, which does not exist`)
  const changed = CHANGES[event.type](record, event.data, meta)
  return index(state, { ...changed, updatedAtMs: meta.timeMs, revision: record.revision + 1 })
}

const toVersion = (
  { version, material }: Pick<EventData<'KeyRotated'>, 'version' | 'material'>,
  extractable: boolean,
  meta: EventMeta,
): KeyVersionRecord => {
  const { backend, sealed_handle, public_key } = material
  return {
    version,
    createdAtMs: meta.timeMs,
    state: 'enabled',
    backend,
    sealedHandle: sealed_handle,
    extractable,
    ...(public_key === undefined ? {} : { publicKey: public_key }),
  }
}

const create = (
  state: KeysState,
  data: EventData<'KeyCreated'>,
  meta: EventMeta,
  origin: KeyRecord['origin'] = 'KMS',
): KeysState => {
  const lid = data.lid as Lid
  must(!state.byLid.has(lid), `key ${lid} was created twice`)
  must(data.parent === undefined || state.byLid.has(data.parent), `key ${lid} names a parent that does not exist`)
  const first = toVersion(data, data.exportable, meta)
  const record: KeyRecord = {
    lid,
    spec: data.spec,
    usage: data.usage,
    origin,
    description: data.description,
    // The first versions recorded tags as they were sent.
    userTags: data.user_tags.map(({ key, value }) => ({ key: key.normalize('NFC'), value: value.normalize('NFC') })),
    identityTags: data.identity_tags,
    ...(data.parent === undefined ? {} : { parent: data.parent as Lid }),
    ...(data.routing === undefined ? {} : { namespace: data.routing.namespace }),
    exportable: data.exportable,
    createdExportable: data.exportable,
    state: 'enabled',
    versions: [origin === 'EXTERNAL' ? { ...first, imported: true } : first],
    currentVersion: data.version,
    minDecryptionVersion: 1,
    rotation: { enabled: false },
    createdAtMs: meta.timeMs,
    updatedAtMs: meta.timeMs,
    revision: 1,
    ordinal: state.order.size,
  }
  return index({ ...state, order: state.order.push(lid) }, record)
}

/** The state with this record in it and in the indexes it belongs to. */
const index = (state: KeysState, record: KeyRecord): KeysState => {
  const isDoomed =
    record.state === 'pending_deletion' ||
    record.state === 'destroying' ||
    record.versions.some((version) => version.state === 'destroying')
  const before = state.byLid.get(record.lid)
  return {
    ...state,
    byLid: state.byLid.set(record.lid, record),
    rotating: moveRotation(state.rotating, before, record),
    material: moveMaterial(state.material, before, record),
    doomed: isDoomed ? state.doomed.add(record.lid) : state.doomed.delete(record.lid),
  }
}

/** Moves a key to another state; history that does so from a state it cannot leave contradicts itself. */
const moveFrom =
  (allowed: readonly KeyStateName[], next: KeyStateName): ((record: KeyRecord) => KeyRecord) =>
  (record) => {
    must(allowed.includes(record.state), `key ${record.lid} is ${record.state} and cannot become ${next}`)
    return { ...record, state: next }
  }

const moveVersion = (
  record: KeyRecord,
  number: number,
  allowed: readonly KeyVersionRecord['state'][],
  next: KeyVersionRecord['state'],
): KeyRecord => {
  const known = record.versions.find(({ version }) => version === number)
  must(known !== undefined, `an event names version ${number} of key ${record.lid}, which does not exist`)
  must(allowed.includes(known.state), `version ${number} of key ${record.lid} is ${known.state}, and became ${next}`)
  return {
    ...record,
    versions: record.versions.map((version) => (version === known ? { ...version, state: next } : version)),
  }
}

/** The current version goes only with its key. */
const startVersionDestruction: Change<'KeyVersionDestructionStarted'> = (record, { version }) => {
  must(version !== record.currentVersion, `the current version of key ${record.lid} was to be destroyed alone`)
  return moveVersion(record, version, ['enabled'], 'destroying')
}

/** Of a key that is being destroyed, versions go one by one without a start of their own. */
const destroyVersion: Change<'KeyVersionDestroyed'> = (record, { version }) =>
  moveVersion(record, version, record.state === 'destroying' ? ['enabled', 'destroying'] : ['destroying'], 'destroyed')

const raiseMinimum: Change<'MinDecryptionVersionSet'> = (record, { version }) => {
  const isRaised = version >= record.minDecryptionVersion && version <= record.currentVersion
  must(isRaised, `the minimum of key ${record.lid} went from ${record.minDecryptionVersion} to ${version}`)
  return { ...record, minDecryptionVersion: version }
}

const rotate: Change<'KeyRotated'> = (record, data, meta) => {
  must(data.version === record.currentVersion + 1, `key ${record.lid} skips to version ${data.version}`)
  const version = { ...toVersion(data, record.exportable, meta), cause: data.cause }
  return { ...record, versions: [...record.versions, version], currentVersion: data.version }
}

const tag: Change<'KeyTagged'> = (record, { tags }) => {
  const replaced = new Set(tags.map(({ key }) => key))
  return { ...record, userTags: [...record.userTags.filter(({ key }) => !replaced.has(key)), ...tags] }
}

const schedule: Change<'KeyDeletionScheduled'> = (record, { deletion_at, cascade }) => {
  const { state: from } = record
  must(from === 'enabled' || from === 'disabled' || from === 'compromised', `key ${record.lid} is ${from} already`)
  return { ...record, state: 'pending_deletion', deletion: { atMs: deletion_at, cascade, from } }
}

const cancel: Change<'KeyDeletionCancelled'> = (record) => {
  const { deletion, ...rest } = moveFrom(['pending_deletion'], 'disabled')(record)
  return { ...rest, state: deletion?.from === 'compromised' ? 'compromised' : 'disabled' }
}

/** From here on nothing brings it back, so its versions are on their way out with it. */
const startDestruction: Change<'KeyDestructionStarted'> = (record) => {
  must(record.state !== 'destroyed', `key ${record.lid} is destroyed and cannot be again`)
  const versions = record.versions.map((version) =>
    version.state === 'destroyed' ? version : { ...version, state: 'destroying' as const },
  )
  return { ...record, state: 'destroying', versions }
}

const destroy: Change<'KeyDestroyed'> = (record) => ({
  ...moveFrom(['destroying'], 'destroyed')(record),
  versions: record.versions.map((version) => ({ ...version, state: 'destroyed' })),
})

/** Everything but creation that changes one key; an event of a key that is missing here does not compile. */
const CHANGES: { readonly [N in ChangeName]: Change<N> } = {
  KeyUpdated: (record, { description }) => ({ ...record, description }),
  KeyEnabled: moveFrom(['disabled'], 'enabled'),
  KeyDisabled: moveFrom(['enabled'], 'disabled'),
  KeyCompromised: moveFrom(['enabled', 'disabled'], 'compromised'),
  KeyExported: (record, _data, { timeMs }) => ({ ...record, firstExportedAtMs: record.firstExportedAtMs ?? timeMs }),
  KeyExportabilitySet: (record, { exportable }) => {
    must(record.createdExportable || !exportable, `key ${record.lid} was not created exportable`)
    return { ...record, exportable }
  },
  KeyTagged: tag,
  KeyUntagged: (record, { tag_keys }) => ({
    ...record,
    userTags: record.userTags.filter(({ key }) => !tag_keys.includes(key)),
  }),
  KeyRotated: rotate,
  RotationPolicySet: (record, { enabled, interval_days }) => ({
    ...record,
    rotation: { ...record.rotation, enabled, ...(interval_days === undefined ? {} : { intervalDays: interval_days }) },
  }),
  MinDecryptionVersionSet: raiseMinimum,
  KeyVersionDestructionStarted: startVersionDestruction,
  KeyVersionDestroyed: destroyVersion,
  KeyDeletionScheduled: schedule,
  KeyDeletionCancelled: cancel,
  KeyDestructionStarted: startDestruction,
  KeyDestroyed: destroy,
}
