import type { Telemetry } from '../../core/ports.ts'
import { ok } from '../../core/result.ts'
import type { SignedNote } from '../../core/signedNote.ts'
import { faulty, type LedgerResult } from '../fault.ts'
import type { Anchor, Recalled } from './anchor.ts'
import type { NamedMemory } from './watch.ts'

/** What the anchors said before the ledger was read. */
export interface Recollection {
  readonly memories: readonly NamedMemory[]
  /** Witnesses that have cosigned something: only a checkpoint tells whether they have cosigned this ledger. */
  readonly witnesses: readonly Anchor[]
}

/**
 * Asks all anchors. Whoever asks must do so before asking how long the ledger is: the ledger must have reached then what an
 * anchor remembers now. Fault: `anchors_unanswered`, if fewer than `required` can say anything.
 */
export const recallAnchors = async (
  anchors: readonly Anchor[],
  { required, telemetry }: { readonly required: number; readonly telemetry: Telemetry },
  signal: AbortSignal,
): Promise<LedgerResult<Recollection>> => {
  const ask = (some: readonly Anchor[], last: SignedNote | undefined) =>
    Promise.all(some.map(async (anchor) => ({ anchor, recalled: await anchor.recall(last, signal) })))
  const stored = await ask(
    anchors.filter(({ witness }) => witness === undefined),
    undefined,
  )
  const witnessed = await ask(
    anchors.filter(({ witness }) => witness !== undefined),
    findNewest(stored.map(({ recalled }) => recalled)),
  )
  const all = [...stored, ...witnessed]
  const silent = all.flatMap(({ anchor, recalled }) =>
    recalled.kind === 'unanswered' ? [{ anchor: anchor.name, why: recalled.why }] : [],
  )
  for (const each of silent) telemetry.log('warn', 'an anchor cannot say what it remembers', each)
  if (all.length - silent.length < required)
    return faulty(
      'anchors_unanswered',
      `only ${all.length - silent.length} of the ${all.length} anchors can say what they remember, and ledger.anchors.required is ${required}: ${silent.map(({ anchor, why }) => `${anchor}: ${why}`).join('; ')}. Bring them back; what else can be done stands in docs/RUNBOOK.md, "The ledger is refused"`,
    )
  const memories = all.flatMap(({ anchor, recalled }) =>
    recalled.kind === 'remembers' ? [{ ...recalled.what, name: anchor.name }] : [],
  )
  const witnesses = witnessed.flatMap(({ anchor, recalled }) => (recalled.kind === 'remembers' ? [anchor] : []))
  return ok({ memories, witnesses })
}

/** The checkpoint of the largest size among those that were stored. */
const findNewest = (recalled: readonly Recalled[]): SignedNote | undefined =>
  recalled
    .flatMap((one) => (one.kind === 'remembers' && one.what.note !== undefined ? [one.what] : []))
    .sort((a, b) => b.size - a.size)[0]?.note
