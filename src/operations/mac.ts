import type { KeyRecord } from '../../projections/keys.ts'
import type { MacAlgorithmName } from '../../schemas/keys.ts'
import type { Request } from '../../schemas/registry.ts'
import type { Instruction } from '../core/instruction.ts'
import { SPECS } from '../core/lifecycle.ts'
import { fail, ok, type Result } from '../core/result.ts'
import { guardKey, type Operation, planInstruction } from './operation.ts'
import { findUsable, takeKey } from './use.ts'

/** The one algorithm of the key's spec; a request may say it, and is refused when it says another. */
const findAlgorithm = (
  input: Request<'GenerateMac'> | Request<'VerifyMac'>,
  record: KeyRecord,
): Result<MacAlgorithmName> => {
  const { mac: own } = SPECS[record.spec]
  if (own === undefined) return fail('INVALID_REQUEST', `the key is for ${record.usage}`)
  return input.mac_algorithm === undefined || input.mac_algorithm === own
    ? ok(own)
    : fail('INVALID_REQUEST', `mac_algorithm: ${record.spec} authenticates with ${own}`)
}

export const generateMac: Operation<'GenerateMac'> = {
  targets: (input) => ok([{ kind: 'key', action: 'kms:GenerateMac', ref: input.key_id }]),
  plan(input, resolved) {
    const { view } = resolved
    const record = takeKey(resolved)
    const algorithm = findAlgorithm(input, record)
    if (!algorithm.ok) return algorithm
    const usable = findUsable(view, resolved, record, { usage: 'GENERATE_VERIFY_MAC', use: 'produce' })
    if (!usable.ok) return usable
    const { backend, material } = usable.value
    const instruction: Instruction & { kind: 'generateMac' } = {
      kind: 'generateMac',
      backend,
      key: material,
      algorithm: algorithm.value,
      message: input.message,
    }
    const used = { lid: material.lid, version: material.version }
    return ok(
      planInstruction(instruction, [guardKey(view, record, 'produce')], ({ mac }) => ({
        event: { type: 'MacGenerated', data: { ...used, algorithm: algorithm.value } },
        resources: [used],
        toReply: () => ({ mac, key_id: used.lid, key_version: used.version, mac_algorithm: algorithm.value }),
      })),
    )
  },
}

/** A MAC that is wrong, or of another length than the algorithm's, is `mac_valid` false and no error. */
export const verifyMac: Operation<'VerifyMac'> = {
  targets: (input) => ok([{ kind: 'key', action: 'kms:VerifyMac', ref: input.key_id }]),
  plan(input, resolved) {
    const { view } = resolved
    const record = takeKey(resolved)
    const algorithm = findAlgorithm(input, record)
    if (!algorithm.ok) return algorithm
    const usable = findUsable(view, resolved, record, {
      usage: 'GENERATE_VERIFY_MAC',
      use: 'consume',
      ...(input.key_version === undefined ? {} : { version: input.key_version }),
    })
    if (!usable.ok) return usable
    const { backend, material } = usable.value
    const instruction: Instruction & { kind: 'verifyMac' } = {
      kind: 'verifyMac',
      backend,
      key: material,
      algorithm: algorithm.value,
      message: input.message,
      mac: input.mac,
    }
    const used = { lid: material.lid, version: material.version }
    return ok(
      planInstruction(instruction, [guardKey(view, record, 'consume')], ({ valid }) => ({
        event: { type: 'MacVerified', data: { ...used, algorithm: algorithm.value, valid } },
        resources: [used],
        toReply: () => ({
          mac_valid: valid,
          key_id: used.lid,
          key_version: used.version,
          mac_algorithm: algorithm.value,
        }),
      })),
    )
  },
}
