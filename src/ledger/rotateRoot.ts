import type { EventOf } from '../../schemas/events.ts'
import { toRootAttestation } from '../core/ledgerEvents.ts'
import type { Clock, Hsm, Scheduler } from '../core/ports.ts'
import { ok, type Result } from '../core/result.ts'
import type { Publication } from './commitStream.ts'
import { toServiceEnvelope } from './epoch.ts'
import { faulty, type LedgerResult } from './fault.ts'
import { checkNoWriter, type ReadGoal, type ReadOptions, readToEnd } from './readToEnd.ts'
import { appendOffline, buildRootCommit } from './rootCommit.ts'
import type { Tip } from './tip.ts'

export interface RotateOptions extends ReadOptions {
  readonly hsm: Pick<Hsm, 'createNextRoot' | 'signAsRoot'>
  readonly backend: string
  readonly clock: Clock
  readonly scheduler: Scheduler
}

/** Where the ledger is: nothing was written yet. */
export interface RotationPlan {
  readonly tip: Tip
  /** The newest root has not attested an epoch yet, so it cannot be replaced: an earlier rotation has only to be finished. */
  readonly isPending: boolean
}

/** Reads and verifies the whole ledger. Faults: `writer_lives` while a service writes; those of {@link readToEnd}. */
export const planRotation = async (
  options: RotateOptions,
  goal: ReadGoal,
  signal: AbortSignal,
): Promise<LedgerResult<RotationPlan>> => {
  const alone = await checkNoWriter(options.connection)
  if (!alone.ok) return alone
  const tip = await readToEnd(options, goal, signal)
  return tip.ok ? ok({ tip: tip.value, isPending: tip.value.chain.expects === 'epoch' }) : tip
}

/**
 * Appends the `RootRotated` that replaces the root in force by one that the HSM holds beside it, made now or by an attempt that was
 * interrupted; gives the tip after it. Faults: `hsm`; `bad_commit` if somebody has written since the plan was made. Whatever the
 * fault, no root is lost: a commit in doubt may yet be taken, and the token keeps the root it names.
 */
export const appendRotation = async (
  options: RotateOptions,
  tip: Tip,
  signal: AbortSignal,
): Promise<LedgerResult<Tip>> => {
  const built = await buildRotated(options, tip, signal)
  if (!built.ok) return faulty('hsm', `the HSM cannot make or use the new root: ${built.error.message}`)
  const publication = built.value
  const appended = await appendOffline(options, { tip, publication, what: 'the rotation' }, signal)
  if (!appended.ok) return appended
  const { tip: next, unsettled } = appended.value
  return unsettled === undefined
    ? ok(next)
    : faulty(
        'bad_commit',
        `sequence ${publication.seq} could not be written (${unsettled}); run the rotation again: it goes on where this one ended`,
      )
}

const buildRotated = async (
  { hsm, backend, clock }: RotateOptions,
  { chain, roots }: Tip,
  signal: AbortSignal,
): Promise<Result<Publication>> => {
  const { origin, epoch, hash: prev, events: first, root } = chain
  const seq = chain.seq + 1
  const known = roots.map(({ key }) => key.raw)
  const made = await hsm.createNextRoot(backend, known, signal)
  if (!made.ok) return made
  const publicKey = made.value
  const attested = toRootAttestation({ origin, seq, prev, publicKey })
  const signatureNew = await hsm.signAsRoot(backend, { root: publicKey, message: attested }, signal)
  if (!signatureNew.ok) return signatureNew
  const timeMs = clock.now()
  const event: EventOf<'RootRotated'> = {
    ...toServiceEnvelope(origin, 'RootRotated', timeMs),
    type: 'RootRotated',
    data: { public_key: publicKey, signature_new: signatureNew.value },
  }
  return buildRootCommit({ origin, epoch, seq, first, timeMs, prev }, event, root.raw, (message) =>
    hsm.signAsRoot(backend, { root: root.raw, message }, signal),
  )
}
