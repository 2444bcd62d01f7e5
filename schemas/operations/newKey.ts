import Type from 'typebox'
import type { ErrorCode } from '../errors.ts'
import { KeySpec, KeyUsage } from '../keys.ts'
import { LIMITS } from '../limits.ts'
import { AttributeSet, KeyId, Tags, Text } from '../primitives.ts'
import { NamespaceName } from '../routing.ts'

/** What every new key is told, whether the HSM makes it or the caller brings it. */
export const newKey = {
  key_spec: KeySpec,
  key_usage: Type.Optional(KeyUsage),
  description: Type.Optional(Text(0, LIMITS.descriptionBytesMax)),
  tags: Type.Optional(Tags),
  attributes: Type.Optional(AttributeSet),
  namespace: Type.Optional(NamespaceName),
  parent_key_id: Type.Optional(KeyId),
  exportable: Type.Optional(
    Type.Boolean({ description: 'May leave the HSM, wrapped; false if absent, and then for ever' }),
  ),
}

export const newKeyCodes = [
  'KEY_NOT_FOUND',
  'NOT_FOUND',
  'PARENT_NOT_USABLE',
  'IMMUTABLE_TAG',
  'UNSUPPORTED_BY_HSM',
  'HSM_UNAVAILABLE',
  'IDEMPOTENCY_CONFLICT',
  'REVISION_CONFLICT',
] as const satisfies readonly ErrorCode[]
