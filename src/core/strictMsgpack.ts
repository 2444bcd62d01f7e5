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
export const decodeStrictMsgpack = (bytes: Uint8Array, rules: MsgpackRules): Result<unknown, string> => {
  const input: Input = {
    bytes: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length),
    at: 0,
    depth: 0,
    rules,
  }
  try {
    const value = read(input)
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
      return refuse(tag === 0xc1 ? 'c1 is not MessagePack' : 'extension types are not allowed')
  }
}

const readMap = (input: Input, size: number): Record<string, unknown> => {
  descend(input)
  const map: Record<string, unknown> = Object.create(null)
  for (let left = size; left > 0; left--) {
    const key = readKey(input)
    if (key in map) refuse('a key stands twice in a map')
    map[key] = read(input)
  }
  input.depth--
  return map
}

const readKey = (input: Input): string => {
  const tag = readByte(input)
  if (tag >= 0xa0 && tag < 0xc0) return readText(input, tag & 0x1f)
  if (tag < 0xd9 || tag > 0xdb) refuse('a key is not a string')
  return readText(input, readUint(input, 1 << (tag - 0xd9)))
}

const readArray = (input: Input, size: number): unknown[] => {
  descend(input)
  const items: unknown[] = []
  for (let left = size; left > 0; left--) items.push(read(input))
  input.depth--
  return items
}

const readText = (input: Input, length: number): string => {
  const start = input.at
  const { bytes } = input
  const end = advance(input, length)
  if (length < SHORT_TEXT_BYTES) {
    let at = start
    while (at < end && (bytes[at] ?? 0x80) < 0x80) at++
    if (at === end) return bytes.toString('latin1', start, end)
  }
  if (!isUtf8(bytes.subarray(start, end))) refuse('a string is not well-formed UTF-8')
  return bytes.toString('utf8', start, end)
}

/** Up to here a look at each byte is cheaper than the call into the UTF-8 validator. */
const SHORT_TEXT_BYTES = 80

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

const readUint = (input: Input, width: number): number => input.bytes.readUIntBE(advance(input, width) - width, width)

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
