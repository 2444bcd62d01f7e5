import { ok } from '../core/result.ts'
import { toFoldedKeyBody } from './keyBody.ts'
import { guardKey, type Operation, planRecord, toClaim } from './operation.ts'
import { checkChangeable, takeKey } from './use.ts'

export const updateKey: Operation<'UpdateKey'> = {
  replay: ({ lid }, view, facts) => ({ key: toFoldedKeyBody(view, lid, facts) }),
  targets: (input) => ok([{ kind: 'key', action: 'kms:UpdateKey', ref: input.key_id }]),
  plan(input, resolved) {
    const { view, facts } = resolved
    const record = takeKey(resolved)
    const changeable = checkChangeable(input, record)
    if (!changeable.ok) return changeable
    const { lid } = record
    return ok(
      planRecord([guardKey(view, record)], () => ({
        event: { type: 'KeyUpdated', data: { lid, description: input.description, ...toClaim(facts) } },
        resources: [{ lid }],
        toReply: (folded) => ({ key: toFoldedKeyBody(folded, lid, facts) }),
      })),
    )
  },
}
