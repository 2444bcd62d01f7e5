import { encodeContext } from '../core/ciphertext.ts'
import type { Instruction } from '../core/instruction.ts'
import { ok } from '../core/result.ts'
import { Sensitive } from '../core/sensitive.ts'
import { prepareMessage } from './message.ts'
import { type Operation, planInstruction } from './operation.ts'

export const encrypt: Operation<'Encrypt'> = {
  targets(input) {
    const context = encodeContext(input.encryption_context)
    return context.ok
      ? ok([{ kind: 'key', action: 'kms:Encrypt', ref: input.key_id, contextBytes: context.value }])
      : context
  },
  plan(input, resolved) {
    const message = prepareMessage(resolved, input.encryption_context)
    if (!message.ok) return message
    const { backend, material, header, context, recorded, guards } = message.value
    const { lid, version } = material
    const instruction: Instruction & { kind: 'encrypt' } = {
      kind: 'encrypt',
      backend,
      key: material,
      header,
      context,
      plaintext: new Sensitive(input.plaintext),
    }
    return ok(
      planInstruction(instruction, guards, ({ blob }) => ({
        event: { type: 'DataEncrypted', data: { lid, version } },
        resources: [{ lid, version }],
        ...recorded,
        toReply: () => ({ ciphertext_blob: blob, key_id: lid, key_version: version }),
      })),
    )
  },
}
