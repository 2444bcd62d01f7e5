import type { LedgerStatus } from '../core/ports.ts'
import type { Life } from './life.ts'
import type { StorageWatch } from './storageUse.ts'

/** How a running ledger is, at this moment. */
export const toStatus = (
  { options, state, queue, checkpoints, snapshots }: Life,
  storage: Pick<StorageWatch, 'use'>,
): LedgerStatus => {
  const { tip, role, committer, alarm } = state
  const { epoch, seq, hash } = tip.view.at
  const snapshot = snapshots?.newest()
  const use = storage.use()
  return {
    ...{ role, epoch, seq, hash },
    queued: queue.size,
    inDoubt: committer?.phase === 'in_doubt' || committer?.phase === 'overdue',
    ...(committer?.phase === 'overdue' ? { overdue: true } : {}),
    ...(committer?.isExpired === true ? { expired: true } : {}),
    checkpoints: checkpoints.status(),
    ...(snapshot === undefined ? {} : { snapshot: { seq: snapshot.seq, ageMs: options.clock.now() - snapshot.atMs } }),
    ...(use === undefined ? {} : { storage: use }),
    ...(alarm === undefined ? {} : { alarm: alarm.message }),
  }
}
