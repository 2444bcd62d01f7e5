import pkcs11 from 'pkcs11js'
import type { ErrorCode } from '../../schemas/errors.ts'

/** A failure on its way out of the host; `device` says that the host itself is broken, not just this request. */
export interface HostFailure {
  readonly ok: false
  readonly code: ErrorCode
  readonly message: string
  readonly device: boolean
  /** The login was refused: trying the same PIN again may lock the token. */
  readonly pinRefused?: true
}

export const refuse = (code: ErrorCode, message: string): HostFailure => ({ ok: false, code, message, device: false })

export const INVALID_CIPHERTEXT = refuse('INVALID_CIPHERTEXT', 'the ciphertext cannot be decrypted')
export const MATERIAL_MISSING = refuse('KEY_NOT_USABLE', 'the HSM does not hold the material of this key version')

/** The codes after which sessions, login or handles cannot be trusted (PKCS#11 v3.0 §5.1). */
const DEVICE_CODES: ReadonlySet<number> = new Set([
  pkcs11.CKR_GENERAL_ERROR,
  pkcs11.CKR_FUNCTION_FAILED,
  pkcs11.CKR_HOST_MEMORY,
  pkcs11.CKR_SLOT_ID_INVALID,
  pkcs11.CKR_DEVICE_ERROR,
  pkcs11.CKR_DEVICE_MEMORY,
  pkcs11.CKR_DEVICE_REMOVED,
  pkcs11.CKR_TOKEN_NOT_PRESENT,
  pkcs11.CKR_TOKEN_NOT_RECOGNIZED,
  pkcs11.CKR_SESSION_HANDLE_INVALID,
  pkcs11.CKR_SESSION_CLOSED,
  pkcs11.CKR_SESSION_COUNT,
  pkcs11.CKR_USER_NOT_LOGGED_IN,
  pkcs11.CKR_OBJECT_HANDLE_INVALID,
  pkcs11.CKR_KEY_HANDLE_INVALID,
  pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED,
  pkcs11.CKR_OPERATION_ACTIVE,
])

/** The PKCS#11 code of a thrown error, or none if it is not one. */
export const readCkr = (error: unknown): number | undefined =>
  error instanceof Error && 'code' in error && typeof error.code === 'number' && error.message.startsWith('CKR_')
    ? error.code
    : undefined

export const isCkr = (error: unknown, ...codes: readonly number[]): boolean => {
  const code = readCkr(error)
  return code !== undefined && codes.includes(code)
}

/** A device's failure as callers see it; anything else is rethrown, since it is a fault of ours. */
export const toDeviceFailure = (error: unknown): HostFailure => {
  const code = readCkr(error)
  if (code === undefined || !DEVICE_CODES.has(code)) throw error
  return { ok: false, code: 'HSM_UNAVAILABLE', message: 'the HSM backend of this key does not answer', device: true }
}
