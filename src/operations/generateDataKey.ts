import type { Body, Request } from '../../schemas/registry.ts'
import { encodeContext, encodeHeader } from '../core/ciphertext.ts'
import type { Instruction } from '../core/instruction.ts'
import { fail, must, ok, type Result } from '../core/result.ts'
import type { Sensitive } from '../core/sensitive.ts'
import { guardBudget } from './budget.ts'
import {
  guardKey,
  type Operation,
  type Plan,
  planInstruction,
  type Recorded,
  type Resolved,
  type Target,
} from './operation.ts'
import { findUsable, takeKey } from './use.ts'

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
  const { view, facts } = resolved
  const record = takeKey(resolved)
  const bytes = findLength(input)
  if (!bytes.ok) return bytes
  const context = encodeContext(input.encryption_context)
  if (!context.ok) return context
  const usable = findUsable(view, resolved, record, { usage: 'ENCRYPT_DECRYPT', use: 'produce' })
  if (!usable.ok) return usable
  const { backend, material } = usable.value
  const budget = guardBudget(view, material)
  if (!budget.ok) return budget
  const { lid, version } = material
  const instruction: Instruction & { kind: 'generateDataKey' } = {
    kind: 'generateDataKey',
    backend,
    key: material,
    header: encodeHeader(material),
    context: context.value,
    bytes: bytes.value,
    returnPlaintext,
  }
  const contextHash = facts.hashContext(context.value)
  return ok(
    planInstruction<N, typeof instruction>(
      instruction,
      [guardKey(view, record, 'produce'), budget.value],
      (output) => ({
        event: {
          type: 'DataKeyGenerated',
          data: { lid, version, bytes: bytes.value, plaintext_returned: returnPlaintext },
        },
        resources: [{ lid, version }],
        ...(contextHash === undefined ? {} : { contextHash }),
        ...finish({ ...output, body: { encrypted_data_key: output.blob, key_id: lid, key_version: version } }),
      }),
    ),
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
