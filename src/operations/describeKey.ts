import { ok } from '../core/result.ts'
import { toKeyBody } from './keyBody.ts'
import { guardKey, type Operation, planRecord } from './operation.ts'
import { takeKey } from './use.ts'

export const describeKey: Operation<'DescribeKey'> = {
  targets: (input) => ok([{ kind: 'key', action: 'kms:DescribeKey', ref: input.key_id }]),
  plan(_input, resolved) {
    const { view, facts } = resolved
    const record = takeKey(resolved)
    return ok(
      planRecord([guardKey(view, record)], () => ({
        event: { type: 'KeyDescribed', data: { lid: record.lid } },
        resources: [{ lid: record.lid }],
        toReply: () => ({ key: toKeyBody(view, record, facts) }),
      })),
    )
  },
}
