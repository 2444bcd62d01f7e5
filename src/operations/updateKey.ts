import { fail, ok } from '../core/result.ts'
import { toFoldedKeyBody } from './keyBody.ts'
import { guardKey, type Operation, planRecord, toClaim } from './operation.ts'
import { checkRevision, takeKey } from './use.ts'

export const updateKey: Operation<'UpdateKey'> = {
  replay: ({ lid }, view, facts) => ({ key: toFoldedKeyBody(view, lid, facts) }),
  targets: (input) => ok([{ kind: 'key', action: 'kms:UpdateKey', ref: input.key_id }]),
  plan(input, resolved) {
    const { view, facts } = resolved
    const record = takeKey(resolved)
    const revision = checkRevision(input, record)
    if (!revision.ok) return revision
    if (record.state === 'destroyed') return fail('INVALID_STATE_TRANSITION', 'a key that is destroyed stays as it is')
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
