import type { KeyRecord } from '../../projections/keys.ts'
import type { View } from '../../projections/view.ts'
import { LIMITS } from '../../schemas/limits.ts'
import { toCursor } from '../operations/cursor.ts'
import type { Candidate, Target, VisiblePage } from '../operations/operation.ts'

/** A target with the record it names, if there is one. */
export interface Found {
  readonly target: Target
  readonly record: KeyRecord | undefined
}

/** Looks up every key a request names. Only LIDs name keys in this version; an alias is a key that does not exist. */
export const resolveTargets = (view: View, targets: readonly Target[]): readonly Found[] =>
  targets.map((target) => ({ target, record: target.kind === 'key' ? view.keys.byLid.get(target.ref) : undefined }))

/**
 * The first page of candidates that the caller may see. At most `pageCandidatesMax` are asked about, so a page may be
 * short, or even empty, and still have a cursor.
 */
export const collectPage = async (
  candidates: Iterable<Candidate>,
  wanted: number,
  isVisible: (candidate: Candidate) => Promise<boolean>,
): Promise<VisiblePage> => {
  const items: Candidate[] = []
  let asked = 0
  for (const candidate of candidates) {
    if (items.length >= wanted || asked >= LIMITS.pageCandidatesMax)
      return { items, nextCursor: toCursor(candidate.record.ordinal) }
    asked += 1
    if (await isVisible(candidate)) items.push(candidate)
  }
  return { items }
}
