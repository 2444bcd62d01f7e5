import type { Instruction } from '../core/instruction.ts'
import { ok } from '../core/result.ts'
import { type Operation, planInstruction } from './operation.ts'

export const generateRandom: Operation<'GenerateRandom'> = {
  targets: () => ok([{ kind: 'service', action: 'kms:GenerateRandom' }]),
  plan({ number_of_bytes: count }, { facts }) {
    const instruction: Instruction & { kind: 'random' } = {
      kind: 'random',
      backend: facts.defaultBackend,
      bytes: count,
    }
    return ok(
      planInstruction(instruction, [], ({ bytes }) => ({
        event: { type: 'RandomGenerated', data: { bytes: count } },
        resources: [],
        toReply: () => ({ random_bytes: bytes.expose() }),
        secrets: [bytes],
      })),
    )
  },
}
