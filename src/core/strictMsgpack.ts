import { isUtf8 } from 'node:buffer'
import { checkDepth, type MsgpackRules, REASONS, Refusal, refuse, refuseTag, toBuffer, toSafe } from './msgpackRules.ts'
import { ok, type Result } from './result.ts'

/**
 * Decodes one MessagePack value, or says in words why it is refused: duplicate or non-string keys, ill-formed UTF-8,
 * integers beyond 53 bits, extension types, floats or nil unless allowed, too deep, cut off, trailing bytes.
 * Maps become null-prototype objects (`__proto__` is an ordinary key), `bin` becomes a view of `bytes`, not a copy:
 * whoever owns `bytes` can zero the value in place.
 */
export const decodeStrictMsgpack = (bytes: Uint8Array, rules: MsgpackRules): Result<unknown, string> => {
  const input: Input = { bytes: toBuffer(bytes), at: 0, depth: 0, rules }
  try {
    const value = read(input)
    return input.at === bytes.length ? ok(value) : { ok: false, error: REASONS.trailing }
  } catch (error) {
    if (error instanceof Refusal) return { ok: false, error: error.message }
    throw error
  }
}

interface Input {
  readonly bytes: Buffer
  at: number
  depth: number
  readonly rules: MsgpackRules
}

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
      return input.rules.allowNil ? null : refuse(REASONS.nil)
    case 0xc2:
      return false
    case 0xc3:
      return true
    case 0xc4:
      return take(input, readUint(input, 1))
    case 0xc5:
      return take(input, readUint(input, 2))
    case 0xc6:
      return take(input, readUint(input, 4))
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
      return refuseTag(tag)
  }
}

const readMap = (input: Input, size: number): Record<string, unknown> => {
  descend(input)
  const map: Record<string, unknown> = Object.create(null)
  for (let left = size; left > 0; left--) {
    const key = readText(input, readKeyLength(input))
    if (key in map) refuse(REASONS.twice)
    map[key] = read(input)
  }
  input.depth--
  return map
}

const readKeyLength = (input: Input): number => {
  const tag = readByte(input)
  if (tag >= 0xa0 && tag < 0xc0) return tag & 0x1f
  if (tag === 0xd9) return readUint(input, 1)
  return tag === 0xda ? readUint(input, 2) : tag === 0xdb ? readUint(input, 4) : refuse(REASONS.notText)
}

const readArray = (input: Input, size: number): unknown[] => {
  descend(input)
  const items: unknown[] = []
  for (let left = size; left > 0; left--) items.push(read(input))
  input.depth--
  return items
}

const readText = (input: Input, length: number): string => {
  const { bytes } = input
  const start = input.at
  const end = advance(input, length)
  let at = start
  // Up to some length a look at each byte is cheaper than the call into the validator.
  if (length < SHORT_TEXT_BYTES) while (at < end && (bytes[at] ?? 0x80) < 0x80) at++
  if (at === end) return bytes.toString('latin1', start, end)
  return isUtf8(bytes.subarray(start, end)) ? bytes.toString('utf8', start, end) : refuse(REASONS.notUtf8)
}
const SHORT_TEXT_BYTES = 80

const readFloat = (input: Input, width: 4 | 8): number => {
  if (!input.rules.allowFloats) refuse(REASONS.floats)
  const bytes = take(input, width)
  return width === 4 ? bytes.readFloatBE() : bytes.readDoubleBE()
}

const readByte = (input: Input): number => input.bytes[advance(input, 1) - 1] ?? refuse(REASONS.cutOff)

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
  if (end > input.bytes.length) refuse(REASONS.cutOff)
  input.at = end
  return end
}

const descend = (input: Input): void => {
  input.depth++
  checkDepth(input.depth, input.rules)
}
