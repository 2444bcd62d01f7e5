import Type from 'typebox'
import { contract, Reply } from '../contract.ts'
import { AliasName, Fields, KeyId, Lid, Page, Timestamp } from '../primitives.ts'

const named = { alias_name: AliasName }
const pointed = { ...named, target_key_id: KeyId }
const reply = Reply({ alias_name: AliasName, target_key_id: Lid })
const targetCodes = ['KEY_NOT_FOUND', 'KEY_NOT_USABLE', 'REVISION_CONFLICT', 'IDEMPOTENCY_CONFLICT'] as const
const example = { alias_name: 'alias/orders', target_key_id: 'alias/target' }

export const CreateAlias = contract({
  name: 'CreateAlias',
  summary: 'Gives a key a name that is accepted wherever a key id is',
  effect: 'change',
  idempotent: true,
  routes: [{ method: 'POST', path: '/aliases', status: 201 }],
  request: Fields(pointed),
  reply,
  codes: ['ALREADY_EXISTS', ...targetCodes],
  example: { request: example },
})

export const UpdateAlias = contract({
  name: 'UpdateAlias',
  summary: 'Points an alias to another key, at once for everyone',
  effect: 'change',
  idempotent: true,
  routes: [{ method: 'PUT', path: '/aliases/:alias_name', status: 200 }],
  request: Fields(pointed),
  reply,
  codes: ['ALIAS_NOT_FOUND', ...targetCodes],
  example: { request: example },
})

export const DeleteAlias = contract({
  name: 'DeleteAlias',
  summary: 'Takes a name from its key; the key stays as it is',
  effect: 'change',
  idempotent: true,
  routes: [{ method: 'DELETE', path: '/aliases/:alias_name', status: 200 }],
  request: Fields(named),
  reply,
  codes: ['ALIAS_NOT_FOUND', 'REVISION_CONFLICT', 'IDEMPOTENCY_CONFLICT'],
  example: { request: { alias_name: 'alias/orders' } },
})

export const ListAliases = contract({
  name: 'ListAliases',
  summary: 'Lists the aliases of keys that the caller may describe, in order of their names',
  effect: 'read',
  idempotent: false,
  routes: [{ method: 'GET', path: '/aliases', status: 200 }],
  request: Fields({ key_id: Type.Optional(KeyId), ...Page }),
  reply: Reply({
    items: Type.Array(
      Fields({ alias_name: AliasName, target_key_id: Lid, created_at: Timestamp, updated_at: Timestamp }),
    ),
    next_cursor: Type.Optional(Type.String()),
  }),
  codes: ['KEY_NOT_FOUND', 'REVISION_CONFLICT'],
  example: { request: { max_results: 10 } },
})
