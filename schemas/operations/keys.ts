import Type from 'typebox'
import { changeKey } from '../changeContract.ts'
import { contract, Reply } from '../contract.ts'
import { KEY_SPECS, Key, KeySpec, KeyState, SigningAlgorithm } from '../keys.ts'
import { LIMITS } from '../limits.ts'
import { BackendId, Bytes, Fields, KeyId, Lid, Page, Tag } from '../primitives.ts'
import { newKey, newKeyCodes } from './newKey.ts'

const one = { key_id: KeyId }
const TagFilter = Type.Array(Tag, {
  maxItems: LIMITS.tagsMax,
  description: 'User tags that a key must have, all of them',
})

export const CreateKey = contract({
  name: 'CreateKey',
  summary: 'Makes a key in the HSM',
  effect: 'change',
  idempotent: true,
  routes: [{ method: 'POST', path: '/keys', status: 201 }],
  request: Fields({ ...newKey, backend_id: Type.Optional(BackendId) }),
  reply: Reply({ key: Key, warnings: Type.Optional(Type.Array(Type.String())) }),
  codes: newKeyCodes,
  example: { request: { key_spec: 'AES_256', description: 'orders database' } },
})

export const DescribeKey = contract({
  name: 'DescribeKey',
  summary: 'Shows the metadata of a key',
  effect: 'read',
  idempotent: false,
  routes: [
    { method: 'GET', path: '/keys/:id', status: 200 },
    { method: 'GET', path: '/keys/:id/describe', status: 200 },
  ],
  request: Fields(one),
  reply: Reply({ key: Key }),
  codes: ['KEY_NOT_FOUND', 'REVISION_CONFLICT'],
  example: { request: {} },
})

export const ListKeys = contract({
  name: 'ListKeys',
  summary: 'Lists the keys that the caller may describe',
  effect: 'read',
  idempotent: false,
  routes: [{ method: 'GET', path: '/keys', status: 200 }],
  request: Fields({
    state: Type.Optional(KeyState),
    spec: Type.Optional(KeySpec),
    parent: Type.Optional(KeyId),
    tags: Type.Optional(TagFilter),
    ...Page,
  }),
  reply: Reply({ items: Type.Array(Key), next_cursor: Type.Optional(Type.String()) }),
  codes: ['KEY_NOT_FOUND', 'REVISION_CONFLICT'],
  example: { request: { spec: KEY_SPECS[0], max_results: 10 } },
})

const transition = <const N extends 'EnableKey' | 'DisableKey'>(name: N, verb: 'enable' | 'disable', summary: string) =>
  changeKey({
    name,
    summary,
    path: `/actions-${verb}`,
    request: {},
    reply: {
      affected_descendants: Type.Integer({ minimum: 0, description: 'Descendants whose effective state changed' }),
    },
    codes: ['INVALID_STATE_TRANSITION', 'PARENT_NOT_USABLE'],
    example: {},
  })

export const EnableKey = transition('EnableKey', 'enable', 'Enables a disabled key, and with it what it had locked')
export const DisableKey = transition('DisableKey', 'disable', 'Disables a key and all its descendants at once')

const Relative = Fields({
  id: Lid,
  depth: Type.Integer({ minimum: 1, description: 'Steps from the key asked about' }),
  parent_id: Type.Optional(Lid),
  state: KeyState,
})
const relatives = { items: Type.Array(Relative), next_cursor: Type.Optional(Type.String()) }

export const GetKeyDependents = contract({
  name: 'GetKeyDependents',
  summary: 'Lists the keys below a key',
  effect: 'read',
  idempotent: false,
  routes: [{ method: 'GET', path: '/keys/:id/dependents', status: 200 }],
  request: Fields({
    ...one,
    recursive: Type.Optional(Type.Boolean({ description: 'All descendants instead of children only' })),
    ...Page,
  }),
  reply: Reply(relatives),
  codes: ['KEY_NOT_FOUND', 'REVISION_CONFLICT'],
  example: { request: { recursive: true } },
})

export const GetKeyAncestors = contract({
  name: 'GetKeyAncestors',
  summary: 'Lists the keys above a key, the root first',
  effect: 'read',
  idempotent: false,
  routes: [{ method: 'GET', path: '/keys/:id/ancestors', status: 200 }],
  request: Fields({ ...one, ...Page }),
  reply: Reply(relatives),
  codes: ['KEY_NOT_FOUND', 'REVISION_CONFLICT'],
  example: { request: {} },
})

export const GetPublicKey = contract({
  name: 'GetPublicKey',
  summary: 'Returns the public half of an asymmetric key',
  effect: 'read',
  idempotent: false,
  routes: [{ method: 'GET', path: '/keys/:id/public-key', status: 200 }],
  request: Fields({ ...one, version: Type.Optional(Type.Integer({ minimum: 1, maximum: 2 ** 32 - 1 })) }),
  reply: Reply({
    key_id: Lid,
    key_version: Type.Integer({ minimum: 1 }),
    public_key: Bytes(1, 1024, 'SubjectPublicKeyInfo, DER'),
    pem: Type.String(),
    jwk: Type.Unsafe<Readonly<Record<string, string>>>({ type: 'object', additionalProperties: { type: 'string' } }),
    signing_algorithms: Type.Array(SigningAlgorithm),
  }),
  codes: ['KEY_NOT_FOUND', 'NOT_FOUND', 'REVISION_CONFLICT'],
  example: { request: {} },
})
