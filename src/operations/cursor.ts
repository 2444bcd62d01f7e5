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
