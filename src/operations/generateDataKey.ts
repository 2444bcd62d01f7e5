import type { Body, Request } from '../../schemas/registry.ts'
import { encodeContext } from '../core/ciphertext.ts'
import type { Instruction } from '../core/instruction.ts'
import { fail, must, ok, type Result } from '../core/result.ts'
import type { Sensitive } from '../core/sensitive.ts'
import { prepareMessage } from './message.ts'
import { type Operation, type Plan, planInstruction, type Recorded, type Resolved, type Target } from './operation.ts'

type Input = Request<'GenerateDataKey'>
type Name = 'GenerateDataKey' | 'GenerateDataKeyWithoutPlaintext'

const DATA_KEY_BYTES = { AES_256: 32, AES_128: 16 } as const

const findLength = (input: Input): Result<number> => {
  if (input.number_of_bytes !== undefined && input.key_spec !== undefined)
    return fail('INVALID_REQUEST', 'key_spec and number_of_bytes exclude each other')
  return ok(input.number_of_bytes ?? DATA_KEY_BYTES[input.key_spec ?? 'AES_256'])
}

const toTargets = (name: Name, input: Input): Result<readonly Target[]> => {
  const context = encodeContext(input.encryption_context)
  return context.ok
    ? ok([{ kind: 'key', action: `kms:${name}`, ref: input.key_id, contextBytes: context.value }])
    : context
}

interface Made {
  readonly plaintext?: Sensitive
  readonly body: Body<'GenerateDataKeyWithoutPlaintext'>
}

const planDataKey = <N extends Name>(
  input: Input,
  resolved: Resolved,
  returnPlaintext: boolean,
  finish: (made: Made) => Pick<Recorded<N>, 'toReply' | 'secrets'>,
): Result<Plan<N>> => {
  const bytes = findLength(input)
  if (!bytes.ok) return bytes
  const message = prepareMessage(resolved, input.encryption_context)
  if (!message.ok) return message
  const { backend, material, header, context, recorded, guards } = message.value
  const { lid, version } = material
  const instruction: Instruction & { kind: 'generateDataKey' } = {
    kind: 'generateDataKey',
    backend,
    key: material,
    header,
    context,
    bytes: bytes.value,
    returnPlaintext,
  }
  return ok(
    planInstruction<Body<N>, typeof instruction>(instruction, guards, (output) => ({
      event: {
        type: 'DataKeyGenerated',
        data: { lid, version, bytes: bytes.value, plaintext_returned: returnPlaintext },
      },
      resources: [{ lid, version }],
      ...recorded,
      ...finish({ ...output, body: { encrypted_data_key: output.blob, key_id: lid, key_version: version } }),
    })),
  )
}

export const generateDataKey: Operation<'GenerateDataKey'> = {
  targets: (input) => toTargets('GenerateDataKey', input),
  plan: (input, resolved) =>
    planDataKey(input, resolved, true, ({ plaintext, body }) => {
      must(plaintext !== undefined, 'the HSM gave no plaintext data key')
      return { toReply: () => ({ plaintext_data_key: plaintext.expose(), ...body }), secrets: [plaintext] }
    }),
}

export const generateDataKeyWithoutPlaintext: Operation<'GenerateDataKeyWithoutPlaintext'> = {
  targets: (input) => toTargets('GenerateDataKeyWithoutPlaintext', input),
  plan: (input, resolved) => planDataKey(input, resolved, false, ({ body }) => ({ toReply: () => body })),
}
