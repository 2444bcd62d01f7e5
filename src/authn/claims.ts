import { LIMITS } from '../../schemas/limits.ts'
import type { Principal } from '../core/ports.ts'
import { fail, ok, type Result } from '../core/result.ts'

/** Which claims become attributes: attribute name → claim name. Claims that are not here go no further. */
export type ClaimMap = Readonly<Record<string, string>>

type Attributes = Principal['attributes']
type AttributeValue = Attributes[string]

/** Claims that change from token to token; in a question they would make every answer unique. */
const VOLATILE = new Set(['exp', 'iat', 'nbf', 'jti', 'nonce', 'auth_time', 'at_hash', 'c_hash', 'sid', 'uti', 'rh'])
const ATTRIBUTE_NAME = /^[A-Za-z][A-Za-z0-9_]{0,63}$/

/** Throws an Error for the operator when a claim map names a volatile claim or an attribute no policy could name. */
export const checkClaimMap = (map: ClaimMap): void => {
  for (const [attribute, claim] of Object.entries(map)) {
    if (!ATTRIBUTE_NAME.test(attribute)) throw new Error('claims: an attribute is a letter, then letters, digits and _')
    if (VOLATILE.has(claim)) throw new Error(`claims: ${claim} changes from token to token and cannot be an attribute`)
  }
}

/**
 * The allow-listed claims as attributes. A list becomes sorted and unique. A claim that is absent or null is left out;
 * one of another shape or over a bound refuses the token: left out, it might be the one that a `forbid` looks for.
 */
export const toAttributes = (payload: Readonly<Record<string, unknown>>, map: ClaimMap): Result<Attributes> => {
  const attributes: Record<string, AttributeValue> = {}
  for (const [attribute, claim] of Object.entries(map)) {
    const value = Object.hasOwn(payload, claim) ? payload[claim] : undefined
    if (value === undefined || value === null) continue
    const parsed = parseValue(value)
    if (parsed === undefined) return fail('UNAUTHENTICATED', 'a claim has a value that cannot be an attribute')
    attributes[attribute] = parsed
  }
  return ok(attributes)
}

const isText = (value: unknown): value is string =>
  typeof value === 'string' && Buffer.byteLength(value) <= LIMITS.claimBytesMax && value.isWellFormed()

const parseValue = (value: unknown): AttributeValue | undefined => {
  if (isText(value) || typeof value === 'boolean') return value
  if (typeof value === 'number') return Number.isSafeInteger(value) ? value : undefined
  if (!Array.isArray(value) || value.length > LIMITS.claimItemsMax || !value.every(isText)) return undefined
  return [...new Set(value)].sort()
}

/** Characters that a subject may have: printable ones, so that an id cannot forge a line in a log or a screen. */
const SUBJECT = /^[^\p{C}\p{Zl}\p{Zp}]+$/u

/** Whether a `sub` claim can be part of a principal's id. */
export const isSubject = (value: unknown): value is string =>
  typeof value === 'string' && Buffer.byteLength(value) <= LIMITS.subjectBytesMax && SUBJECT.test(value)
