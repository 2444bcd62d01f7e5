import { fail, ok, type Result } from '../core/result.ts'

/** A cursor is the ordinal of the next key: keys are never removed, so it stays valid whatever changes. */
const CURSOR_REGEX = /^k([0-9]{1,15})$/

/** The cursor that continues at `ordinal`. */
export const toCursor = (ordinal: number): string => Buffer.from(`k${ordinal}`, 'latin1').toString('base64url')

/** The ordinal to begin at, 0 without a cursor; INVALID_REQUEST for what is not a cursor of ours. */
export const parseCursor = (cursor: string | undefined): Result<number> => {
  if (cursor === undefined) return ok(0)
  const match = CURSOR_REGEX.exec(Buffer.from(cursor, 'base64url').toString('latin1'))
  return match?.[1] === undefined
    ? fail('INVALID_REQUEST', 'cursor must be a next_cursor of this list')
    : ok(Number(match[1]))
}
