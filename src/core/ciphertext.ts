import { LIMITS } from '../../schemas/limits.ts'
import { CANONICALIZATION_VERSION } from './canonical.ts'
import type { Lid, MaterialRef } from './instruction.ts'
import { toLid, toLidBytes } from './lid.ts'
import { type CipherName, SPECS } from './lifecycle.ts'
import { fail, must, ok, type Result } from './result.ts'

/** Layout of the ciphertext blob: header ‖ nonce ‖ ciphertext ‖ tag; all integers little-endian. */
export const HEADER_BYTES = 80
export const NONCE_BYTES = 12
export const TAG_BYTES = 16
export const BLOB_OVERHEAD_BYTES = HEADER_BYTES + NONCE_BYTES + TAG_BYTES

const MAGIC = Buffer.from('CHTL', 'latin1')
const HEADER_VERSION = 1
const ALGORITHM_IDS: Readonly<Record<CipherName, number>> = { AES_256_GCM: 1, AES_128_GCM: 2 }
const RESERVED_AT = 48

export interface CiphertextHeader {
  readonly cipher: CipherName
  readonly lid: Lid
  readonly version: number
}

const findCipher = (id: number): CipherName | undefined =>
  id === ALGORITHM_IDS.AES_256_GCM ? 'AES_256_GCM' : id === ALGORITHM_IDS.AES_128_GCM ? 'AES_128_GCM' : undefined

/** The 80-byte header that names the key and is the first part of the AAD. */
export const encodeHeader = ({ spec, lid, version }: Pick<MaterialRef, 'spec' | 'lid' | 'version'>): Uint8Array => {
  const { cipher } = SPECS[spec]
  must(cipher !== undefined, 'a ciphertext header for a key that does not encrypt')
  const header = Buffer.alloc(HEADER_BYTES)
  MAGIC.copy(header, 0)
  header.writeUInt16LE(HEADER_VERSION, 4)
  header.writeUInt16LE(ALGORITHM_IDS[cipher], 6)
  header.set(toLidBytes(lid), 8)
  header.writeUInt32LE(version, 40)
  header.writeUInt32LE(CANONICALIZATION_VERSION, 44)
  return header
}

/** The one text of every decryption failure, so that causes can't be told apart. */
export const CIPHERTEXT_REFUSED = 'the ciphertext cannot be decrypted'

/** Reads the header of a blob; INVALID_CIPHERTEXT for anything this version did not write. */
export const parseHeader = (blob: Uint8Array): Result<CiphertextHeader> => {
  const bytes = Buffer.from(blob.buffer, blob.byteOffset, blob.length)
  const cipher = bytes.length < BLOB_OVERHEAD_BYTES ? undefined : findCipher(bytes.readUInt16LE(6))
  const isOurs =
    cipher !== undefined &&
    bytes.subarray(0, 4).equals(MAGIC) &&
    bytes.readUInt16LE(4) === HEADER_VERSION &&
    bytes.readUInt32LE(40) >= 1 &&
    bytes.readUInt32LE(44) === CANONICALIZATION_VERSION &&
    bytes.subarray(RESERVED_AT, HEADER_BYTES).every((byte) => byte === 0)
  if (!isOurs) return fail('INVALID_CIPHERTEXT', CIPHERTEXT_REFUSED)
  return ok({ cipher, lid: toLid(bytes.subarray(8, 40)), version: bytes.readUInt32LE(40) })
}

const lengthPrefixed = (bytes: Buffer): Buffer => {
  const length = Buffer.alloc(4)
  length.writeUInt32LE(bytes.length)
  return Buffer.concat([length, bytes])
}

/**
 * The encryption context as AAD: pairs sorted by key bytes, each part length-prefixed; strings as sent, not normalized.
 * Absent and `{}` are both zero bytes. INVALID_REQUEST over the limits or for ill-formed Unicode.
 */
export const encodeContext = (context: Readonly<Record<string, string>> | undefined): Result<Uint8Array> => {
  const pairs = Object.entries(context ?? {})
  if (pairs.length > LIMITS.contextPairsMax)
    return fail('INVALID_REQUEST', `encryption_context may hold ${LIMITS.contextPairsMax} pairs at most`)
  if (pairs.some(([key, value]) => !key.isWellFormed() || !value.isWellFormed()))
    return fail('INVALID_REQUEST', 'encryption_context must be well-formed Unicode')
  const encoded = pairs
    .map(([key, value]) => ({ key: Buffer.from(key, 'utf8'), value: Buffer.from(value, 'utf8') }))
    .sort((a, b) => Buffer.compare(a.key, b.key))
    .flatMap(({ key, value }) => [lengthPrefixed(key), lengthPrefixed(value)])
  const bytes = Buffer.concat(encoded)
  return bytes.length <= LIMITS.contextBytesMax
    ? ok(bytes)
    : fail('INVALID_REQUEST', `encryption_context must be at most ${LIMITS.contextBytesMax} bytes encoded`)
}
