import pkcs11, { type Handle, type Mechanism } from 'pkcs11js'
import type { KeySpecName } from '../../schemas/keys.ts'
import { LIMITS } from '../../schemas/limits.ts'
import type { Instruction, Outputs } from '../core/instruction.ts'
import { must } from '../core/result.ts'
import { Sensitive } from '../core/sensitive.ts'
import { isSecretSpec, mayWrap, WRAPPING_SCHEMES } from '../core/wrapping.ts'
import { asBuffer, randomFrom } from './gcm.ts'
import { generatePair } from './hostKeys.ts'
import type { HostReply, OpenHost } from './hostRequest.ts'
import { toMaterialLabel } from './material.ts'
import { findMechanism } from './mechanisms.ts'
import { type HostFailure, isCkr, MATERIAL_MISSING, refuse } from './pkcs11Failure.ts'
import { normalizeSpki } from './publicKey.ts'
import { toUnwrappedTemplate } from './templates.ts'
import { destroyQuietly, type Template } from './tokenObjects.ts'
import { isRefusal, isSecretOf, measureSecret, provesPair } from './trial.ts'
import { toCarrierTemplate, toOaep } from './wrapping.ts'

type Of<K extends Instruction['kind']> = Extract<Instruction, { readonly kind: K }>

const CKA_ID_BYTES = 16
const WRAPPING_SPEC = 'RSA_3072'

/** One text whatever was wrong inside the wrapping, so that its contents cannot be felt out. */
const NOT_A_KEY = refuse(
  'INVALID_REQUEST',
  'wrapped_key_material does not unwrap to a key of this spec under this wrapping key and algorithm',
)

/** The pair under which a caller wraps what is to be imported: its private half only unwraps, and stays in the HSM. */
export const generateWrappingKey = async (
  host: OpenHost,
  instruction: Of<'generateWrappingKey'>,
): Promise<HostReply<Outputs['generateWrappingKey']>> => {
  const row = findMechanism(WRAPPING_SPEC, 'generate')
  if (row === undefined || host.wrapping.algorithms.length === 0 || !host.specs.includes(WRAPPING_SPEC))
    return refuse('UNSUPPORTED_BY_HSM', 'the HSM can unwrap nothing')
  const ckaId = randomFrom(host.token, CKA_ID_BYTES)
  const sealedHandle = await host.keys.seal(ckaId, instruction.lid, instruction.version)
  const label = toMaterialLabel(host.origin, instruction)
  const publicKey = await generatePair(host, row, { label, ckaId, exportable: false, keepPublic: false, unwraps: true })
  return {
    ok: true,
    value: { sealedHandle, publicKey, secret: new Sensitive(randomFrom(host.token, LIMITS.importSecretBytes)) },
  }
}

/**
 * Unwraps twice: first to a session object that is looked at, then, if it is what was promised, to the token object.
 * So nothing else ever is on the token, not even for a moment.
 */
export const importKey = async (
  host: OpenHost,
  instruction: Of<'importKey'>,
): Promise<HostReply<Outputs['importKey']>> => {
  const { spec, lid, version } = instruction
  if (!host.specs.includes(spec) || !mayWrap(host.wrapping, spec, instruction.algorithm))
    return refuse('UNSUPPORTED_BY_HSM', 'the HSM cannot unwrap material of this spec by this algorithm')
  const publicKey = isSecretSpec(spec) ? undefined : normalizeSpki(spec, instruction.publicKey ?? new Uint8Array(0))
  if (!isSecretSpec(spec) && publicKey === undefined)
    return refuse('INVALID_REQUEST', `public_key must be the SubjectPublicKeyInfo DER of an ${spec} key`)
  const unwrapping = await host.keys.use(instruction.wrappingKey)
  if (unwrapping === undefined) return MATERIAL_MISSING
  const ckaId = randomFrom(host.token, CKA_ID_BYTES)
  const sealedHandle = await host.keys.seal(ckaId, lid, version)
  const made = { label: toMaterialLabel(host.origin, instruction), ckaId, exportable: instruction.exportable }
  return host.token.runLong(async (session) => {
    const parcel = await openParcel(host, session, { ...instruction, unwrapping })
    if (parcel === undefined) return NOT_A_KEY
    try {
      const refused = await inspect(host, session, { parcel, spec, publicKey })
      if (refused !== undefined) return refused
      const template = toUnwrappedTemplate(spec, made)
      await host.token.lib.C_UnwrapKeyAsync(session, parcel.mechanism, parcel.under, parcel.wrapped, template)
      return { ok: true, value: { sealedHandle, ...(publicKey === undefined ? {} : { publicKey }) } }
    } finally {
      if (parcel.under !== unwrapping) destroyQuietly(host.token, parcel.under)
    }
  })
}

/** Material as it is wrapped, and what unwraps it: the wrapping key itself, or the AES key that it carried. */
interface Parcel {
  readonly mechanism: Mechanism
  readonly under: Handle
  readonly wrapped: Buffer
}

const openParcel = async (
  host: OpenHost,
  session: Handle,
  { algorithm, wrapped, unwrapping }: Of<'importKey'> & { readonly unwrapping: Handle },
): Promise<Parcel | undefined> => {
  const { hash, carrier } = WRAPPING_SCHEMES[algorithm]
  const bytes = asBuffer(wrapped)
  if (carrier === 'direct') return { mechanism: toOaep(hash), under: unwrapping, wrapped: bytes }
  const { keyWrap } = host.wrapping
  must(keyWrap !== undefined, 'an algorithm that carries was offered without AES key wrap')
  const split = LIMITS.wrappingKeyBits / 8
  if (bytes.length <= split) return undefined
  const carried = { mechanism: toOaep(hash), under: unwrapping, wrapped: bytes.subarray(0, split) }
  const template = [
    { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
    { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_AES },
    ...toCarrierTemplate().filter(({ type }) => type !== pkcs11.CKA_VALUE_LEN),
  ]
  const under = await tryUnwrap(host, session, carried, template)
  if (under === undefined) return undefined
  if ((await measureSecret(host, session, under)) === LIMITS.carrierKeyBytes)
    return { mechanism: { mechanism: keyWrap }, under, wrapped: bytes.subarray(split) }
  destroyQuietly(host.token, under)
  return undefined
}

/** Why a parcel does not hold what it should, or nothing. */
const inspect = async (
  host: OpenHost,
  session: Handle,
  wanted: { readonly parcel: Parcel; readonly spec: KeySpecName; readonly publicKey: Buffer | undefined },
): Promise<HostFailure | undefined> => {
  const { parcel, spec, publicKey } = wanted
  const trial = await tryUnwrap(host, session, parcel, toUnwrappedTemplate(spec, 'trial'))
  if (trial === undefined) return NOT_A_KEY
  try {
    if (publicKey !== undefined)
      return (await provesPair(host, { spec, privateKey: trial, publicKey }))
        ? undefined
        : refuse('INVALID_REQUEST', 'public_key is not that of the wrapped private key')
    return (await isSecretOf(host, session, { spec, key: trial })) ? undefined : NOT_A_KEY
  } finally {
    destroyQuietly(host.token, trial)
  }
}

const REFUSALS = [
  pkcs11.CKR_WRAPPED_KEY_INVALID,
  pkcs11.CKR_WRAPPED_KEY_LEN_RANGE,
  pkcs11.CKR_ENCRYPTED_DATA_INVALID,
  pkcs11.CKR_ENCRYPTED_DATA_LEN_RANGE,
  pkcs11.CKR_KEY_SIZE_RANGE,
  pkcs11.CKR_ATTRIBUTE_VALUE_INVALID,
  pkcs11.CKR_ARGUMENTS_BAD,
]
const tryUnwrap = async (
  host: OpenHost,
  session: Handle,
  { mechanism, under, wrapped }: Parcel,
  template: Template,
): Promise<Handle | undefined> => {
  try {
    return await host.token.lib.C_UnwrapKeyAsync(session, mechanism, under, wrapped, template)
  } catch (error) {
    if (isCkr(error, ...REFUSALS)) return undefined
    if (await isRefusal(host, error)) return undefined
    throw error
  }
}
