import { findEffectiveState, listAncestors } from '../../projections/hierarchy.ts'
import type { KeyRecord, KeyVersionRecord } from '../../projections/keys.ts'
import { findNextRotationMs } from '../../projections/rotation.ts'
import { countEncrypted } from '../../projections/usage.ts'
import type { View } from '../../projections/view.ts'
import type { KeyBody } from '../../schemas/keys.ts'
import type { Lid } from '../core/instruction.ts'
import { must } from '../core/result.ts'
import type { Facts } from './operation.ts'

/** RFC 3339 in UTC, as every reply shows times. */
export const toTimestamp = (ms: number): string => new Date(ms).toISOString()

/** The public metadata of one version. */
export const toVersionBody = (
  view: View,
  record: KeyRecord,
  { version, createdAtMs, state, backend, cause }: KeyVersionRecord,
  facts: Facts,
): KeyBody['key_versions'][number] => ({
  version,
  created_at: toTimestamp(createdAtMs),
  state: state === 'enabled' && facts.isMissing(record.lid, version) ? 'material_missing' : state,
  backend_id: backend,
  ...(cause === undefined ? {} : { cause }),
  ...(record.usage === 'ENCRYPT_DECRYPT' ? { encrypt_count: countEncrypted(view.usage, record.lid, version) } : {}),
})

/** The public metadata of a key in a view. Identity tags have no way into it: the fields are named one by one. */
export const toKeyBody = (view: View, record: KeyRecord, facts: Facts): KeyBody => {
  const { state: effective_state, lockedBy } = findEffectiveState(view.keys, record)
  return {
    key_id: record.lid,
    lid: record.lid,
    key_spec: record.spec,
    key_usage: record.usage,
    state: record.state,
    effective_state,
    ...(lockedBy === undefined ? {} : { locked_by: lockedBy }),
    origin: record.origin,
    description: record.description,
    user_tags: record.userTags.map(({ key, value }) => ({ key, value })),
    ...(record.parent === undefined ? {} : { parent_key_id: record.parent }),
    ...(record.namespace === undefined ? {} : { namespace: record.namespace }),
    backend_id: toCurrentVersion(record).backend,
    exportable: record.exportable,
    ...(record.firstExportedAtMs === undefined ? {} : { first_exported_at: toTimestamp(record.firstExportedAtMs) }),
    current_key_version: record.currentVersion,
    min_decryption_version: record.minDecryptionVersion,
    key_versions: record.versions.map((version) => toVersionBody(view, record, version, facts)),
    rotation: toRotation(record),
    created_at: toTimestamp(record.createdAtMs),
    updated_at: toTimestamp(record.updatedAtMs),
    ...toDeletion(view, record),
    revision: record.revision,
  }
}

const toRotation = (record: KeyRecord): KeyBody['rotation'] => {
  const { enabled, intervalDays } = record.rotation
  const nextMs = findNextRotationMs(record)
  return {
    enabled,
    ...(intervalDays === undefined ? {} : { interval_days: intervalDays }),
    ...(nextMs === undefined ? {} : { next_at: toTimestamp(nextMs) }),
  }
}

/** The earliest day on which the key itself, or an ancestor that takes it along, is to be destroyed. */
const toDeletion = (view: View, record: KeyRecord): Pick<KeyBody, 'scheduled_deletion_at'> => {
  const dates = [record, ...listAncestors(view.keys, record)].flatMap(({ deletion }) => deletion?.atMs ?? [])
  return dates.length === 0 ? {} : { scheduled_deletion_at: toTimestamp(Math.min(...dates)) }
}

/** The version that produces. Every key has one. */
export const toCurrentVersion = (record: KeyRecord): KeyRecord['versions'][number] => {
  const version = record.versions.find((candidate) => candidate.version === record.currentVersion)
  must(version !== undefined, `key ${record.lid} has no version ${record.currentVersion}`)
  return version
}

/** The body of a key that the view must hold, since its event was just folded. */
export const toFoldedKeyBody = (view: View, lid: Lid | undefined, facts: Facts): KeyBody => {
  const record = view.keys.byLid.get(lid ?? '')
  must(record !== undefined, `key ${lid} is not in the view that folded its event`)
  return toKeyBody(view, record, facts)
}
