import type { KeyRecord } from '../../projections/keys.ts'
import type { View } from '../../projections/view.ts'
import { LIMITS } from '../../schemas/limits.ts'
import { type Failure, ok, type Result } from '../core/result.ts'
import { toCursor } from '../operations/cursor.ts'
import type { Candidate, Target, VisiblePage } from '../operations/operation.ts'
import type { Authorization } from './authorize.ts'

/** A target with the record it names, if there is one. */
export interface Found {
  readonly target: Target
  readonly record: KeyRecord | undefined
}

/** Looks up every key a request names. Only LIDs name keys in this version; an alias is a key that does not exist. */
export const resolveTargets = (view: View, targets: readonly Target[]): readonly Found[] =>
  targets.map((target) => ({ target, record: target.kind === 'key' ? view.keys.byLid.get(target.ref) : undefined }))

/** A request about which the PDP said nothing. */
export const NO_VERDICT: Failure = {
  code: 'PDP_UNAVAILABLE',
  message: 'the policy decision point gave no verdict; the request is denied',
}

/**
 * The first page of candidates that the caller may see, about `pageBytesMax` long. At most `pageScannedMax` are looked at and `pageCandidatesMax`
 * asked about, so a page may be short, or even empty, and still have a cursor. PDP_UNAVAILABLE if one question had no
 * verdict: a list that silently lacks what was not decided would look complete.
 */
export const collectPage = async (
  candidates: Iterable<Candidate>,
  wanted: number,
  ask: (candidate: Candidate) => Promise<Authorization>,
): Promise<Result<VisiblePage>> => {
  const items: Candidate[] = []
  let asked = 0
  let scanned = 0
  let bytes = 0
  for (const candidate of candidates) {
    const isFull = items.length >= wanted || bytes >= LIMITS.pageBytesMax
    if (isFull || asked >= LIMITS.pageCandidatesMax || scanned >= LIMITS.pageScannedMax)
      return ok({ items, nextCursor: toCursor(candidate.record.ordinal) })
    scanned += 1
    if (candidate.isFiltered) continue
    asked += 1
    const verdict = await ask(candidate)
    if (verdict.permitted) {
      items.push(candidate)
      bytes += estimateBytes(candidate.record)
    } else if (verdict.code === 'PDP_UNAVAILABLE') return { ok: false, error: NO_VERDICT }
  }
  return ok({ items })
}

const RECORD_BYTES = 1024
const VERSION_BYTES = 128

/** About what one key takes in a JSON reply, from above: a page must fit into one NATS message. */
const estimateBytes = ({ description, userTags, versions }: KeyRecord): number =>
  RECORD_BYTES +
  versions.length * VERSION_BYTES +
  // Measured, not counted: one control character takes six bytes in JSON.
  Buffer.byteLength(JSON.stringify([description, userTags]))
