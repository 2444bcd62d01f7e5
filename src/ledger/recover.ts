import type { NatsConnection } from '@nats-io/transport-node'
import type { EventOf } from '../../schemas/events.ts'
import { missUntil } from '../core/chain.ts'
import type { Pin } from '../core/chainState.ts'
import { createEventCheck } from '../core/eventCheck.ts'
import { digestOf, type Gap, startGap } from '../core/gap.ts'
import type { Anchor } from '../core/ledgerEvents.ts'
import type { Clock, Hsm, Scheduler, Telemetry } from '../core/ports.ts'
import { ok } from '../core/result.ts'
import { createAnchorWatch, type NamedMemory } from './anchors/watch.ts'
import type { Publication } from './commitStream.ts'
import { toServiceEnvelope } from './epoch.ts'
import { faulty, type LedgerResult } from './fault.ts'
import { skipLeaves } from './growth.ts'
import { checkNoWriter } from './readToEnd.ts'
import { readWhole, type Whole } from './readWhole.ts'
import { appendOffline, buildRootCommit } from './rootCommit.ts'
import { createVerifier, type Tip, toReached } from './tip.ts'
import type { TreeFile } from './treeFile.ts'

export interface RecoverOptions {
  /** The `kms-ledger` user: reads the stream and appends one commit. */
  readonly connection: NatsConnection
  readonly pin: Pin
  readonly hsm: Pick<Hsm, 'signAsRoot'>
  readonly backend: string
  readonly clock: Clock
  readonly scheduler: Scheduler
  readonly telemetry: Telemetry
}

/** What a recovery would do: nothing was written yet. */
export interface RecoveryPlan {
  readonly tip: Tip
  /** What stands after the last valid commit; empty (`to` = `from` − 1) where the ledger is merely shorter than an anchor. */
  readonly gap: Gap
  /** Why the first sequence of the gap is no commit. */
  readonly reason?: string
  /** Anchors that the recovered ledger will not meet: each must be given up by the operator's word. */
  readonly misfits: readonly (Anchor & { readonly name: string; readonly why: string })[]
}

/**
 * Reads the whole stream and says what a `LedgerRecovered` has to name. Faults: `unreachable`; `writer_lives` while a service
 * writes; `bad_commit` for what nothing can recover: another genesis, another order; `cannot_fold`.
 */
export const planRecovery = async (
  options: RecoverOptions,
  { memories, tree }: { readonly memories: readonly NamedMemory[]; readonly tree: TreeFile | undefined },
  signal: AbortSignal,
): Promise<LedgerResult<RecoveryPlan>> => {
  const { connection, pin, telemetry } = options
  const alone = await checkNoWriter(connection)
  if (!alone.ok) return alone
  const verifier = createVerifier(pin, createEventCheck())
  const watch = createAnchorWatch(memories)
  const whole = await readWhole({ connection, verifier, begin: { pin, watch, tree, telemetry } }, watch.see, signal)
  if (!whole.ok) return whole
  const tip = missTail(whole.value)
  if (tip.view.at.seq === 0)
    return faulty(
      'bad_commit',
      'the stream does not begin with the genesis of this ledger: there is nothing to go on from',
    )
  const { gap } = tip
  return ok({
    tip,
    gap: tip.chain.gap ?? startGap(tip.chain.seq + 1),
    ...(gap === undefined ? {} : { reason: gap.fault.message }),
    misfits: watch.misfits(tip).map(({ memory, fault }) => ({
      name: memory.name,
      why: fault.message,
      size: memory.size,
      hash: memory.hash ?? (memory.root === undefined ? UNKNOWN_HASH : Buffer.from(memory.root).toString('hex')),
    })),
  })
}

/** In `lost`, for an anchor that tells its size and nothing more. */
const UNKNOWN_HASH = '0'.repeat(64)

/** Messages that the stream counts and does not have any more, at its end. */
const missTail = ({ tip, lastSeq }: Whole): Tip => {
  const missing = lastSeq - toReached(tip)
  if (missing <= 0) return tip
  const leaves = skipLeaves(tip.gap?.leaves, { missing })
  const fault = {
    kind: 'bad_commit' as const,
    message: `the messages ${toReached(tip) + 1} to ${lastSeq} at the end of the stream are missing`,
  }
  return { ...tip, chain: missUntil(tip.chain, lastSeq), gap: { leaves, fault: tip.gap?.fault ?? fault } }
}

/** The operator's word: why, and which anchors are given up. */
export interface Word {
  readonly reason: string
  readonly lost: readonly Anchor[]
}

/**
 * Appends the `LedgerRecovered` of a plan, signed by `ledger-root`; gives the tip after it. Faults: `hsm`; `bad_commit` if the
 * stream has gone on since the plan was made.
 */
export const appendRecovery = async (
  options: RecoverOptions,
  plan: RecoveryPlan,
  word: Word,
  signal: AbortSignal,
): Promise<LedgerResult<Tip>> => {
  const made = await buildRecovered(options, plan, word, signal)
  if (!made.ok) return made
  const publication = made.value
  const appended = await appendOffline(options, { tip: plan.tip, publication, what: 'the recovery' }, signal)
  if (!appended.ok) return appended
  const { tip, unsettled } = appended.value
  return unsettled === undefined
    ? ok(tip)
    : faulty('bad_commit', `sequence ${publication.seq} could not be written (${unsettled}); run the recovery again`)
}

const buildRecovered = async (
  { pin, hsm, backend, clock }: RecoverOptions,
  { tip, gap }: RecoveryPlan,
  { reason, lost }: Word,
  signal: AbortSignal,
): Promise<LedgerResult<Publication>> => {
  const timeMs = clock.now()
  const event: EventOf<'LedgerRecovered'> = {
    ...toServiceEnvelope(pin.origin, 'LedgerRecovered', timeMs),
    type: 'LedgerRecovered',
    data: {
      from: gap.from,
      to: gap.to,
      digest: digestOf(gap),
      lost: lost.map(({ size, hash }) => ({ size, hash })),
      reason,
    },
  }
  const { origin, epoch, hash: prev, events: first, root } = tip.chain
  const place = { origin, epoch, seq: gap.to + 1, first, timeMs, prev }
  const built = await buildRootCommit(place, event, root.raw, (message) =>
    hsm.signAsRoot(backend, { root: root.raw, message }, signal),
  )
  return built.ok ? built : faulty('hsm', `the HSM cannot sign the recovery: ${built.error.message}`)
}
