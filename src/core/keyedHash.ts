import { blake3 } from '@noble/hashes/blake3.js'
import { encodeMsgpack } from './encodeMsgpack.ts'
import type { Sensitive } from './sensitive.ts'

const CONTEXT_DOMAIN = Buffer.from('chatelaine/context/v1\0', 'latin1')
const IMPORT_TOKEN_DOMAIN = Buffer.from('chatelaine/import-token/v1\0', 'latin1')
const IDEMPOTENCY_DOMAIN = Buffer.from('chatelaine/idempotency/v1\0', 'latin1')

const sortKeys = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(sortKeys)
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value
  const byBytes = (a: [string, unknown], b: [string, unknown]) => Buffer.compare(Buffer.from(a[0]), Buffer.from(b[0]))
  // A Map keeps the order of keys that look like numbers, and `__proto__` is an ordinary key in it.
  return new Map(
    Object.entries(value)
      .filter(([, member]) => member !== undefined)
      .sort(byBytes)
      .map(([key, member]) => [key, sortKeys(member)]),
  )
}

/** MessagePack with map keys sorted by their UTF-8 bytes: equal values have equal bytes. */
export const encodeSorted = (value: unknown): Uint8Array => encodeMsgpack(sortKeys(value))

/** The keyed BLAKE3 hashes that stand in the ledger in place of what they hash; the key never leaves `Sensitive`. */
export interface KeyedHashes {
  /** Hash of an encoded encryption context; absent when the context is empty. */
  hashContext(encoded: Uint8Array): Uint8Array | undefined
  /** Hash of any value for the idempotency table. */
  hashIdempotency(value: unknown): Uint8Array
  /** Hash of an import token, which stands in for it. */
  hashImportToken(token: Uint8Array): Uint8Array
}

/** Unkeyed, a hash of a guessable context would be a dictionary oracle for whoever reads the ledger. */
export const createKeyedHashes = (key: Sensitive): KeyedHashes => {
  const hash = (domain: Uint8Array, bytes: Uint8Array) => blake3(Buffer.concat([domain, bytes]), { key: key.expose() })
  return {
    hashContext: (encoded) => (encoded.length === 0 ? undefined : hash(CONTEXT_DOMAIN, encoded)),
    hashImportToken: (token) => hash(IMPORT_TOKEN_DOMAIN, token),
    hashIdempotency: (value) => hash(IDEMPOTENCY_DOMAIN, encodeSorted(value)),
  }
}
