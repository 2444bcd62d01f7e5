import Type from 'typebox'
import { contract, Reply } from '../contract.ts'
import { LIMITS } from '../limits.ts'
import { Fields, KeyId, Lid, Revision, Tag, TagKey, Tags } from '../primitives.ts'

const reply = Reply({ key_id: Lid, tags: Tags, revision: Revision })
const change = { if_revision: Type.Optional(Revision) }
const changeCodes = ['KEY_NOT_FOUND', 'INVALID_STATE_TRANSITION', 'REVISION_CONFLICT', 'IDEMPOTENCY_CONFLICT'] as const

export const TagResource = contract({
  name: 'TagResource',
  summary: 'Sets user tags of a key; those of other keys stay',
  effect: 'change',
  idempotent: true,
  routes: [{ method: 'POST', path: '/keys/:id/tags', status: 200 }],
  request: Fields({
    key_id: KeyId,
    tags: Type.Array(Tag, { minItems: 1, maxItems: LIMITS.tagsMax, description: 'Replace those of the same key' }),
    ...change,
  }),
  reply,
  codes: ['IMMUTABLE_TAG', ...changeCodes],
  example: { request: { tags: [{ key: 'team', value: 'payments' }] } },
})

export const UntagResource = contract({
  name: 'UntagResource',
  summary: 'Removes user tags of a key; one that is not there is no error',
  effect: 'change',
  idempotent: true,
  routes: [{ method: 'DELETE', path: '/keys/:id/tags', status: 200 }],
  request: Fields({
    key_id: KeyId,
    tag_keys: Type.Array(TagKey, { minItems: 1, maxItems: LIMITS.tagsMax }),
    ...change,
  }),
  reply,
  codes: [...changeCodes],
  example: { request: { tag_keys: ['team'] } },
})

export const ListResourceTags = contract({
  name: 'ListResourceTags',
  summary: 'Shows the user tags of a key',
  effect: 'read',
  idempotent: false,
  routes: [{ method: 'GET', path: '/keys/:id/tags', status: 200 }],
  request: Fields({ key_id: KeyId }),
  reply,
  codes: ['KEY_NOT_FOUND', 'REVISION_CONFLICT'],
  example: { request: {} },
})
