import type { Handle, Mechanism, RsaPSS } from 'pkcs11js'
import pkcs11 from 'pkcs11js'
import { LIMITS } from '../../schemas/limits.ts'
import { isSameDigest } from '../core/constantTime.ts'
import type { Instruction, Outputs } from '../core/instruction.ts'
import { DIGEST_BYTES, type HashName, SIGNING_SCHEMES } from '../core/signature.ts'
import { asBuffer, toTiming } from './gcm.ts'
import { NOT_IN_TABLE, withKey } from './hostCrypto.ts'
import type { HostReply, OpenHost } from './hostRequest.ts'
import { findMechanism, type MechanismUse } from './mechanisms.ts'
import { isCkr, MATERIAL_MISSING } from './pkcs11Failure.ts'

type Of<K extends Instruction['kind']> = Extract<Instruction, { readonly kind: K }>

/** DER of DigestInfo up to the digest (RFC 8017 §9.2 note 1). */
const DIGEST_INFO: Readonly<Record<HashName, Buffer>> = {
  sha256: Buffer.from('3031300d060960864801650304020105000420', 'hex'),
  sha384: Buffer.from('3041300d060960864801650304020205000430', 'hex'),
  sha512: Buffer.from('3051300d060960864801650304020305000440', 'hex'),
}

/** PSS with MGF1 of the same hash and a salt as long as it (RFC 8017 §8.1 and §9.1). */
const PSS_PARAMETERS: Readonly<Record<HashName, RsaPSS>> = {
  sha256: toPss(pkcs11.CKM_SHA256, pkcs11.CKG_MGF1_SHA256, DIGEST_BYTES.sha256),
  sha384: toPss(pkcs11.CKM_SHA384, pkcs11.CKG_MGF1_SHA384, DIGEST_BYTES.sha384),
  sha512: toPss(pkcs11.CKM_SHA512, pkcs11.CKG_MGF1_SHA512, DIGEST_BYTES.sha512),
}
function toPss(hashAlg: number, mgf: number, saltLen: number): RsaPSS {
  return { type: pkcs11.CK_PARAMS_RSA_PSS, hashAlg, mgf, saltLen }
}

/** One call of the token: the mechanism with its parameter, and what it is given. */
interface Signing {
  readonly mechanism: Mechanism
  readonly message: Buffer
}

/** None if the table lacks the combination or the digest is of another length than the algorithm's. */
const toSigning = (
  { key, algorithm, message }: Of<'sign'> | Of<'verify'>,
  use: Extract<MechanismUse, 'sign' | 'verify'>,
): Signing | undefined => {
  const row = findMechanism(key.spec, use, algorithm)
  if (row === undefined) return undefined
  const { mechanism } = row
  const scheme = SIGNING_SCHEMES[algorithm]
  const given = asBuffer(message)
  if (scheme.kind === 'pure') return { mechanism: { mechanism }, message: given }
  if (given.length !== DIGEST_BYTES[scheme.hash]) return undefined
  switch (scheme.kind) {
    case 'ecdsa':
      return { mechanism: { mechanism }, message: given }
    case 'pkcs1':
      // The mechanism pads a DigestInfo that it does not make itself.
      return { mechanism: { mechanism }, message: Buffer.concat([DIGEST_INFO[scheme.hash], given]) }
    case 'pss':
      return { mechanism: { mechanism, parameter: PSS_PARAMETERS[scheme.hash] }, message: given }
    default:
      return scheme satisfies never
  }
}

export const sign = async (host: OpenHost, instruction: Of<'sign'>): Promise<HostReply<Outputs['sign']>> => {
  const signing = toSigning(instruction, 'sign')
  if (signing === undefined) return NOT_IN_TABLE
  const timing = `sign-${instruction.key.spec}`
  return withKey(host, instruction.key, async (handle) => ({
    ok: true,
    value: { signature: await signWith(host, { ...signing, handle, timing }) },
  }))
}

/** One C_SignInit and C_Sign; the signature is exactly as long as the token made it. */
export const signWith = async (
  host: OpenHost,
  call: Signing & { readonly handle: Handle; readonly timing: string },
): Promise<Buffer> => {
  const { lib } = host.token
  const out = Buffer.alloc(LIMITS.signatureBytesMax)
  const length = await host.token.run({
    timing: call.timing,
    init: (session) => lib.C_SignInit(session, call.mechanism, call.handle),
    now: (session) => lib.C_Sign(session, call.message, out).length,
    onThread: async (session) => (await lib.C_SignAsync(session, call.message, out)).length,
  })
  return out.subarray(0, length)
}

export const verify = async (host: OpenHost, instruction: Of<'verify'>): Promise<HostReply<Outputs['verify']>> => {
  const { key, signature } = instruction
  const signing = toSigning(instruction, 'verify')
  if (signing === undefined) return NOT_IN_TABLE
  if (key.publicKey === undefined) return MATERIAL_MISSING
  // An empty signature is CKR_ARGUMENTS_BAD and leaves the session busy.
  if (signature.length === 0) return { ok: true, value: { valid: false } }
  const handle = host.keys.usePublic({ ...key, publicKey: key.publicKey })
  const { lib } = host.token
  const given = asBuffer(signature)
  try {
    const valid = await host.token.run({
      timing: `verify-${key.spec}`,
      init: (session) => lib.C_VerifyInit(session, signing.mechanism, handle),
      now: (session) => lib.C_Verify(session, signing.message, given),
      onThread: (session) => lib.C_VerifyAsync(session, signing.message, given),
    })
    return { ok: true, value: { valid } }
  } catch (error) {
    if (isCkr(error, pkcs11.CKR_SIGNATURE_INVALID, pkcs11.CKR_SIGNATURE_LEN_RANGE))
      return { ok: true, value: { valid: false } }
    throw error
  }
}

const makeMac = (
  host: OpenHost,
  { key, algorithm, message }: Of<'generateMac'> | Of<'verifyMac'>,
): Promise<HostReply<Buffer>> => {
  const row = findMechanism(key.spec, 'sign', algorithm)
  if (row === undefined) return Promise.resolve(NOT_IN_TABLE)
  const { mechanism } = row
  const timing = toTiming('mac', message.length)
  return withKey(host, key, async (handle) => ({
    ok: true,
    value: await signWith(host, { mechanism: { mechanism }, message: asBuffer(message), handle, timing }),
  }))
}

export const generateMac = async (
  host: OpenHost,
  instruction: Of<'generateMac'>,
): Promise<HostReply<Outputs['generateMac']>> => {
  const made = await makeMac(host, instruction)
  return made.ok ? { ok: true, value: { mac: made.value } } : made
}

/** Makes the MAC again and compares here: nothing says that a token's C_Verify does not stop at the first difference. */
export const verifyMac = async (
  host: OpenHost,
  instruction: Of<'verifyMac'>,
): Promise<HostReply<Outputs['verifyMac']>> => {
  const made = await makeMac(host, instruction)
  if (!made.ok) return made
  const valid = instruction.mac.length === made.value.length && isSameDigest(instruction.mac, made.value)
  made.value.fill(0)
  return { ok: true, value: { valid } }
}
