import { countLivingDescendants } from '../../projections/hierarchy.ts'
import type { KeyRecord } from '../../projections/keys.ts'
import type { View } from '../../projections/view.ts'
import type { RotationCause } from '../../schemas/keys.ts'
import { LIMITS } from '../../schemas/limits.ts'
import type { Body } from '../../schemas/registry.ts'
import type { Instruction } from '../core/instruction.ts'
import { fail, ok, type Result } from '../core/result.ts'
import { toCurrentVersion, toFoldedKeyBody } from './keyBody.ts'
import { toMaterialData, toUndoing } from './newKey.ts'
import {
  type Facts,
  guardBackend,
  guardKey,
  type Operation,
  type PlanAs,
  planInstruction,
  toClaim,
} from './operation.ts'
import { NO_BACKEND } from './placement.ts'
import { checkRevision, findUsableState, takeKey } from './use.ts'

/** Why a key gets a version, and where; on the backend of the one before if absent. */
export interface Rotation {
  readonly cause: RotationCause
  readonly backend?: string
}

/**
 * The plan that adds a version to a key: KEY_NOT_USABLE unless it may produce, KEY_EXHAUSTED when it has all the versions
 * a key may have, UNSUPPORTED_BY_HSM. The version's number is the next one; if the ledger refuses the record, the object
 * goes again, and a process that dies in between leaves it to the sweep.
 */
export const planRotation = (
  view: View,
  facts: Facts,
  record: KeyRecord,
  { cause, backend = toCurrentVersion(record).backend }: Rotation,
): Result<PlanAs<Body<'RotateKey'>>> => {
  const usable = findUsableState(view, record, 'produce')
  if (!usable.ok) return usable
  if (record.versions.length >= LIMITS.keyVersionsMax)
    return fail('KEY_EXHAUSTED', `a key may have ${LIMITS.keyVersionsMax} versions; make a new one and move to it`)
  const { lid, spec, exportable } = record
  if (!facts.supports(backend, spec)) return fail('UNSUPPORTED_BY_HSM', `the HSM backend has no mechanism for ${spec}`)
  const version = record.currentVersion + 1
  const instruction: Instruction & { kind: 'generateKey' } = {
    kind: 'generateKey',
    backend,
    lid,
    version,
    spec,
    epoch: view.at.epoch,
    exportable,
  }
  return ok(
    planInstruction(instruction, [guardKey(view, record, 'produce'), ...guardBackend(view, backend)], (output) => ({
      event: {
        type: 'KeyRotated',
        data: { lid, version, cause, material: toMaterialData({ backend, ...output }), ...toClaim(facts) },
      },
      resources: [{ lid, version }],
      toReply: (folded) => toReply(folded, lid, version, facts),
      compensation: toUndoing(backend, { lid, version, spec, sealedHandle: output.sealedHandle }),
    })),
  )
}

const toReply = (view: View, lid: KeyRecord['lid'] | undefined, version: number, facts: Facts): Body<'RotateKey'> => ({
  key: toFoldedKeyBody(view, lid, facts),
  new_version: version,
  rotation_jobs: lid === undefined ? 0 : countLivingDescendants(view.keys, view.hierarchy, lid),
})

export const rotateKey: Operation<'RotateKey'> = {
  replay: ({ lid, version = 1 }, view, facts) => toReply(view, lid, version, facts),
  targets: (input) => ok([{ kind: 'key', action: 'kms:RotateKey', ref: input.key_id }]),
  plan(input, { view, facts, keys }) {
    const record = takeKey({ view, facts, keys })
    const revision = checkRevision(input, record)
    if (!revision.ok) return revision
    const { backend_id: backend } = input
    if (backend === undefined) return planRotation(view, facts, record, { cause: 'request' })
    // Who may not place keys on a backend learns nothing of it, except where the key is already.
    return backend === toCurrentVersion(record).backend || facts.hasBackend(backend)
      ? planRotation(view, facts, record, { cause: 'request', backend })
      : NO_BACKEND
  },
}
