import type { KeyRecord } from '../../projections/keys.ts'
import type { Body, Request } from '../../schemas/registry.ts'
import type { Instruction } from '../core/instruction.ts'
import { fail, ok, type Result } from '../core/result.ts'
import { hashMessage } from '../core/signature.ts'
import { toFoldedKeyBody } from './keyBody.ts'
import {
  guardKey,
  type Operation,
  type Plan,
  planInstruction,
  planRecord,
  type Resolved,
  toClaim,
} from './operation.ts'
import { checkChangeable, checkRevision, findUsable, takeKey } from './use.ts'
import { findWrapping, toWrappingWarnings } from './wrapping.ts'

const checkExportable = (record: KeyRecord, version: number): Result<true> => {
  if (!record.createdExportable) return fail('KEY_NOT_USABLE', 'the key was not created exportable, and never will be')
  if (!record.exportable) return fail('KEY_NOT_USABLE', 'the exportability of the key is revoked')
  return record.versions.find((one) => one.version === version)?.extractable
    ? ok(true)
    : fail('KEY_NOT_USABLE', `version ${version} was made while the key was not exportable`)
}

export const getKeyMaterial: Operation<'GetKeyMaterial'> = {
  targets: (input) => ok([{ kind: 'key', action: 'kms:GetKeyMaterial', ref: input.key_id }]),

  plan(input, resolved) {
    const { view, facts } = resolved
    const record = takeKey(resolved)
    const revision = checkRevision(input, record)
    if (!revision.ok) return revision
    const wanted = input.key_version === undefined ? {} : { version: input.key_version }
    const usable = findUsable(view, resolved, record, { usage: record.usage, use: 'produce', ...wanted })
    if (!usable.ok) return usable
    const { backend, material } = usable.value
    const exportable = checkExportable(record, material.version)
    if (!exportable.ok) return exportable
    const wrapping = findWrapping(facts, backend, { spec: record.spec, algorithm: input.wrapping_algorithm })
    if (!wrapping.ok) return wrapping
    const instruction: Instruction & { kind: 'exportKey' } = {
      kind: 'exportKey',
      backend,
      key: material,
      algorithm: wrapping.value,
      wrappingPublicKey: input.wrapping_public_key,
    }
    const { lid, version } = material
    return ok(
      planInstruction(instruction, [guardKey(view, record, 'produce')], ({ wrapped }) => ({
        event: {
          type: 'KeyExported',
          data: {
            lid,
            version,
            algorithm: wrapping.value,
            wrapping_key_sha256: hashMessage('sha256', input.wrapping_public_key),
          },
        },
        resources: [{ lid, version }],
        toReply: () => ({
          wrapped_key_material: wrapped,
          wrapping_algorithm: wrapping.value,
          key_id: lid,
          key_version: version,
          ...toWrappingWarnings(wrapping.value),
        }),
      })),
    )
  },
}

type Name = 'MakeKeyExportable' | 'RevokeKeyExportability'

const planExportability = (
  input: Request<Name>,
  resolved: Resolved,
  exportable: boolean,
): Result<Plan<'MakeKeyExportable'>> => {
  const { view, facts } = resolved
  const record = takeKey(resolved)
  const changeable = checkChangeable(input, record)
  if (!changeable.ok) return changeable
  const { lid } = record
  if (!record.createdExportable)
    return fail('INVALID_STATE_TRANSITION', 'the key was not created exportable, and never will be')
  if (record.exportable === exportable)
    return fail('INVALID_STATE_TRANSITION', `the key is ${exportable ? '' : 'not '}exportable already`)
  return ok(
    planRecord<Body<'MakeKeyExportable'>>([guardKey(view, record)], () => ({
      event: { type: 'KeyExportabilitySet', data: { lid, exportable, ...toClaim(facts) } },
      resources: [{ lid }],
      toReply: (folded) => ({ key: toFoldedKeyBody(folded, lid, facts) }),
    })),
  )
}

export const makeKeyExportable: Operation<'MakeKeyExportable'> = {
  replay: ({ lid }, view, facts) => ({ key: toFoldedKeyBody(view, lid, facts) }),
  targets: (input) => ok([{ kind: 'key', action: 'kms:MakeKeyExportable', ref: input.key_id }]),
  plan: (input, resolved) => planExportability(input, resolved, true),
}

export const revokeKeyExportability: Operation<'RevokeKeyExportability'> = {
  replay: ({ lid }, view, facts) => ({ key: toFoldedKeyBody(view, lid, facts) }),
  targets: (input) => ok([{ kind: 'key', action: 'kms:RevokeKeyExportability', ref: input.key_id }]),
  plan: (input, resolved) => planExportability(input, resolved, false),
}
