import type { Body, Request } from '../../schemas/registry.ts'
import { encodeContext } from '../core/ciphertext.ts'
import type { Instruction, Outputs } from '../core/instruction.ts'
import { fail, must, ok, type Result } from '../core/result.ts'
import { prepareMessage } from './message.ts'
import { type Operation, type Plan, planInstruction, type Recorded, type Resolved, type Target } from './operation.ts'

type Name = 'GenerateDataKeyPair' | 'GenerateDataKeyPairWithoutPlaintext'
type Input = Request<Name>
type Output = Outputs['generateDataKeyPair']

const toTargets = (name: Name, input: Input): Result<readonly Target[]> => {
  const context = encodeContext(input.encryption_context)
  return context.ok
    ? ok([{ kind: 'key', action: `kms:${name}`, ref: input.key_id, contextBytes: context.value }])
    : context
}

type Finish<N extends Name> = (
  output: Output,
  body: Body<'GenerateDataKeyPairWithoutPlaintext'>,
) => Pick<Recorded<N>, 'toReply' | 'secrets'>

/** One message under the key, whatever the pair: it counts against the nonce budget like a data key. */
const planPair = <N extends Name>(
  input: Input,
  resolved: Resolved,
  returnPlaintext: boolean,
  finish: Finish<N>,
): Result<Plan<N>> => {
  const message = prepareMessage(resolved, input.encryption_context)
  if (!message.ok) return message
  const { backend, material, header, context, recorded, guards } = message.value
  const pairSpec = input.key_pair_spec
  if (!resolved.facts.supports(backend, pairSpec))
    return fail('UNSUPPORTED_BY_HSM', `the HSM backend has no mechanism for ${pairSpec}`)
  const { lid, version } = material
  const instruction: Instruction & { kind: 'generateDataKeyPair' } = {
    kind: 'generateDataKeyPair',
    backend,
    key: material,
    header,
    context,
    pairSpec,
    returnPlaintext,
  }
  return ok(
    planInstruction<Body<N>, typeof instruction>(instruction, guards, (output) => ({
      event: {
        type: 'DataKeyPairGenerated',
        data: { lid, version, pair_spec: pairSpec, plaintext_returned: returnPlaintext },
      },
      resources: [{ lid, version }],
      ...recorded,
      ...finish(output, {
        public_key: output.publicKey,
        encrypted_private_key: output.blob,
        key_pair_spec: pairSpec,
        key_id: lid,
        key_version: version,
      }),
    })),
  )
}

export const generateDataKeyPair: Operation<'GenerateDataKeyPair'> = {
  targets: (input) => toTargets('GenerateDataKeyPair', input),
  plan: (input, resolved) =>
    planPair<'GenerateDataKeyPair'>(input, resolved, true, ({ plaintext }, body) => {
      must(plaintext !== undefined, 'the HSM gave no plaintext private key')
      return { toReply: () => ({ plaintext_private_key: plaintext.expose(), ...body }), secrets: [plaintext] }
    }),
}

export const generateDataKeyPairWithoutPlaintext: Operation<'GenerateDataKeyPairWithoutPlaintext'> = {
  targets: (input) => toTargets('GenerateDataKeyPairWithoutPlaintext', input),
  plan: (input, resolved) =>
    planPair<'GenerateDataKeyPairWithoutPlaintext'>(input, resolved, false, (_output, body) => ({
      toReply: () => body,
    })),
}
