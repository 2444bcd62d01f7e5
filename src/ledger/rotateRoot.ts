import type { NatsConnection } from '@nats-io/transport-node'
import type { EventOf } from '../../schemas/events.ts'
import type { Pin } from '../core/chainState.ts'
import { createEventCheck } from '../core/eventCheck.ts'
import { toRootAttestation } from '../core/ledgerEvents.ts'
import type { Clock, Hsm, Scheduler, Telemetry } from '../core/ports.ts'
import { ok, type Result } from '../core/result.ts'
import { createAnchorWatch, type NamedMemory } from './anchors/watch.ts'
import type { Publication } from './commitStream.ts'
import { askForWriter } from './election.ts'
import { toServiceEnvelope } from './epoch.ts'
import { faulty, type LedgerResult } from './fault.ts'
import { readWhole } from './readWhole.ts'
import { appendRootCommit, buildRootCommit } from './rootCommit.ts'
import { createVerifier, type Tip } from './tip.ts'

export interface RotateOptions {
  /** The `kms-ledger` user: reads the stream and appends one commit. */
  readonly connection: NatsConnection
  readonly pin: Pin
  readonly hsm: Pick<Hsm, 'createNextRoot' | 'signAsRoot'>
  readonly backend: string
  readonly clock: Clock
  readonly scheduler: Scheduler
  readonly telemetry: Telemetry
}

/** Where the ledger is: nothing was written yet. */
export interface RotationPlan {
  readonly tip: Tip
  /** The newest root has not attested an epoch yet, so it cannot be replaced: an earlier rotation has only to be finished. */
  readonly isPending: boolean
}

/**
 * Reads and verifies the whole ledger as a start does, and tells `onStep` of each commit. Faults: `writer_lives` while a service
 * writes; `bad_commit` if something is to be recovered first, or no epoch was opened since genesis; `cannot_fold`; those of the
 * anchors, which must agree.
 */
export const planRotation = async (
  { connection, pin }: RotateOptions,
  {
    memories,
    onStep,
  }: { readonly memories: readonly NamedMemory[]; readonly onStep: (before: Tip, after: Tip) => void },
  signal: AbortSignal,
): Promise<LedgerResult<RotationPlan>> => {
  if ((await askForWriter(connection)) === 'alive')
    return faulty('writer_lives', 'a service writes this ledger: stop it first')
  const watch = createAnchorWatch(memories)
  const see = (before: Tip, after: Tip): void => {
    watch.see(before, after)
    onStep(before, after)
  }
  const whole = await readWhole({ connection, verifier: createVerifier(pin, createEventCheck()) }, see, signal)
  if (!whole.ok) return whole
  const { tip, lastSeq } = whole.value
  if (tip.gap !== undefined) return { ok: false, error: tip.gap.fault }
  if (tip.view.at.seq < lastSeq)
    return faulty(
      'bad_commit',
      `the messages ${tip.view.at.seq + 1} to ${lastSeq} at the end of the stream are missing`,
    )
  const fault = watch.judge(tip)
  if (fault !== undefined) return { ok: false, error: fault }
  if (tip.view.at.epoch === 0)
    return faulty(
      'bad_commit',
      'no service has opened an epoch of this ledger yet: there is nothing that a root has attested',
    )
  return ok({ tip, isPending: tip.chain.expects === 'epoch' })
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
  const appended = await appendRootCommit(options, { tip, publication, what: 'the rotation' }, signal)
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
