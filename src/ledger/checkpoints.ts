import { LIMITS } from '../../schemas/limits.ts'
import { type Checkpoint, toCheckpointText } from '../core/checkpoint.ts'
import { rootOf } from '../core/compactRange.ts'
import type { CheckpointStatus, Clock, Scheduler, Telemetry } from '../core/ports.ts'
import { ok, type Result } from '../core/result.ts'
import { type NoteKey, type NoteSignature, toNoteSignature, verifyNote } from '../core/signedNote.ts'
import { createAgreement } from './anchors/agreement.ts'
import type { Anchor, Kept, SignedCheckpoint } from './anchors/anchor.ts'
import { describeError } from './fault.ts'
import type { Tip } from './tip.ts'
import type { TreeFile } from './treeFile.ts'

export interface CheckpointsOptions {
  readonly anchors: readonly Anchor[]
  /** How many anchors must have a checkpoint, and how many of them must be witnesses, before it counts as anchored. */
  readonly required: number
  readonly requiredWitnesses: number
  /** By the root key of that raw public key: the one in force. */
  sign(
    signed: { readonly root: Uint8Array; readonly checkpoint: Checkpoint },
    signal: AbortSignal,
  ): Promise<Result<Uint8Array>>
  /** Nothing while the tree is of no use; then witnesses cannot be asked. */
  tree(): Pick<TreeFile, 'consistency' | 'flush'> | undefined
  readonly clock: Clock
  readonly scheduler: Scheduler
  readonly telemetry: Telemetry
  readonly intervalMs: number
  readonly witnessIntervalMs: number
}

/** What became of one round: the checkpoint, and what each anchor that was asked said. */
export interface Round {
  readonly signed: SignedCheckpoint
  readonly answers: readonly { readonly anchor: Anchor; readonly kept: Kept }[]
}

export interface Checkpoints {
  /**
   * There is something new, and this process is the writer: a checkpoint of it follows within `intervalMs`, and not sooner
   * after the one before. Neither the HSM nor an anchor delays a commit.
   */
  note(tip: Tip): void
  /** Signs the tip and asks these anchors, or all, now. Fails if it cannot be signed. */
  round(tip: Tip, signal: AbortSignal, asked?: readonly Anchor[]): Promise<Result<Round, string>>
  /** The newest one, with the cosignatures it has; of this process only. */
  latest(): SignedCheckpoint | undefined
  status(): CheckpointStatus
  /** A last round if something new was noted, within `checkpointStopMs`; then nothing more. */
  close(): Promise<void>
}

/** Signs the ledger's tree as it grows, and hands it to the anchors. One round at a time. */
export const createCheckpoints = (options: CheckpointsOptions): Checkpoints => {
  const { anchors, clock, scheduler, telemetry } = options
  const agreement = createAgreement(options)
  let noted: Tip | undefined
  let latest: SignedCheckpoint | undefined
  let witnessedAtMs = Number.NEGATIVE_INFINITY
  let running: Promise<unknown> | undefined
  let cancel: (() => void) | undefined
  let isClosed = false
  let isFailing = false
  const stopping = new AbortController()

  const round = async (tip: Tip, asked: readonly Anchor[], signal: AbortSignal): Promise<Result<Round, string>> => {
    const made = await signTip(options, tip, signal)
    if (!made.ok) return made
    await flushTree(options)
    const [witnesses, others] = [asked.filter(({ witness }) => witness), asked.filter(({ witness }) => !witness)]
    // Witnesses first, so that what the others store has their cosignatures.
    const seen = await askAll(options, made.value, witnesses, signal)
    const signed = addCosignatures(made.value, seen)
    latest = signed
    const kept = await askAll(options, signed, others, signal)
    const answers = [...seen, ...kept]
    for (const { anchor, kept: one } of answers) agreement.note(anchor, one, signed)
    return ok({ signed, answers })
  }
  const runRound = async (): Promise<void> => {
    const tip = noted
    if (tip === undefined || tip.tree.range.size === latest?.checkpoint.size) return
    const isWitnessed = clock.now() - witnessedAtMs >= options.witnessIntervalMs
    const asked = anchors.filter(({ witness }) => isWitnessed || witness === undefined)
    if (isWitnessed) witnessedAtMs = clock.now()
    const signal = AbortSignal.any([stopping.signal, AbortSignal.timeout(LIMITS.checkpointDeadlineMs)])
    const done = await round(tip, asked, signal)
    if (!done.ok !== isFailing)
      telemetry.log(done.ok ? 'info' : 'warn', done.ok ? 'checkpoints are signed again' : 'no checkpoint was signed', {
        size: tip.tree.range.size,
        ...(done.ok ? {} : { why: done.error }),
      })
    isFailing = !done.ok
  }
  const start = (): void => {
    cancel = undefined
    running = runRound()
      .catch((error: unknown) => telemetry.log('error', 'a checkpoint failed', { error: describeError(error) }))
      .finally(() => {
        running = undefined
        if (noted !== undefined && noted.tree.range.size !== latest?.checkpoint.size) schedule()
      })
  }
  const schedule = (): void => {
    if (isClosed || cancel !== undefined || running !== undefined) return
    cancel = scheduler.after(options.intervalMs, start)
  }
  return {
    note(tip) {
      noted = tip
      schedule()
    },
    round: (tip, signal, asked = anchors) => round(tip, asked, signal),
    latest: () => latest,
    status: () => agreement.status(latest, clock.now()),
    async close() {
      if (isClosed) return
      isClosed = true
      cancel?.()
      const stop = scheduler.after(LIMITS.checkpointStopMs, () => stopping.abort())
      await running
      // Whoever stops may have done the last thing that a witness ever sees.
      witnessedAtMs = Number.NEGATIVE_INFINITY
      await runRound().catch((error: unknown) =>
        telemetry.log('error', 'the last checkpoint failed', { error: describeError(error) }),
      )
      stop()
      await flushTree(options)
    },
  }
}

const flushTree = async ({ tree, telemetry }: CheckpointsOptions): Promise<void> => {
  try {
    await tree()?.flush()
  } catch (error) {
    telemetry.log('error', 'the tree file could not be written', { error: describeError(error) })
  }
}

const signTip = async (
  { sign, clock }: CheckpointsOptions,
  { chain, tree }: Tip,
  signal: AbortSignal,
): Promise<Result<SignedCheckpoint, string>> => {
  const { origin, root } = chain
  const checkpoint = { origin, size: tree.range.size, root: rootOf(tree.range) }
  const signature = await sign({ root: root.raw, checkpoint }, signal)
  if (!signature.ok) return { ok: false, error: signature.error.message }
  const key: NoteKey = { name: origin, type: 'ed25519', key: root }
  const note = { text: toCheckpointText(checkpoint), signatures: [toNoteSignature(key, signature.value)] }
  // The HSM's root is not the one in force: nobody could believe such a checkpoint.
  const verified = verifyNote(note, [key])
  return verified.ok ? ok({ checkpoint, note, signedAtMs: clock.now() }) : verified
}

const askAll = async (
  { tree }: CheckpointsOptions,
  signed: SignedCheckpoint,
  asked: readonly Anchor[],
  signal: AbortSignal,
): Promise<Round['answers']> => {
  const proofs = tree()
  const each = AbortSignal.any([signal, AbortSignal.timeout(LIMITS.witnessTimeoutMs)])
  return Promise.all(
    asked.map(async (anchor): Promise<Round['answers'][number]> => {
      if (anchor.witness !== undefined && proofs === undefined)
        return { anchor, kept: { kind: 'unanswered', why: 'there is no tree file to prove it from' } }
      const source = proofs ?? { consistency: () => [] }
      return { anchor, kept: await anchor.keep(signed, source, each) }
    }),
  )
}

const addCosignatures = (signed: SignedCheckpoint, answers: Round['answers']): SignedCheckpoint => {
  const cosignatures: NoteSignature[] = answers.flatMap(({ kept }) => (kept.kind === 'kept' ? kept.cosignatures : []))
  return { ...signed, note: { ...signed.note, signatures: [...signed.note.signatures, ...cosignatures] } }
}
