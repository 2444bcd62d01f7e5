import { findEffectiveState } from '../../projections/hierarchy.ts'
import type { KeyRecord, KeyVersionRecord } from '../../projections/keys.ts'
import type { View } from '../../projections/view.ts'
import type { KeyUsageName } from '../../schemas/keys.ts'
import type { MaterialRef } from '../core/instruction.ts'
import { checkUsable, type UseKind } from '../core/lifecycle.ts'
import { fail, must, ok, type Result } from '../core/result.ts'
import { toCurrentVersion } from './keyBody.ts'
import type { Resolved } from './operation.ts'

/** A key version about to be used, with the backend that holds it. */
export interface Usable {
  readonly record: KeyRecord
  readonly backend: string
  readonly material: MaterialRef
}

/** The key at `index` of the resolved targets; the pipeline has refused what does not exist. */
export const takeKey = ({ keys }: Resolved, index = 0): KeyRecord => {
  const record = keys[index]
  must(record !== undefined, 'a plan was asked for without the key it is about')
  return record
}

/** A change that names the revision it was decided on is refused when the key has moved on. */
export const checkRevision = (input: { readonly if_revision?: number }, record: KeyRecord): Result<true> =>
  input.if_revision === undefined || input.if_revision === record.revision
    ? ok(true)
    : fail('REVISION_CONFLICT', `if_revision: the key is at revision ${record.revision}`)

/** Whether the metadata of a key may change: not once it is destroyed, nor if it has moved on since `if_revision`. */
export const checkChangeable = (input: { readonly if_revision?: number }, record: KeyRecord): Result<true> =>
  record.state === 'destroyed'
    ? fail('INVALID_STATE_TRANSITION', 'a key that is destroyed stays as it is')
    : checkRevision(input, record)

/** A version as an instruction names it. */
export const toMaterial = (record: KeyRecord, version: KeyVersionRecord): MaterialRef => ({
  lid: record.lid,
  version: version.version,
  spec: record.spec,
  sealedHandle: version.sealedHandle,
  ...(version.publicKey === undefined ? {} : { publicKey: version.publicKey }),
  ...(version.imported ? { imported: true } : {}),
})

/** Whether the effective state of a key allows a use; KEY_NOT_USABLE names the state. */
export const findUsableState = (view: View, record: KeyRecord, use: UseKind): Result<true> =>
  checkUsable(findEffectiveState(view.keys, record).state, use)

interface Wanted {
  readonly usage: KeyUsageName
  readonly use: UseKind
  /** The current version if absent. */
  readonly version?: number
}

/**
 * The version of a key that a use needs, if key and version allow it: INVALID_REQUEST for the wrong kind of key,
 * KEY_NOT_USABLE for a state, a missing material or a version that is gone, NOT_FOUND for one that never was.
 */
export const findUsable = (view: View, resolved: Resolved, record: KeyRecord, wanted: Wanted): Result<Usable> => {
  if (record.usage !== wanted.usage) return fail('INVALID_REQUEST', `the key is for ${record.usage}`)
  const usable = findUsableState(view, record, wanted.use)
  if (!usable.ok) return usable
  const version =
    wanted.version === undefined
      ? toCurrentVersion(record)
      : record.versions.find((candidate) => candidate.version === wanted.version)
  if (version === undefined) return fail('NOT_FOUND', 'the key has no such version')
  if (version.state !== 'enabled') return fail('KEY_NOT_USABLE', `version ${version.version} is ${version.state}`)
  if (resolved.facts.isMissing(record.lid, version.version))
    return fail('KEY_NOT_USABLE', `the HSM does not hold the material of version ${version.version}`)
  return ok({ record, backend: version.backend, material: toMaterial(record, version) })
}
