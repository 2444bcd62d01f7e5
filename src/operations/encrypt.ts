import { encodeContext, encodeHeader } from '../core/ciphertext.ts'
import type { Instruction } from '../core/instruction.ts'
import { ok } from '../core/result.ts'
import { Sensitive } from '../core/sensitive.ts'
import { guardBudget } from './budget.ts'
import { guardKey, type Operation, planInstruction } from './operation.ts'
import { findUsable, takeKey } from './use.ts'

export const encrypt: Operation<'Encrypt'> = {
  targets(input) {
    const context = encodeContext(input.encryption_context)
    return context.ok
      ? ok([{ kind: 'key', action: 'kms:Encrypt', ref: input.key_id, contextBytes: context.value }])
      : context
  },
  plan(input, resolved) {
    const { view, facts } = resolved
    const record = takeKey(resolved)
    const context = encodeContext(input.encryption_context)
    if (!context.ok) return context
    const usable = findUsable(view, resolved, record, { usage: 'ENCRYPT_DECRYPT', use: 'produce' })
    if (!usable.ok) return usable
    const { backend, material } = usable.value
    const budget = guardBudget(view, material)
    if (!budget.ok) return budget
    const { lid, version } = material
    const instruction: Instruction & { kind: 'encrypt' } = {
      kind: 'encrypt',
      backend,
      key: material,
      header: encodeHeader({ lid, version }),
      context: context.value,
      plaintext: new Sensitive(input.plaintext),
    }
    const contextHash = facts.hashContext(context.value)
    return ok(
      planInstruction(instruction, [guardKey(view, record, 'produce'), budget.value], ({ blob }) => ({
        event: { type: 'DataEncrypted', data: { lid, version } },
        resources: [{ lid, version }],
        ...(contextHash === undefined ? {} : { contextHash }),
        toReply: () => ({ ciphertext_blob: blob, key_id: lid, key_version: version }),
      })),
    )
  },
}
