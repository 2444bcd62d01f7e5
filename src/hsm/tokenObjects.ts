import pkcs11, { type Handle } from 'pkcs11js'
import { isCkr } from './pkcs11Failure.ts'
import type { Token } from './token.ts'

export type Template = { type: number; value: number | boolean | string | Buffer }[]

const HANDLES_PER_CALL = 512

/** All objects that match. Slow on a full token (376 ms among 10,000 in SoftHSM): never for a key that is in use. */
export const findObjects = (token: Token, template: Template): readonly Handle[] => {
  const { lib, keeper } = token
  const found: Handle[] = []
  lib.C_FindObjectsInit(keeper, template)
  try {
    for (;;) {
      const handles = lib.C_FindObjects(keeper, HANDLES_PER_CALL)
      found.push(...handles)
      if (handles.length < HANDLES_PER_CALL) return found
    }
  } finally {
    lib.C_FindObjectsFinal(keeper)
  }
}

/** An attribute's value, or none if the object lacks it or keeps it to itself. */
export const readAttribute = (token: Token, object: Handle, type: number): Buffer | undefined => {
  try {
    const value = token.lib.C_GetAttributeValue(token.keeper, object, [{ type }])[0]?.value
    return Buffer.isBuffer(value) ? value : undefined
  } catch (error) {
    if (isCkr(error, pkcs11.CKR_ATTRIBUTE_TYPE_INVALID, pkcs11.CKR_ATTRIBUTE_SENSITIVE)) return undefined
    throw error
  }
}

export const readLabel = (token: Token, object: Handle): string =>
  readAttribute(token, object, pkcs11.CKA_LABEL)?.toString('utf8') ?? ''

export const readClass = (token: Token, object: Handle): number | undefined => {
  const value = readAttribute(token, object, pkcs11.CKA_CLASS)
  return value === undefined || value.length < 4 ? undefined : value.readUInt32LE(0)
}

/**
 * Whether the token made this key: it sets CKA_LOCAL with the key's value, as the last step of generating it, so a
 * process killed in between leaves a visible object without it, and nobody can give it to a key of his own.
 */
export const isGenerated = (token: Token, object: Handle): boolean =>
  readAttribute(token, object, pkcs11.CKA_LOCAL)?.[0] === 1

/**
 * Whether a key object from elsewhere was finished. C_UnwrapKey sets CKA_NEVER_EXTRACTABLE to false with the value
 * (PKCS#11 v3.0 §5.18.4); until then it is true, as 45 kills of SoftHSM in the middle showed. CKA_VALUE_LEN tells
 * nothing: SoftHSM leaves it 0 on an unwrapped key.
 */
export const isImported = (token: Token, object: Handle): boolean =>
  !isGenerated(token, object) && readAttribute(token, object, pkcs11.CKA_NEVER_EXTRACTABLE)?.[0] === 0

/** A copy that lives in this process's session: twice as fast in SoftHSM, and untouched by others who write the token. */
export const copyToSession = (token: Token, object: Handle): Handle => {
  try {
    return token.lib.C_CopyObject(token.keeper, object, [{ type: pkcs11.CKA_TOKEN, value: false }])
  } catch (error) {
    // A token that forbids copies still serves, by the token object itself; the copy is for speed only.
    if (isCkr(error, pkcs11.CKR_FUNCTION_NOT_SUPPORTED, pkcs11.CKR_ATTRIBUTE_READ_ONLY, CKR_ACTION_PROHIBITED))
      return object
    throw error
  }
}
const CKR_ACTION_PROHIBITED = 0x1b

/** Whether this object is a copy of ours, and so ours to destroy when it is forgotten. */
export const isSessionObject = (token: Token, object: Handle): boolean =>
  readAttribute(token, object, pkcs11.CKA_TOKEN)?.[0] === 0

export const destroyQuietly = (token: Token, object: Handle): void => {
  try {
    token.lib.C_DestroyObject(token.keeper, object)
  } catch {
    // A session object goes with its session; there is nothing left to clean.
  }
}
