import Type, { type TProperties } from 'typebox'
import { change, changeKey } from '../changeContract.ts'
import { contract, Reply } from '../contract.ts'
import { KeyVersion, ROTATION_CAUSES } from '../keys.ts'
import { LIMITS } from '../limits.ts'
import { Fields, KeyId, OneOf, Page, Revision, Timestamp } from '../primitives.ts'

const number = Type.Integer({ minimum: 1, maximum: LIMITS.keyVersionsMax })
const days = Type.Integer({
  minimum: 1,
  maximum: LIMITS.rotationIntervalDaysMax,
  description: 'Days from one version to the next',
})

const read = <const N extends string, Q extends TProperties, R extends TProperties>(
  name: N,
  summary: string,
  { path, request, reply }: { readonly path: string; readonly request: Q; readonly reply: R },
) =>
  contract({
    name,
    summary,
    effect: 'read',
    idempotent: false,
    routes: [{ method: 'GET', path: `/keys/:id${path}`, status: 200 }],
    request: Fields({ key_id: KeyId, ...request }),
    reply: Reply(reply),
    codes: ['KEY_NOT_FOUND', 'NOT_FOUND', 'REVISION_CONFLICT'],
    example: { request: 'version' in request ? { version: 1 } : {} },
  })

export const ListKeyVersions = read('ListKeyVersions', 'Lists the versions of a key', {
  path: '/versions',
  request: Page,
  reply: { items: Type.Array(KeyVersion), next_cursor: Type.Optional(Type.String()) },
})

export const GetKeyVersion = read('GetKeyVersion', 'Shows one version of a key', {
  path: '/versions/:version',
  request: { version: number },
  reply: { version: KeyVersion },
})

export const GetKeyRotationStatus = read('GetKeyRotationStatus', 'Shows when a key was and will be rotated', {
  path: '/rotation-status',
  request: {},
  reply: {
    rotation_enabled: Type.Boolean(),
    next_rotation_date: Type.Optional(Timestamp),
    last_rotated_at: Type.Optional(Timestamp),
  },
})

export const GetKeyRotationHistory = read('GetKeyRotationHistory', 'Lists the rotations of a key', {
  path: '/rotation-history',
  request: {},
  reply: {
    entries: Type.Array(
      Fields({
        from_version: Type.Integer({ minimum: 1 }),
        to_version: Type.Integer({ minimum: 1 }),
        rotated_at: Timestamp,
        cause: OneOf(ROTATION_CAUSES),
      }),
    ),
  },
})

const policy = { enabled: Type.Boolean(), rotation_interval_days: Type.Optional(days) }

export const GetKeyRotationPolicy = read('GetKeyRotationPolicy', 'Shows the rotation policy of a key', {
  path: '/rotation-policy',
  request: {},
  reply: policy,
})

/** All that any of them refuses a key for. */
const codes = ['INVALID_STATE_TRANSITION'] as const

export const SetKeyRotationPolicy = changeKey({
  name: 'SetKeyRotationPolicy',
  summary: 'Sets whether and how often a key is rotated by itself',
  method: 'PUT',
  path: '/rotation-policy',
  request: { enabled: Type.Boolean(), rotation_interval_days: days },
  reply: {},
  codes,
  example: { enabled: true, rotation_interval_days: 90 },
})

export const EnableKeyRotation = changeKey({
  name: 'EnableKeyRotation',
  summary: `Rotates a key by itself, every ${LIMITS.rotationIntervalDaysDefault} days if no interval was ever set`,
  path: '/actions-enable-rotation',
  request: {},
  reply: {},
  codes,
  example: {},
})

export const DisableKeyRotation = changeKey({
  name: 'DisableKeyRotation',
  summary: 'Stops rotating a key by itself; the interval is kept',
  path: '/actions-disable-rotation',
  request: {},
  reply: {},
  codes,
  example: {},
})

export const SetMinDecryptionVersion = changeKey({
  name: 'SetMinDecryptionVersion',
  summary: 'Refuses to decrypt what older versions encrypted; can only be raised',
  method: 'PUT',
  path: '/min-decryption-version',
  request: { version: number },
  reply: {},
  codes,
  example: { version: 1 },
})

export const DestroyKeyVersion = change({
  name: 'DestroyKeyVersion',
  summary: 'Destroys the material of an old version for good',
  path: '/keys/:id/versions/:version/actions-destroy',
  request: { key_id: KeyId, version: number, if_revision: Type.Optional(Revision) },
  reply: { version: KeyVersion },
  codes: ['KEY_NOT_FOUND', 'NOT_FOUND', ...codes],
  example: { version: 1 },
})
