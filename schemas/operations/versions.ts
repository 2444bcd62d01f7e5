import Type, { type TProperties } from 'typebox'
import { contract, Reply } from '../contract.ts'
import { Key, KeyVersion, ROTATION_CAUSES } from '../keys.ts'
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

interface Change<N extends string, Q extends TProperties> {
  readonly name: N
  readonly summary: string
  readonly method?: 'PUT'
  readonly path: string
  readonly request: Q
  readonly example: Readonly<Record<string, unknown>>
}

const change = <const N extends string, Q extends TProperties>(declared: Change<N, Q>) =>
  contract({
    name: declared.name,
    summary: declared.summary,
    effect: 'change',
    idempotent: true,
    routes: [{ method: declared.method ?? 'POST', path: `/keys/:id${declared.path}`, status: 200 }],
    request: Fields({ key_id: KeyId, ...declared.request, if_revision: Type.Optional(Revision) }),
    reply: Reply({ key: Key }),
    codes: ['KEY_NOT_FOUND', 'INVALID_STATE_TRANSITION', 'REVISION_CONFLICT', 'IDEMPOTENCY_CONFLICT'],
    example: { request: declared.example },
  })

export const SetKeyRotationPolicy = change({
  name: 'SetKeyRotationPolicy',
  summary: 'Sets whether and how often a key is rotated by itself',
  method: 'PUT',
  path: '/rotation-policy',
  request: { enabled: Type.Boolean(), rotation_interval_days: days },
  example: { enabled: true, rotation_interval_days: 90 },
})

export const EnableKeyRotation = change({
  name: 'EnableKeyRotation',
  summary: `Rotates a key by itself, every ${LIMITS.rotationIntervalDaysDefault} days if no interval was ever set`,
  path: '/actions-enable-rotation',
  request: {},
  example: {},
})

export const DisableKeyRotation = change({
  name: 'DisableKeyRotation',
  summary: 'Stops rotating a key by itself; the interval is kept',
  path: '/actions-disable-rotation',
  request: {},
  example: {},
})

export const SetMinDecryptionVersion = change({
  name: 'SetMinDecryptionVersion',
  summary: 'Refuses to decrypt what older versions encrypted; can only be raised',
  method: 'PUT',
  path: '/min-decryption-version',
  request: { version: number },
  example: { version: 1 },
})

export const DestroyKeyVersion = contract({
  name: 'DestroyKeyVersion',
  summary: 'Destroys the material of an old version for good',
  effect: 'change',
  idempotent: true,
  routes: [{ method: 'POST', path: '/keys/:id/versions/:version/actions-destroy', status: 200 }],
  request: Fields({ key_id: KeyId, version: number, if_revision: Type.Optional(Revision) }),
  reply: Reply({ version: KeyVersion }),
  codes: ['KEY_NOT_FOUND', 'NOT_FOUND', 'INVALID_STATE_TRANSITION', 'REVISION_CONFLICT', 'IDEMPOTENCY_CONFLICT'],
  example: { request: { version: 1 } },
})
