import { isUtf8 } from 'node:buffer'

/** Why a text is not strict JSON: the rule, where (in characters), and under which member of the outermost object. */
export interface JsonFault {
  readonly rule: string
  readonly offset: number
  readonly member?: string
}

export type JsonOutcome =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly error: JsonFault }

/**
 * Reads one JSON text (RFC 8259) and refuses what `JSON.parse` lets pass: duplicate keys, ill-formed Unicode in bytes or
 * escapes, numbers that are not safe integers, nesting deeper than `depthMax` (the outermost container is 1).
 * Objects have no prototype, so `__proto__` is an ordinary key. A fault quotes nothing of the text but a member name.
 */
export const parseStrictJson = (bytes: Uint8Array, depthMax: number): JsonOutcome => {
  if (!isUtf8(bytes)) return { ok: false, error: { rule: 'text must be well-formed UTF-8', offset: 0 } }
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8')
  const scan: Scan = { text, depthMax, at: 0, depth: 0, fault: undefined, member: undefined }
  const value = readValue(scan)
  skipSpace(scan)
  if (scan.fault === undefined && scan.at < text.length) scan.fault = 'nothing may follow the value'
  if (scan.fault === undefined) return { ok: true, value }
  const place = scan.member === undefined ? {} : { member: scan.member }
  return { ok: false, error: { rule: scan.fault, offset: scan.at, ...place } }
}

interface Scan {
  readonly text: string
  readonly depthMax: number
  at: number
  depth: number
  /** Once set, every reader returns at once. */
  fault: string | undefined
  member: string | undefined
}

const QUOTE = 0x22
const COMMA = 0x2c
const COLON = 0x3a
const BRACKET_OPEN = 0x5b
const BACKSLASH = 0x5c
const BRACKET_CLOSE = 0x5d
const BRACE_OPEN = 0x7b
const BRACE_CLOSE = 0x7d

const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y
// biome-ignore lint/suspicious/noControlCharactersInRegex: raw control characters are what JSON forbids in strings
const NEEDS_CARE = /[\\\u0000-\u001f]/
const LONE_SURROGATE = /\p{Surrogate}/u
const LITERALS: ReadonlyMap<string, boolean | null> = new Map<string, boolean | null>([
  ['true', true],
  ['false', false],
  ['null', null],
])
const ESCAPES: ReadonlyMap<string, string> = new Map([
  ['"', '"'],
  ['\\', '\\'],
  ['/', '/'],
  ['b', '\b'],
  ['f', '\f'],
  ['n', '\n'],
  ['r', '\r'],
  ['t', '\t'],
])

const refuse = (scan: Scan, rule: string): undefined => {
  scan.fault ??= rule
  return undefined
}

const skipSpace = (scan: Scan): void => {
  for (;;) {
    const code = scan.text.charCodeAt(scan.at)
    if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return
    scan.at++
  }
}

/** Consumes `code` if it is next. */
const take = (scan: Scan, code: number): boolean => {
  skipSpace(scan)
  if (scan.text.charCodeAt(scan.at) !== code) return false
  scan.at++
  return true
}

const readValue = (scan: Scan): unknown => {
  skipSpace(scan)
  const code = scan.text.charCodeAt(scan.at)
  if (code === QUOTE) return readString(scan)
  if (code === BRACE_OPEN) return nested(scan, readObject)
  if (code === BRACKET_OPEN) return nested(scan, readArray)
  if (code === 0x2d || (code >= 0x30 && code <= 0x39)) return readNumber(scan)
  for (const [word, value] of LITERALS) {
    if (scan.text.startsWith(word, scan.at)) {
      scan.at += word.length
      return value
    }
  }
  return refuse(scan, scan.at < scan.text.length ? 'a value is expected' : 'the text ends early')
}

const nested = (scan: Scan, read: (scan: Scan) => unknown): unknown => {
  if (scan.depth === scan.depthMax) return refuse(scan, `nesting must be at most ${scan.depthMax} deep`)
  scan.depth++
  scan.at++
  const value = read(scan)
  scan.depth--
  return value
}

const readObject = (scan: Scan): unknown => {
  const object: Record<string, unknown> = Object.create(null)
  if (take(scan, BRACE_CLOSE)) return object
  do {
    skipSpace(scan)
    if (scan.text.charCodeAt(scan.at) !== QUOTE) return refuse(scan, 'a member name is expected')
    const key = readString(scan)
    if (key === undefined) return undefined
    if (scan.depth === 1) scan.member = key
    if (key in object) return refuse(scan, 'a member name must not occur twice')
    if (!take(scan, COLON)) return refuse(scan, 'a colon is expected')
    object[key] = readValue(scan)
    if (scan.fault !== undefined) return undefined
  } while (take(scan, COMMA))
  if (scan.depth === 1) scan.member = undefined
  return take(scan, BRACE_CLOSE) ? object : refuse(scan, 'a comma or a closing brace is expected')
}

const readArray = (scan: Scan): unknown => {
  const items: unknown[] = []
  if (take(scan, BRACKET_CLOSE)) return items
  do {
    items.push(readValue(scan))
    if (scan.fault !== undefined) return undefined
  } while (take(scan, COMMA))
  return take(scan, BRACKET_CLOSE) ? items : refuse(scan, 'a comma or a closing bracket is expected')
}

const readNumber = (scan: Scan): unknown => {
  NUMBER.lastIndex = scan.at
  const written = NUMBER.exec(scan.text)?.[0]
  if (written === undefined) return refuse(scan, 'a number is malformed')
  const value = Number(written)
  if (/[.eE]/.test(written) || !Number.isSafeInteger(value)) {
    return refuse(scan, 'a number must be an integer between -(2^53 - 1) and 2^53 - 1, without fraction or exponent')
  }
  scan.at += written.length
  // -0 is 0: MessagePack and the canonical form have no negative zero.
  return value + 0
}

const readString = (scan: Scan): string | undefined => {
  const start = scan.at + 1
  const end = scan.text.indexOf('"', start)
  if (end === -1) return refuse(scan, 'a string is not closed')
  const plain = scan.text.slice(start, end)
  if (!NEEDS_CARE.test(plain)) {
    scan.at = end + 1
    return plain
  }
  return readEscapedString(scan, start)
}

const readEscapedString = (scan: Scan, start: number): string | undefined => {
  let value = ''
  scan.at = start
  for (let from = start; ; ) {
    const code = scan.text.charCodeAt(scan.at)
    if (Number.isNaN(code)) return refuse(scan, 'a string is not closed')
    if (code < 0x20) return refuse(scan, 'control characters in a string must be escaped')
    if (code === QUOTE || code === BACKSLASH) value += scan.text.slice(from, scan.at)
    scan.at++
    if (code === QUOTE) break
    if (code !== BACKSLASH) continue
    const escaped = readEscape(scan)
    if (escaped === undefined) return undefined
    value += escaped
    from = scan.at
  }
  return LONE_SURROGATE.test(value) ? refuse(scan, 'a string must not hold half of a surrogate pair') : value
}

const readEscape = (scan: Scan): string | undefined => {
  const letter = scan.text.charAt(scan.at)
  if (letter !== 'u') {
    const meaning = ESCAPES.get(letter)
    if (meaning === undefined) return refuse(scan, 'an escape is unknown')
    scan.at++
    return meaning
  }
  const digits = scan.text.slice(scan.at + 1, scan.at + 5)
  if (!/^[0-9a-fA-F]{4}$/.test(digits)) return refuse(scan, 'an escape needs four hex digits')
  scan.at += 5
  return String.fromCharCode(Number.parseInt(digits, 16))
}
