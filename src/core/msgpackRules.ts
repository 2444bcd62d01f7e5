/** What one decoding of MessagePack admits. `depthMax` counts nested maps and arrays; a lone scalar has depth 0. */
export interface MsgpackRules {
  readonly depthMax: number
  readonly allowFloats: boolean
  readonly allowNil: boolean
}

/** Why bytes are refused, in the words of a finding. */
export const REASONS = {
  cutOff: 'the bytes end within a value',
  floats: 'floats are not allowed',
  nil: 'nil is not allowed',
  notText: 'a key is not a string',
  notUtf8: 'a string is not well-formed UTF-8',
  trailing: 'bytes follow the value',
  twice: 'a key stands twice in a map',
  wideInteger: 'an integer has more than 53 bits',
} as const

/** Thrown by readers of MessagePack only, and turned into a Result at their border: recursion reads better without plumbing. */
export class Refusal extends Error {}

/** Ends the reading. */
export const refuse = (why: string): never => {
  throw new Refusal(why)
}

/** What to say of a tag that no value may begin with. */
export const refuseTag = (tag: number): never =>
  refuse(tag === 0xc1 ? 'c1 is not MessagePack' : 'extension types are not allowed')

/** Refuses a map or an array `depth` levels deep, the outermost being 1, if that is too deep. */
export const checkDepth = (depth: number, { depthMax }: MsgpackRules): void => {
  if (depth > depthMax) refuse(`nested deeper than ${depthMax}`)
}

/** A 64-bit integer as a number, if it is one exactly. */
export const toSafe = (value: bigint): number => {
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : refuse(REASONS.wideInteger)
}

/** The same bytes as a Buffer, not a copy. */
export const toBuffer = (bytes: Uint8Array): Buffer =>
  Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
