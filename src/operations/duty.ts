import type { View } from '../../projections/view.ts'
import type { Facts, PlanAs } from './operation.ts'

/**
 * Work that the writer does of its own accord when its time has come. Pure like an operation: the runner
 * (`src/pipeline/duties.ts`) alone executes and records. A step that must not be half done is two items: the record of
 * the first makes the second due, so that a new writer goes on where the last one ended.
 */
export interface Duty {
  /** As operations are named; the records' action is `kms:<name>`. */
  readonly name: string
  /** What is due, most urgent first, by the name under which changes of it take turns (the LID of a key). Lazy. */
  findDue(view: View, facts: Facts): Iterable<string> | Spread
  /** What to do now, or nothing if it is no longer due or cannot be done yet; that leaves no record. */
  plan(subject: string, view: View, facts: Facts): PlanAs<object> | undefined
  /** What cannot be undone waits while the local clock and the storage's disagree by more than `clockSkewMsMax`. */
  readonly needsTrueTime?: boolean
}

/** Work that is done one item after the other, with a pause between them. */
export interface Spread {
  readonly subjects: readonly string[]
  readonly paceMs: number
}
