import { isAlias, resolveRef } from '../../projections/aliases.ts'
import type { Guard } from '../../projections/guards.ts'
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
  /** Set when the caller wrote an alias: it must still stand for the same key when the record enters the ledger. */
  readonly alias?: Guard
}

/** Looks up every key a request names, by LID or alias. */
export const resolveTargets = (view: View, targets: readonly Target[]): readonly Found[] =>
  targets.map((target) => {
    if (target.kind !== 'key') return { target, record: undefined }
    const lid = resolveRef(view.aliases, target.ref)
    const record = lid && view.keys.byLid.get(lid)
    return record !== undefined && isAlias(target.ref)
      ? { target, record, alias: { kind: 'alias', name: target.ref, lid: record.lid } }
      : { target, record }
  })

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
  ask: AskAbout,
): Promise<Result<VisiblePage>> => {
  const items: Candidate[] = []
  let asked = 0
  let scanned = 0
  let bytes = 0
  for (const candidate of candidates) {
    const isFull = items.length >= wanted || bytes >= LIMITS.pageBytesMax
    if (isFull || asked >= LIMITS.pageCandidatesMax || scanned >= LIMITS.pageScannedMax)
      return ok({ items, nextCursor: toCursor(candidate.place) })
    scanned += 1
    if (candidate.isFiltered) continue
    if (candidate.record !== undefined || candidate.target !== undefined) asked += 1
    const shown = await mayShow(candidate, ask)
    if (!shown.ok) return shown
    if (!shown.value) continue
    items.push(candidate)
    bytes += candidate.bytes ?? estimateBytes(candidate.record)
  }
  return ok({ items })
}

/** Asks whether the caller may see a candidate; nothing if the permit for the list is enough. */
type AskAbout = (candidate: Candidate) => Promise<Authorization> | undefined

const mayShow = async (candidate: Candidate, ask: AskAbout): Promise<Result<boolean>> => {
  const verdict = await ask(candidate)
  if (verdict === undefined) return ok(true)
  return !verdict.permitted && verdict.code === 'PDP_UNAVAILABLE'
    ? { ok: false, error: NO_VERDICT }
    : ok(verdict.permitted)
}

const RECORD_BYTES = 1024
const VERSION_BYTES = 128

/** About what one key takes in a JSON reply, from above: a page must fit into one NATS message. */
const estimateBytes = (record: KeyRecord | undefined): number =>
  record === undefined
    ? RECORD_BYTES
    : RECORD_BYTES +
      record.versions.length * VERSION_BYTES +
      // Measured, not counted: one control character takes six bytes in JSON.
      Buffer.byteLength(JSON.stringify([record.description, record.userTags]))
