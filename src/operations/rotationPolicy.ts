import type { IdempotencyRecord } from '../../projections/idempotency.ts'
import type { KeyRecord } from '../../projections/keys.ts'
import { findNextRotationMs } from '../../projections/rotation.ts'
import type { View } from '../../projections/view.ts'
import type { EventData } from '../../schemas/events.ts'
import type { KeyBody } from '../../schemas/keys.ts'
import { LIMITS } from '../../schemas/limits.ts'
import type { Body, OperationName, Request } from '../../schemas/registry.ts'
import { fail, ok, type Result } from '../core/result.ts'
import { toCurrentVersion, toFoldedKeyBody, toTimestamp } from './keyBody.ts'
import { type Facts, guardKey, type Operation, type PlanAs, planRecord, type Resolved, toClaim } from './operation.ts'
import { checkRevision, takeKey } from './use.ts'

type Reading = 'GetKeyRotationStatus' | 'GetKeyRotationHistory' | 'GetKeyRotationPolicy'
type Changing = 'SetKeyRotationPolicy' | 'EnableKeyRotation' | 'DisableKeyRotation' | 'SetMinDecryptionVersion'

const planReading = <B>(resolved: Resolved, toBody: (record: KeyRecord) => B): Result<PlanAs<B>> => {
  const record = takeKey(resolved)
  return ok(
    planRecord([guardKey(resolved.view, record)], () => ({
      event: { type: 'KeyDescribed', data: { lid: record.lid } },
      resources: [{ lid: record.lid }],
      toReply: () => toBody(record),
    })),
  )
}

const toTargets = (name: OperationName, input: { readonly key_id: string }) =>
  ok([{ kind: 'key', action: `kms:${name}`, ref: input.key_id } as const])

const reading = <N extends Reading>(name: N, toBody: (record: KeyRecord) => Body<N>) => ({
  targets: (input: { readonly key_id: string }) => toTargets(name, input),
  plan: (_input: unknown, resolved: Resolved) => planReading(resolved, toBody),
})

export const getKeyRotationStatus: Operation<'GetKeyRotationStatus'> = reading('GetKeyRotationStatus', (record) => {
  const nextMs = findNextRotationMs(record)
  return {
    rotation_enabled: record.rotation.enabled,
    ...(nextMs === undefined ? {} : { next_rotation_date: toTimestamp(nextMs) }),
    ...(record.currentVersion === 1 ? {} : { last_rotated_at: toTimestamp(toCurrentVersion(record).createdAtMs) }),
  }
})

export const getKeyRotationHistory: Operation<'GetKeyRotationHistory'> = reading('GetKeyRotationHistory', (record) => ({
  entries: record.versions.flatMap(({ version, createdAtMs, cause }) =>
    cause === undefined
      ? []
      : [{ from_version: version - 1, to_version: version, rotated_at: toTimestamp(createdAtMs), cause }],
  ),
}))

export const getKeyRotationPolicy: Operation<'GetKeyRotationPolicy'> = reading('GetKeyRotationPolicy', (record) => ({
  enabled: record.rotation.enabled,
  ...(record.rotation.intervalDays === undefined ? {} : { rotation_interval_days: record.rotation.intervalDays }),
}))

type Setting =
  | { readonly type: 'RotationPolicySet'; readonly data: Omit<EventData<'RotationPolicySet'>, 'lid'> }
  | { readonly type: 'MinDecryptionVersionSet'; readonly data: { readonly version: number } }

/** Plans a change of a key's settings, which a key on its way out does not take any more. */
const changing = <Q extends { readonly key_id: string; readonly if_revision?: number }>(
  name: Changing,
  toSetting: (input: Q, record: KeyRecord) => Result<Setting>,
) => ({
  replay: ({ lid }: IdempotencyRecord, view: View, facts: Facts) => ({ key: toFoldedKeyBody(view, lid, facts) }),
  targets: (input: { readonly key_id: string }) => toTargets(name, input),
  plan(input: Q, resolved: Resolved): Result<PlanAs<{ readonly key: KeyBody }>> {
    const { view, facts } = resolved
    const record = takeKey(resolved)
    const revision = checkRevision(input, record)
    if (!revision.ok) return revision
    if (record.state === 'pending_deletion' || record.state === 'destroying' || record.state === 'destroyed')
      return fail('INVALID_STATE_TRANSITION', `a key that is ${record.state} stays as it is`)
    const setting = toSetting(input, record)
    if (!setting.ok) return setting
    const { lid } = record
    const common = { lid, ...toClaim(facts) }
    return ok(
      planRecord([guardKey(view, record)], () => ({
        event:
          setting.value.type === 'RotationPolicySet'
            ? { type: setting.value.type, data: { ...common, ...setting.value.data } }
            : { type: setting.value.type, data: { ...common, ...setting.value.data } },
        resources: [{ lid }],
        toReply: (folded) => ({ key: toFoldedKeyBody(folded, lid, facts) }),
      })),
    )
  },
})

export const setKeyRotationPolicy: Operation<'SetKeyRotationPolicy'> = changing(
  'SetKeyRotationPolicy',
  (input: Request<'SetKeyRotationPolicy'>) =>
    ok({
      type: 'RotationPolicySet',
      data: { enabled: input.enabled, interval_days: input.rotation_interval_days },
    }),
)

export const enableKeyRotation: Operation<'EnableKeyRotation'> = changing('EnableKeyRotation', (_input, record) =>
  ok({
    type: 'RotationPolicySet',
    data: { enabled: true, interval_days: record.rotation.intervalDays ?? LIMITS.rotationIntervalDaysDefault },
  }),
)

export const disableKeyRotation: Operation<'DisableKeyRotation'> = changing('DisableKeyRotation', () =>
  ok({ type: 'RotationPolicySet', data: { enabled: false } }),
)

export const setMinDecryptionVersion: Operation<'SetMinDecryptionVersion'> = changing(
  'SetMinDecryptionVersion',
  ({ version }: Request<'SetMinDecryptionVersion'>, record) => {
    if (record.usage !== 'ENCRYPT_DECRYPT') return fail('INVALID_REQUEST', `the key is for ${record.usage}`)
    if (version > record.currentVersion)
      return fail('INVALID_REQUEST', `version: the key has versions 1 to ${record.currentVersion}`)
    return version < record.minDecryptionVersion
      ? fail('INVALID_REQUEST', `version: the minimum is ${record.minDecryptionVersion} and can only be raised`)
      : ok({ type: 'MinDecryptionVersionSet', data: { version } })
  },
)
