import { isUtf8 } from 'node:buffer'
import { checkDepth, type MsgpackRules, REASONS, Refusal, refuse, refuseTag, toBuffer, toSafe } from './msgpackRules.ts'
import { ok, type Result } from './result.ts'

/** Where an encoded value stands among the bytes. */
export interface Place {
  readonly start: number
  readonly end: number
}

/**
 * Whether `decodeStrictMsgpack` would give a map, at a tenth of the price: no value is made. Gives the places of the members
 * `names` (ASCII); undefined for one that is not there.
 */
export const findStrictMembers = (
  bytes: Uint8Array,
  rules: MsgpackRules,
  names: readonly string[],
): Result<readonly (Place | undefined)[], string> => {
  const places: (Place | undefined)[] = names.map(() => undefined)
  const visit: Visit = (keyAt, start, end) => {
    for (let index = 0; index < names.length; index++) {
      const name = names[index]
      if (name?.length === start - keyAt && isName(scan.bytes, keyAt, name)) places[index] = { start, end }
    }
  }
  const scan: Scan = { bytes: toBuffer(bytes), rules, depth: 0, keys: [], keyCount: 0, visit }
  try {
    return skipOuterMap(scan) === bytes.length ? ok(places) : { ok: false, error: REASONS.trailing }
  } catch (error) {
    if (error instanceof Refusal) return { ok: false, error: error.message }
    throw error
  }
}

/**
 * Each function below takes the place where something begins and gives the place after it: what is neither made nor kept
 * in an object costs next to nothing, and an audit reads hundreds of millions of values.
 */
interface Scan {
  readonly bytes: Buffer
  readonly rules: MsgpackRules
  /** Place and length of the keys so far of every map that is open, the innermost last. One list for all of them is cheapest. */
  readonly keys: number[]
  keyCount: number
  depth: number
  /** Is told the members of the outermost map. */
  readonly visit: Visit
}

type Visit = (keyAt: number, valueAt: number, valueEnd: number) => void

const skipOuterMap = (scan: Scan): number => {
  const tag = uintAt(scan.bytes, 0, 1)
  if (tag >= 0x80 && tag < 0x90) return skipMap(scan, 1, tag & 0x0f)
  const width = tag === 0xde ? 2 : tag === 0xdf ? 4 : refuse('is not a map')
  return skipMap(scan, 1 + width, uintAt(scan.bytes, 1, width))
}

const skip = (scan: Scan, at: number): number => {
  const { bytes } = scan
  const tag = bytes[at] ?? refuse(REASONS.cutOff)
  if (tag < 0x80 || tag >= 0xe0) return at + 1
  if (tag < 0x90) return skipMap(scan, at + 1, tag & 0x0f)
  if (tag < 0xa0) return skipArray(scan, at + 1, tag & 0x0f)
  return tag < 0xc0 ? skipText(bytes, at + 1, tag & 0x1f) : skipTagged(scan, at + 1, tag)
}

/** The values whose tag is followed by a length or a wider number (the MessagePack specification, "Formats"). */
const skipTagged = (scan: Scan, at: number, tag: number): number => {
  const { bytes, rules } = scan
  switch (tag) {
    case 0xc0:
      return rules.allowNil ? at : refuse(REASONS.nil)
    case 0xc2:
    case 0xc3:
      return at
    case 0xc4:
      return after(bytes, at + 1, uintAt(bytes, at, 1))
    case 0xc5:
      return after(bytes, at + 2, uintAt(bytes, at, 2))
    case 0xc6:
      return after(bytes, at + 4, uintAt(bytes, at, 4))
    case 0xca:
    case 0xcb:
      return rules.allowFloats ? after(bytes, at, tag === 0xca ? 4 : 8) : refuse(REASONS.floats)
    case 0xcc:
    case 0xd0:
      return after(bytes, at, 1)
    case 0xcd:
    case 0xd1:
      return after(bytes, at, 2)
    case 0xce:
    case 0xd2:
      return after(bytes, at, 4)
    case 0xcf:
    case 0xd3:
      return skipWide(bytes, at, tag === 0xd3)
    case 0xd9:
      return skipText(bytes, at + 1, uintAt(bytes, at, 1))
    case 0xda:
      return skipText(bytes, at + 2, uintAt(bytes, at, 2))
    case 0xdb:
      return skipText(bytes, at + 4, uintAt(bytes, at, 4))
    case 0xdc:
      return skipArray(scan, at + 2, uintAt(bytes, at, 2))
    case 0xdd:
      return skipArray(scan, at + 4, uintAt(bytes, at, 4))
    case 0xde:
      return skipMap(scan, at + 2, uintAt(bytes, at, 2))
    case 0xdf:
      return skipMap(scan, at + 4, uintAt(bytes, at, 4))
    default:
      return refuseTag(tag)
  }
}

/** Duplicate keys are found by their bytes: equal text is equal bytes, once it is well-formed. */
const skipMap = (scan: Scan, start: number, size: number): number => {
  const { bytes, keyCount, rules } = scan
  checkDepth(++scan.depth, rules)
  const isOuter = scan.depth === 1
  const many = size > COMPARED_KEYS_MAX ? new Set<string>() : undefined
  let at = start
  for (let left = size; left > 0; left--) {
    const tag = bytes[at] ?? refuse(REASONS.cutOff)
    const isShort = tag >= 0xa0 && tag < 0xc0
    const keyAt = isShort ? at + 1 : at + 1 + toKeyWidth(tag)
    const valueAt = skipText(bytes, keyAt, isShort ? tag & 0x1f : uintAt(bytes, at + 1, toKeyWidth(tag)))
    if (many === undefined) addKey(scan, keyCount, { start: keyAt, end: valueAt })
    else addKeyTo(many, bytes.toString('latin1', keyAt, valueAt))
    at = skip(scan, valueAt)
    if (isOuter) scan.visit(keyAt, valueAt, at)
  }
  scan.keyCount = keyCount
  scan.depth--
  return at
}

/** Above this many keys, a set of strings is faster than comparing each pair. */
const COMPARED_KEYS_MAX = 32

const toKeyWidth = (tag: number): 1 | 2 | 4 =>
  tag === 0xd9 ? 1 : tag === 0xda ? 2 : tag === 0xdb ? 4 : refuse(REASONS.notText)

const addKey = (scan: Scan, first: number, { start, end }: Place): void => {
  const { bytes, keys, keyCount } = scan
  const length = end - start
  for (let index = first; index < keyCount; index += 2)
    if (keys[index + 1] === length && isSame(bytes, { start, end }, keys[index] ?? 0)) refuse(REASONS.twice)
  keys[keyCount] = start
  keys[keyCount + 1] = length
  scan.keyCount = keyCount + 2
}

const addKeyTo = (set: Set<string>, key: string): void => {
  if (set.has(key)) refuse(REASONS.twice)
  set.add(key)
}

const isSame = (bytes: Buffer, { start, end }: Place, other: number): boolean => {
  const shift = other - start
  for (let at = start; at < end; at++) if (bytes[at] !== bytes[at + shift]) return false
  return true
}

const isName = (bytes: Buffer, start: number, name: string): boolean => {
  for (let index = 0; index < name.length; index++) if (bytes[start + index] !== name.charCodeAt(index)) return false
  return true
}

const skipArray = (scan: Scan, start: number, size: number): number => {
  checkDepth(++scan.depth, scan.rules)
  let at = start
  for (let left = size; left > 0; left--) at = skip(scan, at)
  scan.depth--
  return at
}

const skipText = (bytes: Buffer, start: number, length: number): number => {
  const end = after(bytes, start, length)
  let at = start
  // Up to some length a look at each byte is cheaper than the call into the validator.
  if (length < SHORT_TEXT_BYTES) while (at < end && (bytes[at] ?? 0x80) < 0x80) at++
  return at === end || isUtf8(bytes.subarray(start, end)) ? end : refuse(REASONS.notUtf8)
}
const SHORT_TEXT_BYTES = 80

const skipWide = (bytes: Buffer, at: number, isSigned: boolean): number => {
  const end = after(bytes, at, 8)
  toSafe(isSigned ? bytes.readBigInt64BE(at) : bytes.readBigUInt64BE(at))
  return end
}

const uintAt = (bytes: Buffer, at: number, width: 1 | 2 | 4): number => {
  if (width === 1) return bytes[at] ?? refuse(REASONS.cutOff)
  after(bytes, at, width)
  return width === 2 ? bytes.readUInt16BE(at) : bytes.readUInt32BE(at)
}

/** The place `length` bytes later, if there are so many. */
const after = (bytes: Buffer, at: number, length: number): number => {
  const end = at + length
  return end > bytes.length ? refuse(REASONS.cutOff) : end
}
