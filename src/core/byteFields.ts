import { BYTES_MARK, VARIANT_FIELD, VARIANTS_MARK } from '../../schemas/marks.ts'
import { fail, ok, type Result } from './result.ts'

/** Where bytes stand in a schema; found once for each contract, so that a body is walked only where bytes can be. */
export type ByteFields =
  | { readonly kind: 'bytes' }
  | { readonly kind: 'members'; readonly members: ReadonlyMap<string, ByteFields> }
  | { readonly kind: 'items'; readonly items: ByteFields }
  | { readonly kind: 'variants'; readonly variants: ReadonlyMap<string, ByteFields> }

/** The byte fields of a schema; undefined when it has none. */
export const findByteFields = (schema: unknown): ByteFields | undefined => {
  if (!isRecord(schema)) return undefined
  if (BYTES_MARK in schema) return { kind: 'bytes' }
  const variants = schema[VARIANTS_MARK] ?? schema['anyOf']
  if (Array.isArray(variants)) return findVariants(variants)
  if (isRecord(schema['properties'])) {
    const members = new Map<string, ByteFields>()
    for (const [name, member] of Object.entries(schema['properties'])) {
      const found = findByteFields(member)
      if (found) members.set(name, found)
    }
    return members.size > 0 ? { kind: 'members', members } : undefined
  }
  const items = findByteFields(schema['items'])
  return items && { kind: 'items', items }
}

/** Only what names its variant can be told apart; a union of other things holds no bytes in this contract. */
const findVariants = (schemas: readonly unknown[]): ByteFields | undefined => {
  const variants = new Map<string, ByteFields>()
  for (const schema of schemas) {
    const properties = isRecord(schema) && isRecord(schema['properties']) ? schema['properties'] : {}
    const field = properties[VARIANT_FIELD]
    const name = isRecord(field) ? field['const'] : undefined
    const found = findByteFields(schema)
    if (typeof name === 'string' && found) variants.set(name, found)
  }
  return variants.size > 0 ? { kind: 'variants', variants } : undefined
}

/** The byte fields of the variant that a value says it is. */
const findOwn = (variants: ReadonlyMap<string, ByteFields>, value: unknown): ByteFields | undefined => {
  const name = isRecord(value) ? value[VARIANT_FIELD] : undefined
  return typeof name === 'string' ? variants.get(name) : undefined
}

/**
 * Replaces base64 text by bytes, in place, wherever the schema says bytes. The arrays are not of Node's shared pool, so
 * their owner can zero them. INVALID_REQUEST names the field; values of another shape are left to validation.
 */
export const readByteFields = (fields: ByteFields, value: unknown, place = ''): Result<unknown> => {
  switch (fields.kind) {
    case 'bytes': {
      const bytes = typeof value === 'string' ? parseBase64(value) : undefined
      return bytes ? ok(bytes) : fail('INVALID_REQUEST', `${place} must be base64 with padding (RFC 4648 section 4)`)
    }
    case 'members':
      return isRecord(value) ? readMembers(fields.members, value, place) : ok(value)
    case 'items':
      return Array.isArray(value) ? readItems(fields.items, value, place) : ok(value)
    case 'variants': {
      const own = findOwn(fields.variants, value)
      // One that is not base64 stays text, which its own check refuses: it must not spoil what stands beside it.
      if (own) readByteFields(own, value, place)
      return ok(value)
    }
    default:
      return fields satisfies never
  }
}

const readMembers = (
  members: ReadonlyMap<string, ByteFields>,
  value: Record<string, unknown>,
  place: string,
): Result<unknown> => {
  for (const [name, inner] of members) {
    if (!Object.hasOwn(value, name)) continue
    const read = readByteFields(inner, value[name], place === '' ? name : `${place}.${name}`)
    if (!read.ok) return read
    value[name] = read.value
  }
  return ok(value)
}

const readItems = (items: ByteFields, value: unknown[], place: string): Result<unknown> => {
  for (const [index, item] of value.entries()) {
    const read = readByteFields(items, item, `${place}[${index}]`)
    if (!read.ok) return read
    value[index] = read.value
  }
  return ok(value)
}

/** A copy of a value with base64 text wherever the schema says bytes; parts without bytes are shared, not copied. */
export const writeByteFields = (fields: ByteFields, value: unknown): unknown => {
  switch (fields.kind) {
    case 'bytes':
      return value instanceof Uint8Array ? toBase64(value) : value
    case 'members': {
      if (!isRecord(value)) return value
      const copy: Record<string, unknown> = { ...value }
      for (const [name, inner] of fields.members) if (name in copy) copy[name] = writeByteFields(inner, copy[name])
      return copy
    }
    case 'items':
      return Array.isArray(value) ? value.map((item) => writeByteFields(fields.items, item)) : value
    case 'variants': {
      const own = findOwn(fields.variants, value)
      return own ? writeByteFields(own, value) : value
    }
    default:
      return fields satisfies never
  }
}

/** Whether a value is an object other than an array or bytes. */
export const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)

/** Zeroes every byte array in a decoded value, wherever it is. Decoding has bounded the depth. */
export const zeroBytes = (value: unknown): void => {
  if (value instanceof Uint8Array) value.fill(0)
  else if (typeof value === 'object' && value !== null) for (const member of Object.values(value)) zeroBytes(member)
}

const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'

/**
 * Bytes of canonical base64 (RFC 4648 section 4: padding required, unused bits zero), or undefined. One value has one
 * spelling, so that what was asked can be compared and hashed. Never from Node's shared pool.
 */
export const parseBase64 = (text: string): Uint8Array | undefined => {
  if (text.length % 4 !== 0 || !BASE64.test(text)) return undefined
  const padding = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0
  if (padding > 0) {
    const last = ALPHABET.indexOf(text.charAt(text.length - padding - 1))
    if (last === -1 || (last & (padding === 2 ? 0x0f : 0x03)) !== 0) return undefined
  }
  const bytes = Buffer.alloc((text.length / 4) * 3 - padding)
  bytes.write(text, 'base64')
  return bytes
}

const toBase64 = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64')
