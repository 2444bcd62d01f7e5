import Type, { type TSchema } from 'typebox'
import { LIMITS } from './limits.ts'
import { BYTES_MARK } from './marks.ts'

/** Bytes of `min` to `max` length. */
export const Bytes = (min: number, max: number, description?: string) =>
  Type.Refine(
    Type.Unsafe<Uint8Array>({ [BYTES_MARK]: max, 'x-bytes-min': min, ...(description ? { description } : {}) }),
    (value: unknown) => value instanceof Uint8Array && value.length >= min && value.length <= max,
    () => `must be binary, ${min} to ${max} bytes`,
  )

/** An object whose members are all named; an unknown one is refused. */
export const Fields = <P extends Record<string, TSchema>>(
  properties: P,
  options: { readonly description?: string; readonly default?: object } = {},
) => Type.Object(properties, { additionalProperties: false, ...options })

/** Text of `min` to `max` UTF-8 bytes. */
export const Text = (min: number, max: number, description?: string) =>
  Type.Refine(
    Type.String({ minLength: min, maxLength: max, ...(description ? { description } : {}) }),
    (value: unknown) => typeof value === 'string' && new TextEncoder().encode(value).length <= max,
    () => `must be at most ${max} bytes of UTF-8`,
  )

/** One of a closed list of strings. */
export const OneOf = <const L extends readonly string[]>(names: L, description?: string, preset?: L[number]) =>
  Type.Unsafe<L[number]>({
    type: 'string',
    enum: [...names],
    ...(description ? { description } : {}),
    ...(preset ? { default: preset } : {}),
  })

export const LID_PATTERN = '^lid_[0-9a-f]{64}$'

const ALIAS = 'alias/[A-Za-z0-9_/-]{1,128}'

export const KEY_ID_PATTERN = `^(lid_[0-9a-f]{64}|${ALIAS})$`

/** A key id as a caller may write it: a LID or an alias. */
export const KeyId = Type.String({
  pattern: KEY_ID_PATTERN,
  description: 'lid_ and 64 lowercase hex digits, or an alias',
})

export const Lid = Type.String({ pattern: LID_PATTERN, description: 'lid_ and 64 lowercase hex digits' })

export const AliasName = Type.String({
  pattern: `^${ALIAS}$`,
  description: 'alias/ and 1 to 128 letters, digits, _, / or -',
})

export const BACKEND_ID_PATTERN = '^[a-z0-9-]{1,32}$'

export const BackendId = Type.String({ pattern: BACKEND_ID_PATTERN, description: 'The name of an HSM backend' })

export const Timestamp = Type.String({ format: 'date-time', description: 'RFC 3339, UTC, milliseconds' })

export const Revision = Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER })

/** A map with own string keys only; members are checked where they are encoded (`src/core/canonical.ts`, `ciphertext.ts`). */
const isPlainMap = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)

/** The encryption context: strings to strings. Opaque to the service; only a keyed hash of it is ever stored. */
export const EncryptionContext = Type.Refine(
  Type.Unsafe<Readonly<Record<string, string>>>({
    type: 'object',
    additionalProperties: { type: 'string', maxLength: LIMITS.contextBytesMax },
    maxProperties: LIMITS.contextPairsMax,
    description: 'Additional authenticated data as string pairs; the same pairs must be given to decrypt',
  }),
  (value: unknown) => isPlainMap(value) && Object.values(value).every((member) => typeof member === 'string'),
  () => 'must map strings to strings',
)

/** A value of the identity attribute set. */
export type AttributeValue = string | number | boolean | readonly string[] | { readonly [key: string]: AttributeValue }

/** The identity attribute set. Depth, size and reserved names are checked in `src/core/canonical.ts`. */
export const AttributeSet = Type.Refine(
  Type.Unsafe<Readonly<Record<string, AttributeValue>>>({
    type: 'object',
    maxProperties: LIMITS.attributePairsMax,
    description: 'string, integer, boolean, list of strings or nested record; immutable, never returned',
  }),
  (value: unknown) => isPlainMap(value),
  () => 'must be an object',
)

export const TagKey = Text(1, LIMITS.tagKeyBytesMax)

export const Tag = Fields({ key: TagKey, value: Text(0, LIMITS.tagValueBytesMax) })

export const Tags = Type.Array(Tag, { maxItems: LIMITS.tagsMax, description: 'User tags; keys are unique' })

/** Where an operation's record stands in the ledger: the proof a caller keeps. */
export const Receipt = Fields({
  seq: Type.Integer({ minimum: 1, description: 'Sequence of the commit' }),
  index: Type.Integer({ minimum: 0, description: 'Place of the event in the commit, from 0' }),
  hash: Type.String({ pattern: '^[0-9a-f]{64}$', description: 'BLAKE3 hash of the commit, hex' }),
})

export const Page = {
  max_results: Type.Optional(
    Type.Integer({
      minimum: 1,
      maximum: LIMITS.pageItemsMax,
      description: `Items wanted; ${LIMITS.pageItemsDefault} if absent`,
    }),
  ),
  cursor: Type.Optional(
    Type.String({ minLength: 1, maxLength: LIMITS.cursorCharsMax, description: 'next_cursor of the page before' }),
  ),
}
