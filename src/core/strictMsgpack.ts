import { isUtf8 } from 'node:buffer'
import { ok, type Result } from './result.ts'

/** What one decoding admits. `depthMax` counts nested maps and arrays; a lone scalar has depth 0. */
export interface MsgpackRules {
  readonly depthMax: number
  readonly allowFloats: boolean
  readonly allowNil: boolean
}

/**
 * Decodes one MessagePack value, or says in words why it is refused: duplicate or non-string keys, ill-formed UTF-8,
 * integers beyond 53 bits, extension types, floats or nil unless allowed, too deep, cut off, trailing bytes.
 * Maps become null-prototype objects (`__proto__` is an ordinary key), `bin` becomes a view of `bytes`, not a copy:
 * whoever owns `bytes` can zero the value in place.
 */
export const decodeStrictMsgpack = (bytes: Uint8Array, rules: MsgpackRules): Result<unknown, string> =>
  atBorder(bytes, rules, true, read)

/**
 * Whether {@link decodeStrictMsgpack} would give a map, at a fraction of the price: no value is made. Gives the encoded
 * values of the members `names` (ASCII) as views of `bytes`; undefined for one that is not there.
 */
export const findStrictMembers = (
  bytes: Uint8Array,
  rules: MsgpackRules,
  names: readonly string[],
): Result<readonly (Uint8Array | undefined)[], string> =>
  atBorder(bytes, rules, false, (input) => scanMembers(input, names))

/** Runs one reader over the whole input and turns a refusal into a Result. */
const atBorder = <T>(
  bytes: Uint8Array,
  rules: MsgpackRules,
  keep: boolean,
  reader: (input: Input) => T,
): Result<T, string> => {
  const input: Input = {
    bytes: Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length),
    at: 0,
    depth: 0,
    keep,
    rules,
  }
  try {
    const value = reader(input)
    return input.at === bytes.length ? ok(value) : { ok: false, error: 'bytes follow the value' }
  } catch (error) {
    if (error instanceof Refusal) return { ok: false, error: error.message }
    throw error
  }
}

interface Input {
  readonly bytes: Buffer
  at: number
  depth: number
  /** False where the syntax alone is wanted: the same reading, but no value is made. */
  readonly keep: boolean
  readonly rules: MsgpackRules
}

/** Thrown inside this file only, and turned into a Result at its border: recursion reads better without plumbing. */
class Refusal extends Error {}

const read = (input: Input): unknown => {
  const tag = readByte(input)
  if (tag < 0x80) return tag
  if (tag < 0x90) return readMap(input, tag & 0x0f)
  if (tag < 0xa0) return readArray(input, tag & 0x0f)
  if (tag < 0xc0) return readText(input, tag & 0x1f)
  if (tag >= 0xe0) return tag - 0x100
  return readTagged(input, tag)
}

/** The values whose tag is followed by a length or a wider number (the MessagePack specification, "Formats"). */
const readTagged = (input: Input, tag: number): unknown => {
  switch (tag) {
    case 0xc0:
      return input.rules.allowNil ? null : refuse('nil is not allowed')
    case 0xc2:
      return false
    case 0xc3:
      return true
    case 0xc4:
      return readBin(input, readUint(input, 1))
    case 0xc5:
      return readBin(input, readUint(input, 2))
    case 0xc6:
      return readBin(input, readUint(input, 4))
    case 0xca:
    case 0xcb:
      return readFloat(input, tag === 0xca ? 4 : 8)
    case 0xcc:
      return readUint(input, 1)
    case 0xcd:
      return readUint(input, 2)
    case 0xce:
      return readUint(input, 4)
    case 0xcf:
      return toSafe(take(input, 8).readBigUInt64BE())
    case 0xd0:
      return take(input, 1).readInt8()
    case 0xd1:
      return take(input, 2).readInt16BE()
    case 0xd2:
      return take(input, 4).readInt32BE()
    case 0xd3:
      return toSafe(take(input, 8).readBigInt64BE())
    case 0xd9:
      return readText(input, readUint(input, 1))
    case 0xda:
      return readText(input, readUint(input, 2))
    case 0xdb:
      return readText(input, readUint(input, 4))
    case 0xdc:
      return readArray(input, readUint(input, 2))
    case 0xdd:
      return readArray(input, readUint(input, 4))
    case 0xde:
      return readMap(input, readUint(input, 2))
    case 0xdf:
      return readMap(input, readUint(input, 4))
    default:
      return refuse(tag === 0xc1 ? 'c1 is not MessagePack' : 'extension types are not allowed')
  }
}

const readMap = (input: Input, size: number): Record<string, unknown> | undefined => {
  descend(input)
  const map = input.keep ? fillMap(input, size) : scanMap(input, size)
  input.depth--
  return map
}

const fillMap = (input: Input, size: number): Record<string, unknown> => {
  const map: Record<string, unknown> = Object.create(null)
  for (let left = size; left > 0; left--) {
    const length = readKeyLength(input)
    const end = skipText(input, length)
    const key = toText(input, length, end)
    if (key in map) refuse(TWICE)
    map[key] = read(input)
  }
  return map
}

/** Reads a map without making it. Duplicate keys are found by their bytes: equal text is equal bytes, once it is well-formed. */
const scanMap = (
  input: Input,
  size: number,
  visit?: (keyAt: number, length: number, valueAt: number) => void,
): undefined => {
  const keys: number[] = []
  const many = size > SCANNED_KEYS_MAX ? new Set<string>() : undefined
  for (let left = size; left > 0; left--) {
    const length = readKeyLength(input)
    const keyAt = input.at
    const asciiEnd = skipText(input, length)
    if (
      many === undefined ? isAmong(input.bytes, keys, keyAt, length) : !isAdded(many, toText(input, length, asciiEnd))
    )
      refuse(TWICE)
    keys.push(keyAt, length)
    const valueAt = input.at
    read(input)
    visit?.(keyAt, length, valueAt)
  }
}

/** Above this many keys, a set of strings is faster than comparing each pair. */
const SCANNED_KEYS_MAX = 32
const TWICE = 'a key stands twice in a map'

const isAdded = (set: Set<string>, key: string): boolean => !set.has(key) && set.add(key) !== undefined

const isAmong = (bytes: Buffer, keys: readonly number[], keyAt: number, length: number): boolean => {
  for (let index = 0; index < keys.length; index += 2)
    if (keys[index + 1] === length && isSame(bytes, keyAt, keys[index] ?? 0, length)) return true
  return false
}

const isSame = (bytes: Buffer, a: number, b: number, length: number): boolean => {
  for (let index = 0; index < length; index++) if (bytes[a + index] !== bytes[b + index]) return false
  return true
}

const scanMembers = (input: Input, names: readonly string[]): readonly (Uint8Array | undefined)[] => {
  const values: (Uint8Array | undefined)[] = names.map(() => undefined)
  const size = readMapSize(input)
  descend(input)
  scanMap(input, size, (keyAt, length, valueAt) => {
    for (let index = 0; index < names.length; index++) {
      const name = names[index]
      if (name?.length === length && isName(input.bytes, keyAt, name))
        values[index] = input.bytes.subarray(valueAt, input.at)
    }
  })
  return values
}

const isName = (bytes: Buffer, start: number, name: string): boolean => {
  for (let index = 0; index < name.length; index++) if (bytes[start + index] !== name.charCodeAt(index)) return false
  return true
}

const readMapSize = (input: Input): number => {
  const tag = readByte(input)
  if (tag >= 0x80 && tag < 0x90) return tag & 0x0f
  return tag === 0xde ? readUint(input, 2) : tag === 0xdf ? readUint(input, 4) : refuse('is not a map')
}

const readKeyLength = (input: Input): number => {
  const tag = readByte(input)
  if (tag >= 0xa0 && tag < 0xc0) return tag & 0x1f
  if (tag === 0xd9) return readUint(input, 1)
  return tag === 0xda ? readUint(input, 2) : tag === 0xdb ? readUint(input, 4) : refuse('a key is not a string')
}

const readArray = (input: Input, size: number): unknown[] => {
  descend(input)
  const items: unknown[] = []
  for (let left = size; left > 0; left--) {
    const item = read(input)
    if (input.keep) items.push(item)
  }
  input.depth--
  return items
}

const readBin = (input: Input, length: number): Uint8Array | undefined => {
  if (input.keep) return take(input, length)
  advance(input, length)
  return undefined
}

const readText = (input: Input, length: number): string => {
  const end = skipText(input, length)
  return input.keep ? toText(input, length, end) : ''
}

/** Moves past text of well-formed UTF-8. Gives the end if it is all ASCII, else -1. */
const skipText = (input: Input, length: number): number => {
  const start = input.at
  const end = advance(input, length)
  let at = start
  // Up to some length a look at each byte is cheaper than the call into the validator.
  if (length < SHORT_TEXT_BYTES) while (at < end && (input.bytes[at] ?? 0x80) < 0x80) at++
  if (at === end) return end
  if (!isUtf8(input.bytes.subarray(start, end))) refuse('a string is not well-formed UTF-8')
  return -1
}
const SHORT_TEXT_BYTES = 80

const toText = ({ bytes, at }: Input, length: number, asciiEnd: number): string =>
  bytes.toString(asciiEnd === -1 ? 'utf8' : 'latin1', at - length, at)

const readFloat = (input: Input, width: 4 | 8): number => {
  if (!input.rules.allowFloats) refuse('floats are not allowed')
  const bytes = take(input, width)
  return width === 4 ? bytes.readFloatBE() : bytes.readDoubleBE()
}

const toSafe = (value: bigint): number => {
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : refuse('an integer has more than 53 bits')
}

const readByte = (input: Input): number => input.bytes[advance(input, 1) - 1] ?? refuse(CUT_OFF)

const readUint = (input: Input, width: 1 | 2 | 4): number => {
  const start = advance(input, width) - width
  const { bytes } = input
  if (width === 1) return bytes[start] ?? 0
  return width === 2 ? bytes.readUInt16BE(start) : bytes.readUInt32BE(start)
}

const take = (input: Input, length: number): Buffer => {
  const end = advance(input, length)
  return input.bytes.subarray(end - length, end)
}

/** Moves past `length` bytes, if there are so many. */
const advance = (input: Input, length: number): number => {
  const end = input.at + length
  if (end > input.bytes.length) refuse(CUT_OFF)
  input.at = end
  return end
}

const CUT_OFF = 'the bytes end within a value'

const descend = (input: Input): void => {
  input.depth++
  if (input.depth > input.rules.depthMax) refuse(`nested deeper than ${input.rules.depthMax}`)
}

const refuse = (why: string): never => {
  throw new Refusal(why)
}
