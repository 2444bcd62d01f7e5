import type { KeyRecord } from '../../projections/keys.ts'
import type { View } from '../../projections/view.ts'
import type { EventData } from '../../schemas/events.ts'
import { LIMITS } from '../../schemas/limits.ts'
import type { Body } from '../../schemas/registry.ts'
import type { Lid } from '../core/instruction.ts'
import { isReservedName } from '../core/lid.ts'
import { fail, must, ok, type Result } from '../core/result.ts'

/** User tags, in the order they were given. */
export type Tags = EventData<'KeyTagged'>['tags']

/**
 * User tags in one spelling (NFC), as identity tags are: a policy can't be slipped past by another spelling of the same
 * text, and two tags that read the same are one.
 */
export const normalizeTags = (tags: Tags): Tags =>
  tags.map(({ key, value }) => ({ key: key.normalize('NFC'), value: value.normalize('NFC') }))

/**
 * User tags as they are recorded. INVALID_REQUEST for keys that are the same or the service's own, and for what has grown
 * over its limit by normalization; IMMUTABLE_TAG for the key of an identity tag. Messages quote neither: the names of
 * identity tags are as little for callers as their values.
 */
export const parseTags = (tags: Tags, identityTags: KeyRecord['identityTags']): Result<Tags> => {
  const normalized = normalizeTags(tags)
  const keys = normalized.map(({ key }) => key)
  if (new Set(keys).size !== keys.length) return fail('INVALID_REQUEST', 'tags must have different keys')
  if (keys.some(isReservedName)) return RESERVED
  if (normalized.some(({ key, value }) => isOver(key, LIMITS.tagKeyBytesMax) || isOver(value, LIMITS.tagValueBytesMax)))
    return fail(
      'INVALID_REQUEST',
      `tags may have keys of ${LIMITS.tagKeyBytesMax} and values of ${LIMITS.tagValueBytesMax} bytes in NFC`,
    )
  const taken = new Set(Object.keys(identityTags).map((name) => name.normalize('NFC')))
  return keys.some((key) => taken.has(key))
    ? fail('IMMUTABLE_TAG', 'a tag has the key of an identity attribute')
    : ok(normalized)
}

const isOver = (text: string, bytesMax: number): boolean => Buffer.byteLength(text) > bytesMax

/** The failure for a tag key that belongs to the service. */
export const RESERVED = fail('INVALID_REQUEST', 'tag keys beginning with kms. or _kms are reserved')

/** Whether a key has every tag of a filter. */
export const hasTags = ({ userTags }: KeyRecord, wanted: Tags): boolean =>
  wanted.every((one) => userTags.some(({ key, value }) => key === one.key && value === one.value))

/** The user tags of a key that the view must hold. */
export const toTagsBody = (view: View, lid: Lid | undefined): Body<'ListResourceTags'> => {
  const record = view.keys.byLid.get(lid ?? '')
  must(record !== undefined, `key ${lid} is not in the view`)
  return {
    key_id: record.lid,
    tags: record.userTags.map(({ key, value }) => ({ key, value })),
    revision: record.revision,
  }
}
