import pkcs11, { type Handle } from 'pkcs11js'
import { LIMITS } from '../../schemas/limits.ts'
import type { Instruction, Outputs } from '../core/instruction.ts'
import { must } from '../core/result.ts'
import { mayWrap, WRAPPING_SCHEMES } from '../core/wrapping.ts'
import { withKey } from './hostCrypto.ts'
import type { HostReply, OpenHost } from './hostRequest.ts'
import { isCkr, refuse } from './pkcs11Failure.ts'
import { destroyQuietly } from './tokenObjects.ts'
import { parseWrappingKey, toCarrierTemplate, toOaep } from './wrapping.ts'

type Of<K extends Instruction['kind']> = Extract<Instruction, { readonly kind: K }>

/** Wraps in the HSM. The token itself refuses material that was not made extractable. */
export const exportKey = async (
  host: OpenHost,
  instruction: Of<'exportKey'>,
): Promise<HostReply<Outputs['exportKey']>> => {
  const { key, algorithm } = instruction
  if (!mayWrap(host.wrapping, key.spec, algorithm))
    return refuse('UNSUPPORTED_BY_HSM', 'the HSM cannot wrap material of this spec by this algorithm')
  const template = parseWrappingKey(instruction.wrappingPublicKey)
  if (template === undefined)
    return refuse(
      'INVALID_REQUEST',
      `wrapping_public_key must be the SubjectPublicKeyInfo DER of an RSA key of ${LIMITS.wrappingKeyBitsMin} to ${LIMITS.wrappingKeyBitsMax} bits`,
    )
  return withKey(host, key, (material) =>
    host.token.runLong(async (session) => {
      const under = host.token.lib.C_CreateObject(session, template)
      try {
        return { ok: true, value: { wrapped: await wrap(host, { session, under, material, algorithm }) } }
      } catch (error) {
        if (isCkr(error, pkcs11.CKR_KEY_UNEXTRACTABLE))
          return refuse('KEY_NOT_USABLE', 'this version was not made exportable')
        if (isCkr(error, pkcs11.CKR_KEY_NOT_WRAPPABLE))
          return refuse('UNSUPPORTED_BY_HSM', 'the HSM cannot wrap material of this spec')
        throw error
      } finally {
        destroyQuietly(host.token, under)
      }
    }),
  )
}

interface Wrapping {
  readonly session: Handle
  readonly under: Handle
  readonly material: Handle
  readonly algorithm: Of<'exportKey'>['algorithm']
}

const wrap = async (host: OpenHost, { session, under, material, algorithm }: Wrapping): Promise<Buffer> => {
  const { lib } = host.token
  const { hash, carrier } = WRAPPING_SCHEMES[algorithm]
  const out = (): Buffer => Buffer.alloc(LIMITS.wrappedBytesMax)
  if (carrier === 'direct') return lib.C_WrapKeyAsync(session, toOaep(hash), under, material, out())
  const { keyWrap } = host.wrapping
  must(keyWrap !== undefined, 'an algorithm that carries was offered without AES key wrap')
  const made = { mechanism: pkcs11.CKM_AES_KEY_GEN }
  const carried = await lib.C_GenerateKeyAsync(session, made, toCarrierTemplate())
  try {
    const inner = await lib.C_WrapKeyAsync(session, { mechanism: keyWrap }, carried, material, out())
    return Buffer.concat([await lib.C_WrapKeyAsync(session, toOaep(hash), under, carried, out()), inner])
  } finally {
    destroyQuietly(host.token, carried)
  }
}
