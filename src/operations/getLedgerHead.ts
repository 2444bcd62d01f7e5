import { ok } from '../core/result.ts'
import { type Operation, planRecord } from './operation.ts'

export const getLedgerHead: Operation<'GetLedgerHead'> = {
  targets: () => ok([{ kind: 'service', action: 'kms:GetLedgerHead' }]),
  plan(_input, { view: { at }, facts }) {
    const checkpoint = facts.newestCheckpoint()
    return ok(
      planRecord([], () => ({
        event: { type: 'LedgerHeadRead', data: {} },
        resources: [],
        toReply: () => ({
          origin: at.origin,
          size: at.seq,
          hash: at.hash,
          epoch: at.epoch,
          ...(checkpoint === undefined ? {} : { checkpoint }),
        }),
      })),
    )
  },
}
