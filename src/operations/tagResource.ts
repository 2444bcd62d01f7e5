import { LIMITS } from '../../schemas/limits.ts'
import { isReservedName } from '../core/lid.ts'
import { fail, ok } from '../core/result.ts'
import { guardKey, type Operation, planRecord, toClaim } from './operation.ts'
import { parseTags, RESERVED, toTagsBody } from './tags.ts'
import { checkChangeable, takeKey } from './use.ts'

export const tagResource: Operation<'TagResource'> = {
  replay: ({ lid }, view) => toTagsBody(view, lid),
  targets: (input) => ok([{ kind: 'key', action: 'kms:TagResource', ref: input.key_id }]),
  plan(input, resolved) {
    const { view, facts } = resolved
    const record = takeKey(resolved)
    const changeable = checkChangeable(input, record)
    if (!changeable.ok) return changeable
    const tags = parseTags(input.tags, record.identityTags)
    if (!tags.ok) return tags
    const keys = new Set([...record.userTags, ...tags.value].map(({ key }) => key))
    if (keys.size > LIMITS.tagsMax) return fail('INVALID_REQUEST', `a key may have ${LIMITS.tagsMax} tags at most`)
    const { lid } = record
    return ok(
      planRecord([guardKey(view, record)], () => ({
        event: { type: 'KeyTagged', data: { lid, tags: tags.value, ...toClaim(facts) } },
        resources: [{ lid }],
        toReply: (folded) => toTagsBody(folded, lid),
      })),
    )
  },
}

/**
 * What is asked for is that the tags are gone, so one that is not there is no error. The key of an identity tag is such a
 * one: no other answer, or the names of identity tags could be asked for.
 */
export const untagResource: Operation<'UntagResource'> = {
  replay: ({ lid }, view) => toTagsBody(view, lid),
  targets: (input) => ok([{ kind: 'key', action: 'kms:UntagResource', ref: input.key_id }]),
  plan(input, resolved) {
    const { view, facts } = resolved
    const record = takeKey(resolved)
    const changeable = checkChangeable(input, record)
    if (!changeable.ok) return changeable
    if (input.tag_keys.some(isReservedName)) return RESERVED
    const named = new Set(input.tag_keys.map((key) => key.normalize('NFC')))
    const { lid } = record
    const tag_keys = record.userTags.flatMap(({ key }) => (named.has(key) ? [key] : []))
    return ok(
      planRecord([guardKey(view, record)], () => ({
        event: { type: 'KeyUntagged', data: { lid, tag_keys, ...toClaim(facts) } },
        resources: [{ lid }],
        toReply: (folded) => toTagsBody(folded, lid),
      })),
    )
  },
}

export const listResourceTags: Operation<'ListResourceTags'> = {
  targets: (input) => ok([{ kind: 'key', action: 'kms:ListResourceTags', ref: input.key_id }]),
  plan(_input, resolved) {
    const { view } = resolved
    const record = takeKey(resolved)
    const { lid } = record
    return ok(
      planRecord([guardKey(view, record)], () => ({
        event: { type: 'TagsListed', data: { lid, items: record.userTags.length } },
        resources: [{ lid }],
        toReply: () => toTagsBody(view, lid),
      })),
    )
  },
}
