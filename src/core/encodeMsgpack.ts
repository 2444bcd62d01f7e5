import { isRecord } from './byteFields.ts'
import { InvariantError, must } from './result.ts'

/**
 * MessagePack of maps with string keys, lists, text, booleans, null, safe integers and bytes; members that are undefined
 * are left out. The one buffer it makes is exactly as long as the encoding and not of Node's shared pool: whoever zeroes
 * it leaves no other copy behind, which an encoder that grows its buffer cannot promise.
 */
export const encodeMsgpack = (value: unknown): Buffer => {
  const target = Buffer.alloc(measure(value))
  const end = write(target, 0, value)
  must(end === target.length, 'MessagePack came out longer or shorter than measured')
  return target
}

const presentEntries = (value: Record<string, unknown>): [string, unknown][] => {
  const entries = value instanceof Map ? [...value] : Object.entries(value)
  return entries.some(([, member]) => member === undefined)
    ? entries.filter(([, member]) => member !== undefined)
    : entries
}

const measure = (value: unknown): number => {
  if (typeof value === 'string') return measureText(value)
  if (typeof value === 'number') return measureInteger(value)
  if (typeof value === 'boolean' || value === null) return 1
  if (value instanceof Uint8Array) return (value.length < 2 ** 8 ? 2 : value.length < 2 ** 16 ? 3 : 5) + value.length
  if (Array.isArray(value)) {
    let bytes = containerHead(value.length)
    for (const item of value) bytes += measure(item)
    return bytes
  }
  if (!isRecord(value)) throw new InvariantError(`MessagePack has no form for a ${typeof value}`)
  const entries = presentEntries(value)
  let bytes = containerHead(entries.length)
  for (const [key, member] of entries) bytes += measureText(key) + measure(member)
  return bytes
}

const measureText = (text: string): number => {
  const length = Buffer.byteLength(text)
  return (length < 32 ? 1 : length < 2 ** 8 ? 2 : length < 2 ** 16 ? 3 : 5) + length
}

const containerHead = (length: number): number => (length < 16 ? 1 : length < 2 ** 16 ? 3 : 5)

const measureInteger = (value: number): number => {
  must(Number.isSafeInteger(value), 'a number on the wire is a safe integer')
  if (value >= -32 && value < 2 ** 7) return 1
  if (value >= 0) return value < 2 ** 8 ? 2 : value < 2 ** 16 ? 3 : value < 2 ** 32 ? 5 : 9
  return value >= -(2 ** 7) ? 2 : value >= -(2 ** 15) ? 3 : value >= -(2 ** 31) ? 5 : 9
}

/** Writes `value` at `at` and gives the place after it. */
const write = (target: Buffer, at: number, value: unknown): number => {
  if (typeof value === 'string') return writeText(target, at, value)
  if (typeof value === 'number') return writeInteger(target, at, value)
  if (value === null) return target.writeUInt8(0xc0, at)
  if (typeof value === 'boolean') return target.writeUInt8(value ? 0xc3 : 0xc2, at)
  if (value instanceof Uint8Array) {
    const start = writeLength(target, at, value.length, { tag8: 0xc4, tag16: 0xc5, tag32: 0xc6 })
    target.set(value, start)
    return start + value.length
  }
  if (Array.isArray(value)) {
    let next = writeLength(target, at, value.length, ARRAY)
    for (const item of value) next = write(target, next, item)
    return next
  }
  if (!isRecord(value)) throw new InvariantError('unreachable: measured before')
  const entries = presentEntries(value)
  let next = writeLength(target, at, entries.length, MAP)
  for (const [key, member] of entries) next = write(target, writeText(target, next, key), member)
  return next
}

interface LengthTags {
  /** Tag of the form whose length is in the tag itself, and how many lengths that form has. */
  readonly fix?: number
  readonly fixBelow?: number
  readonly tag8?: number
  readonly tag16: number
  readonly tag32: number
}
const TEXT: LengthTags = { fix: 0xa0, fixBelow: 32, tag8: 0xd9, tag16: 0xda, tag32: 0xdb }
const ARRAY: LengthTags = { fix: 0x90, fixBelow: 16, tag16: 0xdc, tag32: 0xdd }
const MAP: LengthTags = { fix: 0x80, fixBelow: 16, tag16: 0xde, tag32: 0xdf }

const writeLength = (target: Buffer, at: number, length: number, tags: LengthTags): number => {
  if (tags.fix !== undefined && length < (tags.fixBelow ?? 0)) return target.writeUInt8(tags.fix | length, at)
  if (tags.tag8 !== undefined && length < 2 ** 8) return target.writeUInt8(length, target.writeUInt8(tags.tag8, at))
  if (length < 2 ** 16) return target.writeUInt16BE(length, target.writeUInt8(tags.tag16, at))
  return target.writeUInt32BE(length, target.writeUInt8(tags.tag32, at))
}

const writeText = (target: Buffer, at: number, text: string): number => {
  const start = writeLength(target, at, Buffer.byteLength(text), TEXT)
  return start + target.write(text, start)
}

const writeInteger = (target: Buffer, at: number, value: number): number => {
  if (value >= -32 && value < 2 ** 7) return target.writeInt8(value, at)
  if (value >= 0) {
    if (value < 2 ** 8) return target.writeUInt8(value, target.writeUInt8(0xcc, at))
    if (value < 2 ** 16) return target.writeUInt16BE(value, target.writeUInt8(0xcd, at))
    if (value < 2 ** 32) return target.writeUInt32BE(value, target.writeUInt8(0xce, at))
    return target.writeBigUInt64BE(BigInt(value), target.writeUInt8(0xcf, at))
  }
  if (value >= -(2 ** 7)) return target.writeInt8(value, target.writeUInt8(0xd0, at))
  if (value >= -(2 ** 15)) return target.writeInt16BE(value, target.writeUInt8(0xd1, at))
  if (value >= -(2 ** 31)) return target.writeInt32BE(value, target.writeUInt8(0xd2, at))
  return target.writeBigInt64BE(BigInt(value), target.writeUInt8(0xd3, at))
}
