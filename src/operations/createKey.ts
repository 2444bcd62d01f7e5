import type { Instruction } from '../core/instruction.ts'
import { ok } from '../core/result.ts'
import { prepareNewKey, toCreated, toNewKeyTargets, toUndoing } from './newKey.ts'
import { type Operation, planInstruction } from './operation.ts'

export const createKey: Operation<'CreateKey'> = {
  replay: ({ lid }, view, facts) => toCreated(view, lid, facts),
  targets: (input, facts, view) => toNewKeyTargets(input, { facts, view }, 'kms:CreateKey'),

  plan(input, resolved) {
    const { view, facts } = resolved
    const prepared = prepareNewKey(input, resolved)
    if (!prepared.ok) return prepared
    const { lid, backend, exportable, guards, toData } = prepared.value
    const made = { lid, version: 1, spec: input.key_spec } as const
    const instruction: Instruction & { kind: 'generateKey' } = {
      kind: 'generateKey',
      backend,
      ...made,
      epoch: view.at.epoch,
      exportable,
    }
    return ok(
      planInstruction(instruction, guards, (output) => ({
        event: { type: 'KeyCreated', data: toData({ backend, ...output }) },
        resources: [{ lid, version: 1 }],
        toReply: (folded) => toCreated(folded, lid, facts),
        compensation: toUndoing(backend, { ...made, sealedHandle: output.sealedHandle }),
      })),
    )
  },
}
