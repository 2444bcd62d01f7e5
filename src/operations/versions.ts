import type { KeyRecord, KeyVersionRecord } from '../../projections/keys.ts'
import type { View } from '../../projections/view.ts'
import { LIMITS } from '../../schemas/limits.ts'
import type { Body } from '../../schemas/registry.ts'
import { fail, must, ok, type Result } from '../core/result.ts'
import { parseCursor, toCursor, toKeyPlace } from './cursor.ts'
import { planVersionDestruction } from './destruction.ts'
import { toVersionBody } from './keyBody.ts'
import { type Facts, guardKey, type Operation, planRecord, toClaim } from './operation.ts'
import { checkRevision, takeKey } from './use.ts'

const findVersion = (record: KeyRecord, number: number | undefined): Result<KeyVersionRecord> => {
  const version = record.versions.find((candidate) => candidate.version === number)
  return version === undefined ? fail('NOT_FOUND', 'the key has no such version') : ok(version)
}

export const listKeyVersions: Operation<'ListKeyVersions'> = {
  targets: (input) => ok([{ kind: 'key', action: 'kms:ListKeyVersions', ref: input.key_id }]),
  plan(input, resolved) {
    const { view, facts } = resolved
    const record = takeKey(resolved)
    const from = parseCursor(input.cursor)
    if (!from.ok) return from
    const after = record.versions.filter(({ version }) => version >= from.value)
    const items = after.slice(0, input.max_results ?? LIMITS.pageItemsDefault)
    const next = after[items.length]
    return ok(
      planRecord([guardKey(view, record)], () => ({
        event: { type: 'KeyDescribed', data: { lid: record.lid } },
        resources: [{ lid: record.lid }],
        toReply: () => ({
          items: items.map((version) => toVersionBody(view, record, version, facts)),
          ...(next === undefined ? {} : { next_cursor: toCursor(toKeyPlace(next.version)) }),
        }),
      })),
    )
  },
}

export const getKeyVersion: Operation<'GetKeyVersion'> = {
  targets: (input) => ok([{ kind: 'key', action: 'kms:GetKeyVersion', ref: input.key_id }]),
  plan(input, resolved) {
    const { view, facts } = resolved
    const record = takeKey(resolved)
    const found = findVersion(record, input.version)
    if (!found.ok) return found
    const { version } = found.value
    return ok(
      planRecord([guardKey(view, record)], () => ({
        event: { type: 'KeyDescribed', data: { lid: record.lid, version } },
        resources: [{ lid: record.lid, version }],
        toReply: () => ({ version: toVersionBody(view, record, found.value, facts) }),
      })),
    )
  },
}

const toReply = (
  view: View,
  lid: KeyRecord['lid'] | undefined,
  number: number | undefined,
  facts: Facts,
): Body<'DestroyKeyVersion'> => {
  const record = view.keys.byLid.get(lid ?? '')
  must(record !== undefined, `key ${lid} is not in the view that folded its event`)
  const version = findVersion(record, number)
  must(version.ok, `key ${lid} has no version ${number} in the view that folded its event`)
  return { version: toVersionBody(view, record, version.value, facts) }
}

/** The current version stays: a key always has one that produces, or goes as a whole. */
const mayDestroy = (record: KeyRecord, { version, state }: KeyVersionRecord): Result<true> => {
  if (record.state !== 'enabled' && record.state !== 'disabled' && record.state !== 'compromised')
    return fail('INVALID_STATE_TRANSITION', `the key is ${record.state}: its versions go with it`)
  if (version === record.currentVersion)
    return fail('INVALID_STATE_TRANSITION', 'version: the current one cannot be destroyed; rotate the key first')
  return state === 'enabled' ? ok(true) : fail('INVALID_STATE_TRANSITION', `version ${version} is ${state} already`)
}

export const destroyKeyVersion: Operation<'DestroyKeyVersion'> = {
  replay: ({ lid, version }, view, facts) => toReply(view, lid, version, facts),
  targets: (input) => ok([{ kind: 'key', action: 'kms:DestroyKeyVersion', ref: input.key_id }]),
  plan(input, resolved) {
    const { view, facts } = resolved
    const record = takeKey(resolved)
    const revision = checkRevision(input, record)
    if (!revision.ok) return revision
    const found = findVersion(record, input.version)
    if (!found.ok) return found
    const allowed = mayDestroy(record, found.value)
    if (!allowed.ok) return allowed
    const { lid } = record
    const { version } = found.value
    return ok(
      planRecord([guardKey(view, record)], () => ({
        event: { type: 'KeyVersionDestructionStarted', data: { lid, version, ...toClaim(facts) } },
        resources: [{ lid, version }],
        toReply: (folded) => toReply(folded, lid, version, facts),
        next(folded) {
          const now = folded.keys.byLid.get(lid)
          const doomed = now?.versions.find((one) => one.version === version && one.state === 'destroying')
          if (now === undefined || doomed === undefined) return undefined
          const confirmed = (after: View) => toReply(after, lid, version, facts)
          return planVersionDestruction({ record: now, version: doomed }, confirmed)
        },
      })),
    )
  },
}
