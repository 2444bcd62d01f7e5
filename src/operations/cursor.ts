import type { EventPlace } from '../core/eventListing.ts'
import { fail, ok, type Result } from '../core/result.ts'

/** A place is a letter and what the list is ordered by; a cursor is the place in base64url. Places stay valid whatever changes. */
const toText = (cursor: string): string => Buffer.from(cursor, 'base64url').toString('utf8')

/** The cursor that continues at `place`. */
export const toCursor = (place: string): string => Buffer.from(place, 'utf8').toString('base64url')

/** The place of a key in lists of keys: its ordinal, since keys are never removed. */
export const toKeyPlace = (ordinal: number): string => `k${ordinal}`

/** The place of what is listed in order of its name. */
export const toNamePlace = (name: string): string => `n${name}`

/** The name that a place stands for. */
export const toPlaceName = (place: string): string => place.slice(1)

const REFUSED = 'cursor must be a next_cursor of this list'

/** The ordinal to begin at, 0 without a cursor; INVALID_REQUEST for what is not a cursor of a list of keys. */
export const parseCursor = (cursor: string | undefined): Result<number> => {
  if (cursor === undefined) return ok(0)
  const match = /^k([0-9]{1,15})$/.exec(toText(cursor))
  return match?.[1] === undefined ? fail('INVALID_REQUEST', REFUSED) : ok(Number(match[1]))
}

/** The name to begin at, the empty one without a cursor; INVALID_REQUEST for what is not a cursor of a list of names. */
export const parseNameCursor = (cursor: string | undefined): Result<string> => {
  if (cursor === undefined) return ok('')
  const text = toText(cursor)
  return text.startsWith('n') ? ok(toPlaceName(text)) : fail('INVALID_REQUEST', REFUSED)
}

/** A place in the ledger, in a list that ends with commit `until`. */
export const toEventPlace = ({ seq, index }: EventPlace, until: number): string => `e${seq}.${index}.${until}`

/** The place to begin at and the last sequence of the list, neither without a cursor; INVALID_REQUEST for what is no such cursor. */
export const parseEventCursor = (
  cursor: string | undefined,
): Result<{ readonly place?: EventPlace; readonly until?: number }> => {
  if (cursor === undefined) return ok({})
  const [, seq, index, until] = /^e([1-9][0-9]{0,14})\.([0-9]{1,3})\.([0-9]{1,15})$/.exec(toText(cursor)) ?? []
  if (until === undefined) return fail('INVALID_REQUEST', REFUSED)
  return ok({ place: { seq: Number(seq), index: Number(index) }, until: Number(until) })
}
