import { createHash } from 'node:crypto'
import { LIMITS } from '../../schemas/limits.ts'
import { isSignedBy, parseVerifyKey, type VerifyKey } from './ed25519.ts'
import { must, ok, type Result } from './result.ts'

/** `ed25519`: a signature over the note's text (type 01). `cosignature`: a witness's, with its time (type 04, cosignature/v1). */
export type NoteKeyType = 'ed25519' | 'cosignature'

/** A key that may sign notes (C2SP signed-note). A name has neither spaces nor `+`. */
export interface NoteKey {
  readonly name: string
  readonly type: NoteKeyType
  readonly key: VerifyKey
}

/** One signature line. Who made it is known only by name and a 32-bit id: it says nothing before it is verified. */
export interface NoteSignature {
  readonly name: string
  /** 8 hex digits. */
  readonly keyId: string
  /** What follows the key id: 64 bytes, for a cosignature 8 bytes of time before them. */
  readonly signature: Uint8Array
}

/** A text, which ends in a line end, and its signatures: at least one. */
export interface SignedNote {
  readonly text: string
  readonly signatures: readonly NoteSignature[]
}

/** A signature that was verified. `timeSeconds`: Unix time by the witness's clock, of a cosignature only. */
export interface VerifiedSignature {
  readonly key: NoteKey
  readonly signature: NoteSignature
  readonly timeSeconds?: number
}

/** The key id: hex of the first 4 bytes of SHA-256(name ‖ 0A ‖ type ‖ public key). */
export const toNoteKeyId = ({ name, type, key }: NoteKey): string => toKeyId(name, Buffer.of(TYPES[type], ...key.raw))

/** A verifier key in one line, `<name>+<key id>+<base64 of type ‖ public key>`. */
export const formatNoteKey = ({ name, type, key }: NoteKey): string => {
  must(isName(name), 'a key name is empty, or has a space or +')
  const typed = Buffer.of(TYPES[type], ...key.raw)
  return `${name}+${toKeyId(name, typed)}+${typed.toString('base64')}`
}

/** Reads a verifier key; says in words what is wrong. Other types of keys than the two are refused. */
export const parseNoteKey = (text: string): Result<NoteKey, string> => {
  const [, name, keyId, encoded] = KEY_PATTERN.exec(text) ?? []
  if (name === undefined || keyId === undefined || encoded === undefined || !isName(name))
    return bad('a verifier key is <name>+<8 hex digits>+<base64>')
  const typed = parseBase64(encoded)
  const type = typed?.[0] === 1 ? 'ed25519' : typed?.[0] === 4 ? 'cosignature' : undefined
  if (typed === undefined || type === undefined) return bad('the verifier key is not of an Ed25519 key')
  if (toKeyId(name, typed) !== keyId) return bad('the key id of the verifier key is not of its name and key')
  const key = parseVerifyKey(new Uint8Array(typed.subarray(1)))
  return key.ok ? ok({ name, type, key: key.value }) : key
}

/** The note as it is stored and sent. */
export const formatNote = ({ text, signatures }: SignedNote): string => {
  must(text.endsWith('\n'), "a note's text ends in a line end")
  return `${text}\n${formatSignatures(signatures)}`
}

/** Signature lines alone, as a witness answers them. */
export const formatSignatures = (signatures: readonly NoteSignature[]): string =>
  signatures
    .map(({ name, keyId, signature }) => {
      must(isName(name), 'a key name is empty, or has a space or +')
      return `${DASH} ${name} ${Buffer.concat([Buffer.from(keyId, 'hex'), signature]).toString('base64')}\n`
    })
    .join('')

/**
 * Syntax of a note: UTF-8 without control characters, a text, an empty line, 1 to `noteSignaturesMax` signature lines. The
 * text ends at the last empty line. Nothing is verified.
 */
export const parseNote = (bytes: Uint8Array): Result<SignedNote, string> => {
  const decoded = decodeText(bytes)
  if (!decoded.ok) return decoded
  const end = decoded.value.lastIndexOf('\n\n')
  if (end === -1) return bad('a note has an empty line before its signatures')
  const lines = parseLines(decoded.value.slice(end + 2))
  return lines.ok ? ok({ text: decoded.value.slice(0, end + 1), signatures: lines.value }) : lines
}

/** Signature lines alone, at least one. Nothing is verified. */
export const parseSignatures = (bytes: Uint8Array): Result<readonly NoteSignature[], string> => {
  const decoded = decodeText(bytes)
  return decoded.ok ? parseLines(decoded.value) : decoded
}

/**
 * The signatures by `keys`, verified. Signatures by other keys are ignored; one by a known key that does not verify spoils
 * the whole note, and so does the absence of any. Whether those that are there suffice is the caller's to say.
 */
export const verifyNote = (
  note: SignedNote,
  keys: readonly NoteKey[],
): Result<readonly VerifiedSignature[], string> => {
  const known = new Map(keys.map((key) => [`${key.name} ${toNoteKeyId(key)}`, key]))
  const verified: VerifiedSignature[] = []
  for (const signature of note.signatures) {
    const key = known.get(`${signature.name} ${signature.keyId}`)
    if (key === undefined) continue
    const one = verifySignature(note.text, signature, key)
    if (one === undefined) return bad(`the signature of ${key.name} does not verify`)
    if (!verified.some((earlier) => earlier.key === key)) verified.push(one)
  }
  return verified.length > 0 ? ok(verified) : bad('the note is not signed by a known key')
}

/** A signature line from 64 bytes over the text. */
export const toNoteSignature = (key: NoteKey, signature: Uint8Array): NoteSignature => {
  must(key.type === 'ed25519' && signature.length === 64, 'a note signature is 64 bytes by an Ed25519 key')
  return { name: key.name, keyId: toNoteKeyId(key), signature }
}

/** What a witness signs at a time (C2SP tlog-cosignature, cosignature/v1). */
export const toCosignedBytes = (text: string, timeSeconds: number): Uint8Array =>
  Buffer.from(`cosignature/v1\ntime ${timeSeconds}\n${text}`)

/** A witness's signature line, from 64 bytes over {@link toCosignedBytes}. */
export const toCosignature = (key: NoteKey, timeSeconds: number, signature: Uint8Array): NoteSignature => {
  must(key.type === 'cosignature' && signature.length === 64, 'a cosignature is 64 bytes by a witness key')
  const time = Buffer.alloc(8)
  time.writeBigUInt64BE(BigInt(timeSeconds))
  return { name: key.name, keyId: toNoteKeyId(key), signature: Buffer.concat([time, signature]) }
}

const DASH = '\u2014'
const TYPES = { ed25519: 1, cosignature: 4 } as const
const KEY_PATTERN = /^([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+={0,2})$/
const LINE_PATTERN = /^\u2014 ([^ ]+) ([A-Za-z0-9+/]+={0,2})$/
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what a note may not hold
const CONTROL_PATTERN = /[\0-\x09\x0b-\x1f]/

const bad = (error: string): { readonly ok: false; readonly error: string } => ({ ok: false, error })

const isName = (name: string): boolean => name.length > 0 && !/[\p{White_Space}+]/u.test(name)

const toKeyId = (name: string, typed: Uint8Array): string =>
  createHash('sha256').update(`${name}\n`).update(typed).digest('hex').slice(0, 8)

/** Only the one spelling that an encoder makes. */
const parseBase64 = (text: string): Buffer | undefined => {
  const bytes = Buffer.from(text, 'base64')
  return bytes.toString('base64') === text ? bytes : undefined
}

const decodeText = (bytes: Uint8Array): Result<string, string> => {
  if (bytes.length > LIMITS.noteBytesMax) return bad(`a note is larger than ${LIMITS.noteBytesMax} bytes`)
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    return CONTROL_PATTERN.test(text) ? bad('a note holds a control character') : ok(text)
  } catch {
    return bad('a note is not UTF-8')
  }
}

const parseLines = (text: string): Result<readonly NoteSignature[], string> => {
  if (!text.endsWith('\n')) return bad('a note ends in signature lines')
  const lines = text.slice(0, -1).split('\n')
  if (lines.length > LIMITS.noteSignaturesMax) return bad(`a note has more than ${LIMITS.noteSignaturesMax} signatures`)
  const signatures: NoteSignature[] = []
  for (const line of lines) {
    const [, name, encoded] = LINE_PATTERN.exec(line) ?? []
    const bytes = encoded === undefined ? undefined : parseBase64(encoded)
    if (name === undefined || !isName(name) || bytes === undefined || bytes.length <= KEY_ID_BYTES)
      return bad(`a signature line is ${DASH} <name> <base64>`)
    const keyId = bytes.toString('hex', 0, KEY_ID_BYTES)
    signatures.push({ name, keyId, signature: new Uint8Array(bytes.subarray(KEY_ID_BYTES)) })
  }
  return ok(signatures)
}

const KEY_ID_BYTES = 4
const TIME_BYTES = 8

const verifySignature = (text: string, signature: NoteSignature, key: NoteKey): VerifiedSignature | undefined => {
  if (key.type === 'ed25519')
    return isSignedBy(key.key, Buffer.from(text), signature.signature) ? { key, signature } : undefined
  if (signature.signature.length !== TIME_BYTES + 64) return undefined
  const time = Buffer.from(signature.signature.subarray(0, TIME_BYTES)).readBigUInt64BE()
  // Beyond 2^53 seconds a number is not exact any more, and no honest clock stands there.
  if (time > BigInt(Number.MAX_SAFE_INTEGER)) return undefined
  const timeSeconds = Number(time)
  return isSignedBy(key.key, toCosignedBytes(text, timeSeconds), signature.signature.subarray(TIME_BYTES))
    ? { key, signature, timeSeconds }
    : undefined
}
