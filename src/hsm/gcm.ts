import pkcs11, { type Handle } from 'pkcs11js'
import { must } from '../core/result.ts'
import { isCkr } from './pkcs11Failure.ts'
import type { Token } from './token.ts'

export const NONCE_BYTES = 12
export const TAG_BYTES = 16

/** The same memory as a Buffer: pkcs11js takes no other kind. Never empty-backed, since that would be a null pointer to C. */
export const asBuffer = (bytes: Uint8Array): Buffer =>
  bytes.length === 0 ? Buffer.alloc(1).subarray(0, 0) : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/**
 * Always a 12-byte nonce and a 128-bit tag: SoftHSM would take any nonce, and tags of 0 to 128 bits. The v240 parameter
 * kind, because the plain one of pkcs11js leaves ulIvBits uninitialized.
 */
const toMechanism = (iv: Buffer, aad: Buffer): { mechanism: number; parameter: pkcs11.AesGCM } => {
  must(iv.length === NONCE_BYTES, 'an AES-GCM nonce is not 12 bytes')
  return {
    mechanism: pkcs11.CKM_AES_GCM,
    parameter: { type: pkcs11.CK_PARAMS_AES_GCM_v240, iv, aad, ivBits: NONCE_BYTES * 8, tagBits: TAG_BYTES * 8 },
  }
}

/** Bytes of the token's random generator. */
export const randomFrom = (token: Token, count: number): Buffer => {
  const bytes = Buffer.alloc(count)
  token.lib.C_GenerateRandom(token.keeper, bytes)
  return bytes
}

/** A timing class for each power of four of the size: a call's length depends on it. */
export const toTiming = (verb: string, bytes: number): string => `${verb}-${Math.ceil(Math.log2(bytes + 1) / 2)}`

/**
 * `prefix ‖ nonce ‖ ciphertext ‖ tag` under a nonce of the token's random generator; the plaintext stays the caller's.
 * Throws PKCS#11 errors.
 */
export const sealGcm = async (
  token: Token,
  key: Handle,
  input: { readonly prefix: Uint8Array; readonly aad: Buffer; readonly plaintext: Uint8Array },
): Promise<Buffer> => {
  const nonce = randomFrom(token, NONCE_BYTES)
  const plaintext = asBuffer(input.plaintext)
  const start = input.prefix.length + NONCE_BYTES
  const blob = Buffer.alloc(start + plaintext.length + TAG_BYTES)
  blob.set(input.prefix)
  blob.set(nonce, input.prefix.length)
  const out = blob.subarray(start)
  const mechanism = toMechanism(nonce, input.aad)
  const { lib } = token
  const written = await token.run({
    timing: toTiming('seal', plaintext.length),
    init: (session) => lib.C_EncryptInit(session, mechanism, key),
    // An empty plaintext in one call is CKR_ARGUMENTS_BAD and leaves the session busy; the multi-part form takes it.
    now: (session) =>
      plaintext.length === 0 ? lib.C_EncryptFinal(session, out).length : lib.C_Encrypt(session, plaintext, out).length,
    onThread: async (session) =>
      plaintext.length === 0
        ? (await lib.C_EncryptFinalAsync(session, out)).length
        : (await lib.C_EncryptAsync(session, plaintext, out)).length,
  })
  must(written === out.length, 'the HSM sealed to another length than AES-GCM has')
  return blob
}

/** What {@link openGcm} found out when it could not open: the bytes are wrong, or the device is. */
export type Opened = { readonly ok: true; readonly plaintext: Buffer } | { readonly ok: false }

/**
 * Opens `nonce ‖ ciphertext ‖ tag`. A wrong tag, AAD or length is `{ok: false}`; SoftHSM says CKR_GENERAL_ERROR for
 * these as for a broken device, so the token must first open a known-good canary before the bytes are blamed.
 * The plaintext is the caller's to zero. Throws PKCS#11 errors.
 */
export const openGcm = async (
  token: Token,
  key: Handle,
  input: { readonly sealed: Uint8Array; readonly aad: Buffer },
  isDeviceSound: () => Promise<boolean>,
): Promise<Opened> => {
  if (input.sealed.length < NONCE_BYTES + TAG_BYTES) return { ok: false }
  const sealed = asBuffer(input.sealed)
  const data = sealed.subarray(NONCE_BYTES)
  // The buffer must be as long as the ciphertext with its tag, or SoftHSM says CKR_BUFFER_TOO_SMALL and stays busy.
  const out = Buffer.alloc(data.length)
  const mechanism = toMechanism(sealed.subarray(0, NONCE_BYTES), input.aad)
  const { lib } = token
  try {
    const length = await token.run({
      timing: toTiming('open', data.length),
      init: (session) => lib.C_DecryptInit(session, mechanism, key),
      now: (session) => lib.C_Decrypt(session, data, out).length,
      onThread: async (session) => (await lib.C_DecryptAsync(session, data, out)).length,
    })
    must(length === data.length - TAG_BYTES, 'the HSM opened to another length than AES-GCM has')
    out.fill(0, length)
    return { ok: true, plaintext: out.subarray(0, length) }
  } catch (error) {
    out.fill(0)
    if (isCkr(error, pkcs11.CKR_ENCRYPTED_DATA_INVALID, pkcs11.CKR_ENCRYPTED_DATA_LEN_RANGE)) return { ok: false }
    if (isCkr(error, pkcs11.CKR_GENERAL_ERROR) && (await isDeviceSound())) return { ok: false }
    throw error
  }
}
