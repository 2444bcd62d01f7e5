import { must } from '../core/result.ts'
import { Sensitive } from '../core/sensitive.ts'

/** Extension type 1: secret bytes, decoded into a `Sensitive` of their own. */
const SENSITIVE_EXT = 1

/**
 * A value as MessagePack with shortest widths, in one exact allocation. It is written here and not by msgpackr because
 * that library keeps what it wrote in a buffer shared by the whole process, which can be zeroed by nobody.
 * Takes null, booleans, safe integers, strings, bytes, `Sensitive`, arrays and plain objects; an undefined member is absent.
 * `bytesInFront` zeros are left before it for the caller to fill.
 */
export const encodeWire = (value: unknown, bytesInFront = 0): Buffer => {
  const out = Buffer.alloc(bytesInFront + sizeOf(value))
  const end = write(out, bytesInFront, value)
  must(end === out.length, 'the measured and the written size of a message differ')
  return out
}

/** The value of exactly these bytes. Bytes are copied out, secret ones into a `Sensitive` the caller owns. Throws on anything malformed. */
export const decodeWire = (bytes: Buffer): unknown => {
  const reader = { bytes, at: 0 }
  const value = read(reader)
  must(reader.at === bytes.length, 'a message has trailing bytes')
  return value
}

const headSize = (count: number, tiny: number, hasByteForm: boolean): number =>
  count <= tiny ? 1 : hasByteForm && count < 0x100 ? 2 : count < 0x10000 ? 3 : 5

const uintSize = (value: number): number =>
  value < 0x80 ? 1 : value < 0x100 ? 2 : value < 0x10000 ? 3 : value < 2 ** 32 ? 5 : 9

/** How many bytes {@link encodeWire} would write. */
export const sizeOf = (value: unknown): number => {
  if (value === null || typeof value === 'boolean') return 1
  if (typeof value === 'number') return value >= 0 ? uintSize(value) : 9
  if (typeof value === 'string') {
    const length = Buffer.byteLength(value)
    return headSize(length, 31, true) + length
  }
  if (value instanceof Uint8Array) return headSize(value.length, -1, true) + value.length
  if (value instanceof Sensitive) return headSize(value.length, -1, true) + 1 + value.length
  if (Array.isArray(value))
    return value.reduce<number>((sum, item) => sum + sizeOf(item), headSize(value.length, 15, false))
  const members = membersOf(value)
  return members.reduce<number>(
    (sum, [key, item]) => sum + sizeOf(key) + sizeOf(item),
    headSize(members.length, 15, false),
  )
}

const membersOf = (value: unknown): readonly [string, unknown][] => {
  must(typeof value === 'object' && value !== null, 'a message holds a value that cannot be sent')
  return Object.entries(value).filter(([, item]) => item !== undefined)
}

interface HeadForm {
  readonly tiny?: { readonly max: number; readonly tag: number }
  readonly tag8?: number
  readonly tag16: number
  readonly tag32: number
}
const STR: HeadForm = { tiny: { max: 31, tag: 0xa0 }, tag8: 0xd9, tag16: 0xda, tag32: 0xdb }
const BIN: HeadForm = { tag8: 0xc4, tag16: 0xc5, tag32: 0xc6 }
const EXT: HeadForm = { tag8: 0xc7, tag16: 0xc8, tag32: 0xc9 }
const ARRAY: HeadForm = { tiny: { max: 15, tag: 0x90 }, tag16: 0xdc, tag32: 0xdd }
const MAP: HeadForm = { tiny: { max: 15, tag: 0x80 }, tag16: 0xde, tag32: 0xdf }

const writeHead = (out: Buffer, at: number, count: number, form: HeadForm): number => {
  if (form.tiny !== undefined && count <= form.tiny.max) return out.writeUInt8(form.tiny.tag | count, at)
  if (form.tag8 !== undefined && count < 0x100) return out.writeUInt8(count, out.writeUInt8(form.tag8, at))
  if (count < 0x10000) return out.writeUInt16BE(count, out.writeUInt8(form.tag16, at))
  return out.writeUInt32BE(count, out.writeUInt8(form.tag32, at))
}

const writeNumber = (out: Buffer, at: number, value: number): number => {
  must(Number.isSafeInteger(value), 'a message holds a number that is not a safe integer')
  if (value < 0) return out.writeBigInt64BE(BigInt(value), out.writeUInt8(0xd3, at))
  if (value < 0x80) return out.writeUInt8(value, at)
  if (value < 0x100) return out.writeUInt8(value, out.writeUInt8(0xcc, at))
  if (value < 0x10000) return out.writeUInt16BE(value, out.writeUInt8(0xcd, at))
  if (value < 2 ** 32) return out.writeUInt32BE(value, out.writeUInt8(0xce, at))
  return out.writeBigUInt64BE(BigInt(value), out.writeUInt8(0xcf, at))
}

const write = (out: Buffer, at: number, value: unknown): number => {
  if (value === null) return out.writeUInt8(0xc0, at)
  if (typeof value === 'boolean') return out.writeUInt8(value ? 0xc3 : 0xc2, at)
  if (typeof value === 'number') return writeNumber(out, at, value)
  if (typeof value === 'string') {
    const start = writeHead(out, at, Buffer.byteLength(value), STR)
    return start + out.write(value, start)
  }
  if (value instanceof Uint8Array) {
    const start = writeHead(out, at, value.length, BIN)
    out.set(value, start)
    return start + value.length
  }
  if (value instanceof Sensitive) {
    const start = out.writeUInt8(SENSITIVE_EXT, writeHead(out, at, value.length, EXT))
    out.set(value.expose(), start)
    return start + value.length
  }
  if (Array.isArray(value))
    return value.reduce<number>((next, item) => write(out, next, item), writeHead(out, at, value.length, ARRAY))
  const members = membersOf(value)
  return members.reduce<number>(
    (next, [key, item]) => write(out, write(out, next, key), item),
    writeHead(out, at, members.length, MAP),
  )
}

interface Reader {
  readonly bytes: Buffer
  at: number
}

const take = (reader: Reader, count: number): Buffer => {
  must(reader.at + count <= reader.bytes.length, 'a message ends too early')
  reader.at += count
  return reader.bytes.subarray(reader.at - count, reader.at)
}

const takeUint = (reader: Reader, bytes: 1 | 2 | 4): number => take(reader, bytes).readUIntBE(0, bytes)

const readBytes = (reader: Reader, count: number): Buffer => {
  const copy = Buffer.alloc(count)
  take(reader, count).copy(copy)
  return copy
}

const readSensitive = (reader: Reader, count: number): Sensitive => {
  must(takeUint(reader, 1) === SENSITIVE_EXT, 'a message holds an unknown extension')
  return new Sensitive(readBytes(reader, count))
}

const readArray = (reader: Reader, count: number): unknown[] => {
  const items: unknown[] = []
  for (let i = 0; i < count; i += 1) items.push(read(reader))
  return items
}

const readMap = (reader: Reader, count: number): Record<string, unknown> => {
  const members: Record<string, unknown> = {}
  for (let i = 0; i < count; i += 1) {
    const key = read(reader)
    must(typeof key === 'string' && key !== '__proto__', 'a message has a key that is not a name')
    members[key] = read(reader)
  }
  return members
}

const readString = (reader: Reader, count: number): string => take(reader, count).toString('utf8')

const readBigint = (reader: Reader, isSigned: boolean): number => {
  const bytes = take(reader, 8)
  return Number(isSigned ? bytes.readBigInt64BE() : bytes.readBigUInt64BE())
}

const READERS: Readonly<Record<number, (reader: Reader) => unknown>> = {
  192: () => null,
  194: () => false,
  195: () => true,
  196: (reader) => readBytes(reader, takeUint(reader, 1)),
  197: (reader) => readBytes(reader, takeUint(reader, 2)),
  198: (reader) => readBytes(reader, takeUint(reader, 4)),
  199: (reader) => readSensitive(reader, takeUint(reader, 1)),
  200: (reader) => readSensitive(reader, takeUint(reader, 2)),
  201: (reader) => readSensitive(reader, takeUint(reader, 4)),
  204: (reader) => takeUint(reader, 1),
  205: (reader) => takeUint(reader, 2),
  206: (reader) => takeUint(reader, 4),
  207: (reader) => readBigint(reader, false),
  211: (reader) => readBigint(reader, true),
  217: (reader) => readString(reader, takeUint(reader, 1)),
  218: (reader) => readString(reader, takeUint(reader, 2)),
  219: (reader) => readString(reader, takeUint(reader, 4)),
  220: (reader) => readArray(reader, takeUint(reader, 2)),
  221: (reader) => readArray(reader, takeUint(reader, 4)),
  222: (reader) => readMap(reader, takeUint(reader, 2)),
  223: (reader) => readMap(reader, takeUint(reader, 4)),
}

const read = (reader: Reader): unknown => {
  const tag = takeUint(reader, 1)
  if (tag < 0x80) return tag
  if (tag < 0x90) return readMap(reader, tag & 0x0f)
  if (tag < 0xa0) return readArray(reader, tag & 0x0f)
  if (tag < 0xc0) return readString(reader, tag & 0x1f)
  const readTagged = READERS[tag]
  must(readTagged !== undefined, 'a message holds an unknown tag')
  return readTagged(reader)
}
