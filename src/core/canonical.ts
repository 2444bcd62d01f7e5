import { LIMITS } from '../../schemas/limits.ts'
import type { AttributeValue } from '../../schemas/primitives.ts'
import { fail, ok, type Result } from './result.ts'

/** The version of the canonical form below; part of every LID. */
export const CANONICALIZATION_VERSION = 1

export type Attributes = Readonly<Record<string, AttributeValue>>

const TAG = { string: 1, int64: 2, bool: 3, list: 4, record: 5 } as const
const RECORD_DEPTH_MAX = 4

/** Thrown inside this file only, and turned into a Result at its border: recursion reads better without plumbing. */
class Refusal extends Error {}

const u32le = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}

const encodeText = (text: string): Buffer => {
  if (!text.isWellFormed()) throw new Refusal('attributes must be well-formed Unicode')
  return Buffer.from(text.normalize('NFC'), 'utf8')
}

const tagged = (tag: number, payload: Buffer): Buffer => Buffer.concat([Buffer.of(tag), u32le(payload.length), payload])

const encodeInteger = (value: number): Buffer => {
  if (!Number.isSafeInteger(value)) throw new Refusal('attribute numbers must be integers of at most 53 bits')
  const bytes = Buffer.alloc(8)
  bytes.writeBigInt64LE(BigInt(value))
  return bytes
}

const encodeList = (list: readonly unknown[]): Buffer => {
  const parts = list.map((item) => {
    if (typeof item !== 'string') throw new Refusal('attribute lists may hold strings only')
    const bytes = encodeText(item)
    return Buffer.concat([u32le(bytes.length), bytes])
  })
  return Buffer.concat([u32le(list.length), ...parts])
}

const encodeValue = (value: unknown, depth: number): Buffer => {
  if (typeof value === 'string') return tagged(TAG.string, encodeText(value))
  if (typeof value === 'number') return tagged(TAG.int64, encodeInteger(value))
  if (typeof value === 'boolean') return tagged(TAG.bool, Buffer.of(value ? 1 : 0))
  if (Array.isArray(value)) return tagged(TAG.list, encodeList(value))
  if (typeof value === 'object' && value !== null && !ArrayBuffer.isView(value))
    return tagged(TAG.record, encodePairs(value, depth + 1))
  throw new Refusal('attributes must be strings, integers, booleans, lists of strings or records')
}

const encodePairs = (set: object, depth: number): Buffer => {
  if (depth > RECORD_DEPTH_MAX) throw new Refusal(`attribute records may be ${RECORD_DEPTH_MAX} deep at most`)
  const pairs = Object.entries(set).map(([key, value]) => ({ key: encodeText(key), value: encodeValue(value, depth) }))
  if (pairs.length > LIMITS.attributePairsMax)
    throw new Refusal(`attributes may hold ${LIMITS.attributePairsMax} pairs at most`)
  pairs.sort((a, b) => Buffer.compare(a.key, b.key))
  for (const [index, pair] of pairs.entries())
    if (index > 0 && pairs[index - 1]?.key.equals(pair.key))
      throw new Refusal('two attribute keys are the same after Unicode normalization')
  return Buffer.concat(pairs.flatMap(({ key, value }) => [tagged(TAG.string, key), value]))
}

/**
 * Canonical form V1 of an attribute set: pairs sorted by the UTF-8 bytes of their NFC-normalized keys; key and value
 * each as tag byte, u32 little-endian length, payload. The empty set is zero bytes. INVALID_REQUEST for anything that has no
 * canonical form or is over the limits.
 */
export const encodeCanonical = (attributes: Attributes): Result<Uint8Array> => {
  try {
    const bytes = encodePairs(attributes, 1)
    return bytes.length <= LIMITS.attributeBytesMax
      ? ok(bytes)
      : fail('INVALID_REQUEST', `attributes must be at most ${LIMITS.attributeBytesMax} bytes in canonical form`)
  } catch (error) {
    if (error instanceof Refusal) return fail('INVALID_REQUEST', error.message)
    throw error
  }
}
