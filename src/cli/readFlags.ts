import { LIMITS } from '../../schemas/limits.ts'
import { parseBase64, readByteFields } from '../core/byteFields.ts'
import { ok, type Result } from '../core/result.ts'
import { parseStrictJson } from '../core/strictJson.ts'
import type { Flag } from './flags.ts'

/** What was typed for a flag; `bytes` tells the three spellings apart. */
export type Typed =
  | { readonly as: 'absent' }
  | { readonly as: 'given' }
  | { readonly as: 'text'; readonly text: string }
  | { readonly as: 'list'; readonly texts: readonly string[] }
  | { readonly as: 'file'; readonly path: string }
  | { readonly as: 'base64'; readonly text: string }

/** Why there is no request: a mistake on the command line, or a file that cannot be read. */
export interface FlagFault {
  readonly kind: 'usage' | 'io'
  readonly message: string
}

/** Reads a whole file, or standard input for `-`, of at most `bytesMax`. */
export type ReadBytes = (path: string, bytesMax: number) => Promise<Result<Uint8Array, string>>

const usage = (message: string): { readonly ok: false; readonly error: FlagFault } => ({
  ok: false,
  error: { kind: 'usage', message },
})

/**
 * The request that a command line means. Bounds and patterns are left to the service, which knows them best; here only
 * the form is read. The byte arrays are the caller's to zero.
 */
export const readFlags = async (
  flags: readonly Flag[],
  find: (flag: Flag) => Typed,
  readBytes: ReadBytes,
): Promise<Result<Record<string, unknown>, FlagFault>> => {
  const request: Record<string, unknown> = Object.create(null)
  const missing = flags.find((flag) => flag.isRequired && find(flag).as === 'absent')
  if (missing !== undefined) return usage(explainMissing(missing))
  for (const flag of flags) {
    const typed = find(flag)
    if (typed.as === 'absent') continue
    const value = await readAny(flag, typed, readBytes)
    if (!value.ok) return value
    request[flag.field] = value.value
  }
  return ok(request)
}

const explainMissing = ({ field, name, kind }: Flag): string => {
  if (field === 'key_id') return 'a key is missing: give its id or alias, as <key-id> or --key-id'
  if (kind === 'json') return `one of --${name}-file and --${name} is needed`
  if (kind === 'bytes') return `one of --${name}-file, --${name} and --${name}-base64 is needed`
  return `--${name} is needed`
}

const readAny = async (flag: Flag, typed: Typed, readBytes: ReadBytes): Promise<Result<unknown, FlagFault>> => {
  if (flag.kind === 'bytes') return readByteFlag(flag, typed, readBytes)
  return flag.kind === 'json' ? readJsonFlag(flag, typed, readBytes) : readFlag(flag, typed)
}

/** Strict JSON, with bytes where the contract says base64; what is not of an item's contract is left to the service. */
const readJsonFlag = async (flag: Flag, typed: Typed, readBytes: ReadBytes): Promise<Result<unknown, FlagFault>> => {
  const bytes = await readByteFlag(flag, typed, readBytes)
  if (!bytes.ok || !(bytes.value instanceof Uint8Array)) return bytes
  const parsed = parseJson(flag, bytes.value)
  bytes.value.fill(0)
  if (!parsed.ok) return parsed
  if (!Array.isArray(parsed.value)) return usage(`--${flag.name} must be a JSON array`)
  const read = flag.byteFields === undefined ? parsed : readByteFields(flag.byteFields, parsed.value)
  return read.ok ? read : usage(`--${flag.name}: ${read.error.message}`)
}

const readByteFlag = async (flag: Flag, typed: Typed, readBytes: ReadBytes): Promise<Result<unknown, FlagFault>> => {
  if (typed.as === 'text') return ok(new Uint8Array(Buffer.from(typed.text)))
  if (typed.as === 'base64') {
    const bytes = parseBase64(typed.text)
    return bytes ? ok(bytes) : usage(`--${flag.name}-base64 must be base64 with padding (RFC 4648 section 4)`)
  }
  if (typed.as !== 'file') return usage(`--${flag.name} needs a value`)
  const read = await readBytes(typed.path, LIMITS.requestBytesMax)
  return read.ok ? read : { ok: false, error: { kind: 'io', message: `--${flag.name}-file: ${read.error}` } }
}

const readFlag = (flag: Flag, typed: Typed): Result<unknown, FlagFault> => {
  if (flag.kind === 'boolean') return ok(true)
  if (typed.as === 'list') return readList(flag, typed.texts)
  if (typed.as !== 'text') return usage(`--${flag.name} needs a value`)
  switch (flag.kind) {
    case 'integer':
      return readInteger(flag, typed.text)
    case 'choice':
      return flag.choices.includes(typed.text)
        ? ok(typed.text)
        : usage(`--${flag.name} must be one of ${flag.choices.join(', ')}`)
    default:
      return ok(typed.text)
  }
}

const parseJson = (flag: Flag, bytes: Uint8Array): Result<unknown, FlagFault> => {
  const parsed = parseStrictJson(bytes, LIMITS.requestDepthMax)
  return parsed.ok ? parsed : usage(`--${flag.name} is not strict JSON: ${parsed.error.rule}`)
}

const readInteger = (flag: Flag, text: string): Result<number, FlagFault> => {
  const value = Number(text)
  return /^(?:0|-?[1-9][0-9]*)$/.test(text) && Number.isSafeInteger(value)
    ? ok(value)
    : usage(`--${flag.name} must be an integer`)
}

const readList = (flag: Flag, texts: readonly string[]): Result<unknown, FlagFault> => {
  if (flag.kind === 'texts') return ok([...texts])
  const [first] = texts
  if (flag.kind === 'attributes' && first?.startsWith('{')) {
    if (texts.length > 1) return usage(`--${flag.name} takes one JSON object, or key=value pairs, not both`)
    return parseJson(flag, Buffer.from(first))
  }
  const pairs = readPairs(flag, texts)
  if (!pairs.ok || flag.kind !== 'tags') return pairs
  return ok(Object.entries(pairs.value).map(([key, value]) => ({ key, value })))
}

/** The first `=` divides, so that a value may have more of them. */
const readPairs = (flag: Flag, texts: readonly string[]): Result<Record<string, string>, FlagFault> => {
  const pairs: Record<string, string> = Object.create(null)
  for (const text of texts) {
    const at = text.indexOf('=')
    if (at < 1) return usage(`--${flag.name} must be key=value`)
    const key = text.slice(0, at)
    if (key in pairs) return usage(`--${flag.name} has a key twice`)
    pairs[key] = text.slice(at + 1)
  }
  return ok(pairs)
}
