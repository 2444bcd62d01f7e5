import pkcs11, { type Handle } from 'pkcs11js'
import type { KeySpecName } from '../../schemas/keys.ts'
import { LIMITS } from '../../schemas/limits.ts'
import { must } from '../core/result.ts'
import { randomFrom, sealGcm } from './gcm.ts'
import type { OpenHost } from './hostRequest.ts'
import { findMechanism } from './mechanisms.ts'
import { isCkr } from './pkcs11Failure.ts'
import { toPublicObject } from './publicKey.ts'
import { destroyQuietly, readAttribute } from './tokenObjects.ts'
import { toCarrierTemplate } from './wrapping.ts'

const CHALLENGE_BYTES = 32

/** SoftHSM says these of wrong bytes and lengths as of a broken device. */
const UNCLEAR = [pkcs11.CKR_GENERAL_ERROR, pkcs11.CKR_FUNCTION_FAILED]

/** What a token says of a key of a length that its use does not take; SoftHSM the second, of AES. */
const WRONG_LENGTH = [pkcs11.CKR_KEY_SIZE_RANGE, pkcs11.CKR_MECHANISM_INVALID]

/** Whether an error that may be the bytes' or the device's is the bytes'. */
export const isRefusal = async (host: OpenHost, error: unknown): Promise<boolean> =>
  isCkr(error, ...UNCLEAR) && (await host.keys.isDeviceSound())

/** Whether these are two halves of one pair: the token signs a fresh challenge by one and verifies it by the other. */
export const provesPair = async (
  host: OpenHost,
  pair: { readonly spec: KeySpecName; readonly privateKey: Handle; readonly publicKey: Buffer },
): Promise<boolean> => {
  const { lib, keeper } = host.token
  const { spec, privateKey } = pair
  const mechanism = spec.startsWith('RSA_') ? pkcs11.CKM_RSA_PKCS : findMechanism(spec, 'sign')?.mechanism
  must(mechanism !== undefined, 'a pair of a spec that cannot sign')
  const challenge = randomFrom(host.token, CHALLENGE_BYTES)
  const out = Buffer.alloc(LIMITS.signatureBytesMax)
  const publicKey = lib.C_CreateObject(keeper, toPublicObject(spec, pair.publicKey))
  try {
    const length = await host.token.run({
      timing: `prove-${spec}`,
      init: (session) => lib.C_SignInit(session, { mechanism }, privateKey),
      now: (session) => lib.C_Sign(session, challenge, out).length,
      onThread: async (session) => (await lib.C_SignAsync(session, challenge, out)).length,
    })
    const signature = out.subarray(0, length)
    return await host.token.run({
      timing: `check-${spec}`,
      init: (session) => lib.C_VerifyInit(session, { mechanism }, publicKey),
      now: (session) => lib.C_Verify(session, challenge, signature),
      onThread: (session) => lib.C_VerifyAsync(session, challenge, signature),
    })
  } catch (error) {
    if (isCkr(error, pkcs11.CKR_SIGNATURE_INVALID, pkcs11.CKR_SIGNATURE_LEN_RANGE)) return false
    throw error
  } finally {
    destroyQuietly(host.token, publicKey)
  }
}

/**
 * How many bytes a secret session key has. Where the token does not say (SoftHSM gives no CKA_VALUE_LEN for what it
 * unwrapped), by wrapping it as RFC 3394 does, which adds 8. SoftHSM rounds up to a multiple of 8 where it should refuse,
 * so this alone proves no length.
 */
export const measureSecret = async (host: OpenHost, session: Handle, key: Handle): Promise<number> => {
  const { lib } = host.token
  const said = readAttribute(host.token, key, pkcs11.CKA_VALUE_LEN)?.readUInt32LE(0) ?? 0
  if (said > 0) return said
  const under = await lib.C_GenerateKeyAsync(session, { mechanism: pkcs11.CKM_AES_KEY_GEN }, toCarrierTemplate())
  try {
    const out = Buffer.alloc(LIMITS.wrappedBytesMax)
    const mechanism = { mechanism: pkcs11.CKM_AES_KEY_WRAP }
    return (await lib.C_WrapKeyAsync(session, mechanism, under, key, out)).length - 8
  } catch (error) {
    if (isCkr(error, pkcs11.CKR_KEY_SIZE_RANGE) || (await isRefusal(host, error))) return 0
    throw error
  } finally {
    destroyQuietly(host.token, under)
  }
}

/**
 * Whether a secret session key is as long as its spec says: it measures so, and it works. SoftHSM takes AES keys of 25
 * to 31 bytes, which measure like 32, but encrypts with none of them; and it makes no MAC with a key shorter than the hash.
 */
export const isSecretOf = async (
  host: OpenHost,
  session: Handle,
  { spec, key }: { readonly spec: KeySpecName; readonly key: Handle },
): Promise<boolean> => {
  const bits = findMechanism(spec, 'generate')?.bits
  if ((await measureSecret(host, session, key)) * 8 !== bits) return false
  try {
    await useOnce(host, spec, key)
    return true
  } catch (error) {
    if (isCkr(error, ...WRONG_LENGTH) || (await isRefusal(host, error))) return false
    throw error
  }
}

const useOnce = async (host: OpenHost, spec: KeySpecName, key: Handle): Promise<unknown> => {
  const { lib } = host.token
  const challenge = randomFrom(host.token, CHALLENGE_BYTES)
  const row = findMechanism(spec, 'sign')
  if (row === undefined)
    return sealGcm(host.token, key, { prefix: new Uint8Array(0), aad: Buffer.alloc(1), plaintext: challenge })
  const out = Buffer.alloc(LIMITS.signatureBytesMax)
  return host.token.run({
    timing: `try-${spec}`,
    init: (session) => lib.C_SignInit(session, { mechanism: row.mechanism }, key),
    now: (session) => lib.C_Sign(session, challenge, out),
    onThread: (session) => lib.C_SignAsync(session, challenge, out),
  })
}
