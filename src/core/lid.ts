import { randomBytes } from 'node:crypto'
import { blake3 } from '@noble/hashes/blake3.js'
import { type AttributeValue, LID_PATTERN } from '../../schemas/primitives.ts'
import { type Attributes, CANONICALIZATION_VERSION, encodeCanonical } from './canonical.ts'
import type { Lid } from './instruction.ts'
import { fail, ok, type Result } from './result.ts'

/** The attribute the service injects so that no two keys share a LID (invariant 9). */
const KEY_ID_ATTRIBUTE = '_kms_key_id'
const RESERVED_PREFIXES = ['kms.', '_kms'] as const

/** Whether a tag or attribute name belongs to the service. */
export const isReservedName = (name: string): boolean =>
  RESERVED_PREFIXES.some((prefix) => name.normalize('NFC').startsWith(prefix))

const LID_REGEX = new RegExp(LID_PATTERN)

/** Parses a LID; INVALID_REQUEST otherwise. */
export const parseLid = (text: string): Result<Lid> =>
  LID_REGEX.test(text)
    ? ok(text as Lid)
    : fail('INVALID_REQUEST', 'key_id must be lid_ and 64 lowercase hex digits, or an alias')

/** The 32 raw bytes of a LID. */
export const toLidBytes = (lid: Lid): Uint8Array => Buffer.from(lid.slice(4), 'hex')

/** The LID of 32 raw bytes. */
export const toLid = (bytes: Uint8Array): Lid => `lid_${Buffer.from(bytes).toString('hex')}` as Lid

/** BLAKE3 over the canonicalization version (u32 little-endian) and the canonical form. */
export const hashCanonical = (canonical: Uint8Array): Lid => {
  const version = Buffer.alloc(4)
  version.writeUInt32LE(CANONICALIZATION_VERSION)
  return toLid(blake3(Buffer.concat([version, canonical])))
}

export interface Identity {
  readonly lid: Lid
  /** The caller's attributes and the injected one, NFC-normalized: the key's identity tags. */
  readonly identityTags: Attributes
  /** The caller's attributes alone, as they stand in the identity tags. */
  readonly attributes: Attributes
}

/**
 * Derives a key's LID. `uniqueId` is a UUIDv7 that is injected before derivation, so it can't be left out.
 * INVALID_REQUEST for reserved names and what has no canonical form.
 */
export const deriveIdentity = (attributes: Attributes, uniqueId: string): Result<Identity> => {
  for (const name of Object.keys(attributes))
    if (isReservedName(name)) return fail('INVALID_REQUEST', 'attribute names beginning with kms. or _kms are reserved')
  const identityTags = Object.assign(Object.create(null), attributes, { [KEY_ID_ATTRIBUTE]: uniqueId })
  const canonical = encodeCanonical(identityTags)
  if (!canonical.ok) return canonical
  return ok({
    lid: hashCanonical(canonical.value),
    identityTags: normalizePairs(identityTags),
    attributes: normalizePairs(attributes),
  })
}

/** The spelling that the LID is made of, so that a policy can't be slipped past by another spelling of the same text. */
const normalizeValue = (value: AttributeValue): AttributeValue => {
  if (typeof value === 'string') return value.normalize('NFC')
  if (isTextList(value)) return value.map((item) => item.normalize('NFC'))
  return typeof value === 'object' ? normalizePairs(value) : value
}

const isTextList = (value: AttributeValue): value is readonly string[] => Array.isArray(value)

/** No two keys become one here: `encodeCanonical` has refused that. */
const normalizePairs = (pairs: Attributes): Attributes => {
  const normalized: Record<string, AttributeValue> = Object.create(null)
  for (const [key, value] of Object.entries(pairs)) normalized[key.normalize('NFC')] = normalizeValue(value)
  return normalized
}

/** A UUIDv7 (RFC 9562 §5.7): 48 bits of Unix milliseconds, the rest random. */
export const createUuidV7 = (nowMs: number, random: Uint8Array = randomBytes(16)): string => {
  const bytes = Buffer.from(random)
  bytes.writeUIntBE(nowMs, 0, 6)
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x70, 6)
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8)
  const hex = bytes.toString('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}
