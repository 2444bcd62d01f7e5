import type { NatsConnection } from '@nats-io/transport-node'
import type { Pin } from '../core/chainState.ts'
import { createEventCheck } from '../core/eventCheck.ts'
import type { Telemetry } from '../core/ports.ts'
import { ok } from '../core/result.ts'
import { createAnchorWatch, type NamedMemory } from './anchors/watch.ts'
import { askForWriter } from './election.ts'
import { faulty, type LedgerResult } from './fault.ts'
import { readWhole } from './readWhole.ts'
import { createVerifier, type Tip } from './tip.ts'
import type { TreeFile } from './treeFile.ts'

export interface ReadOptions {
  /** The `kms-ledger` user. */
  readonly connection: NatsConnection
  readonly pin: Pin
  readonly telemetry: Telemetry
}

export interface ReadGoal {
  /** What the anchors remember: the ledger must meet all of it. */
  readonly memories: readonly NamedMemory[]
  readonly tree: TreeFile | undefined
  /** Told of each commit. */
  onStep?(before: Tip, after: Tip): void
}

/** A command that writes does so alone. Fault: `writer_lives`. */
export const checkNoWriter = async (connection: NatsConnection): Promise<LedgerResult<void>> =>
  (await askForWriter(connection)) === 'alive'
    ? faulty('writer_lives', 'a service writes this ledger: stop it first')
    : ok(undefined)

/**
 * Reads and verifies the ledger as a start of the service does, for a command that builds on it. Faults: `bad_commit` if something is to be recovered first, or no epoch was opened since genesis; those of
 * {@link readWhole}, and of the anchors, which must agree.
 */
export const readToEnd = async (
  { connection, pin, telemetry }: ReadOptions,
  { memories, tree, onStep }: ReadGoal,
  signal: AbortSignal,
): Promise<LedgerResult<Tip>> => {
  const watch = createAnchorWatch(memories)
  const see = (before: Tip, after: Tip): void => {
    watch.see(before, after)
    onStep?.(before, after)
  }
  const verifier = createVerifier(pin, createEventCheck())
  const whole = await readWhole({ connection, verifier, begin: { pin, watch, tree, telemetry } }, see, signal)
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
  return tip.view.at.epoch === 0
    ? faulty(
        'bad_commit',
        'no service has opened an epoch of this ledger yet: there is nothing that a root has attested',
      )
    : ok(tip)
}
