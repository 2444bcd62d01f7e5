import { Packr } from 'msgpackr'
import { isRecord } from './byteFields.ts'
import { must } from './result.ts'

/** Plain MessagePack: no records, no extension types, maps no longer than their count needs. */
const packr = new Packr({ useRecords: false, variableMapSize: true, moreTypes: false })

const UINT32_MAX = 2 ** 32 - 1
const INT32_MIN = -(2 ** 31)

/**
 * What msgpackr can write as the ledger wants it: members that are undefined left out (it would write nil), and integers
 * beyond 32 bits as BigInt (it would write a float).
 */
const toPackable = (value: unknown): unknown => {
  if (typeof value === 'number') {
    must(Number.isSafeInteger(value), 'a number in the ledger is a safe integer')
    return value > UINT32_MAX || value < INT32_MIN ? BigInt(value) : value
  }
  if (Array.isArray(value)) return value.map(toPackable)
  if (!isRecord(value)) return value
  // No prototype, so that `__proto__` is an ordinary key.
  const packable: Record<string, unknown> = Object.create(null)
  for (const [key, member] of Object.entries(value)) if (member !== undefined) packable[key] = toPackable(member)
  return packable
}

/** The MessagePack bytes of an event, in the order of its members. Events hold no secrets: the buffer is msgpackr's. */
export const packEvent = (event: object): Uint8Array => packr.pack(toPackable(event))
