import pkcs11, { type Handle } from 'pkcs11js'
import type { DataKeyPairSpecName } from '../../schemas/keys.ts'
import type { Instruction, Outputs } from '../core/instruction.ts'
import { must } from '../core/result.ts'
import { Sensitive } from '../core/sensitive.ts'
import { seal } from './hostCrypto.ts'
import { readSpki } from './hostKeys.ts'
import type { HostReply, OpenHost } from './hostRequest.ts'
import { findMechanism, type MechanismRow } from './mechanisms.ts'
import { privateAttributesOf, toPkcs8 } from './pkcs8.ts'
import { refuse } from './pkcs11Failure.ts'
import { toPairParameters, unwrapOctetString } from './publicKey.ts'
import { destroyQuietly, readAttribute } from './tokenObjects.ts'

type Of<K extends Instruction['kind']> = Extract<Instruction, { readonly kind: K }>

/**
 * A pair of session objects, read into PKCS#8, sealed under the key and destroyed: nothing of it is ever on the token.
 * The plaintext lives in this host alone, unless it was asked for.
 */
export const generateDataKeyPair = async (
  host: OpenHost,
  instruction: Of<'generateDataKeyPair'>,
): Promise<HostReply<Outputs['generateDataKeyPair']>> => {
  const row = findMechanism(instruction.pairSpec, 'generate')
  if (row === undefined || !host.specs.includes(instruction.pairSpec))
    return refuse('UNSUPPORTED_BY_HSM', 'the HSM lacks a mechanism that this pair needs')
  const pair = await generateReadable(host, row, instruction.pairSpec)
  let isHandedOver = false
  try {
    const sealed = await seal(host, instruction, pair.pkcs8)
    if (!sealed.ok) return sealed
    const value = { blob: sealed.value.blob, publicKey: pair.spki }
    if (!instruction.returnPlaintext) return { ok: true, value }
    isHandedOver = true
    return { ok: true, value: { ...value, plaintext: new Sensitive(pair.pkcs8) } }
  } finally {
    if (!isHandedOver) pair.pkcs8.fill(0)
  }
}

interface ReadablePair {
  readonly spki: Buffer
  /** The caller's to zero. */
  readonly pkcs8: Buffer
}

const generateReadable = (host: OpenHost, row: MechanismRow, spec: DataKeyPairSpecName): Promise<ReadablePair> =>
  host.token.runLong(async (session) => {
    const pair = await host.token.lib.C_GenerateKeyPairAsync(
      session,
      { mechanism: row.mechanism },
      [
        { type: pkcs11.CKA_TOKEN, value: false },
        { type: pkcs11.CKA_PRIVATE, value: false },
        ...toPairParameters(row.spec, row.bits),
      ],
      [
        { type: pkcs11.CKA_TOKEN, value: false },
        { type: pkcs11.CKA_PRIVATE, value: true },
        { type: pkcs11.CKA_SENSITIVE, value: false },
        { type: pkcs11.CKA_EXTRACTABLE, value: true },
      ],
    )
    try {
      const spki = readSpki(host, row, pair.publicKey)
      const point =
        row.spec.startsWith('ECDSA_') || row.spec.startsWith('ECC_') ? readPoint(host, pair.publicKey) : NONE
      return { spki, pkcs8: toPkcs8(spec, readPrivate(host, spec, pair.privateKey), point) }
    } finally {
      destroyQuietly(host.token, pair.publicKey)
      destroyQuietly(host.token, pair.privateKey)
    }
  })

const NONE = Buffer.alloc(0)

const readPoint = (host: OpenHost, object: Handle): Buffer => {
  const value = readAttribute(host.token, object, pkcs11.CKA_EC_POINT)
  must(value !== undefined, 'a public key has its point')
  return unwrapOctetString(value)
}

const readPrivate = (host: OpenHost, spec: DataKeyPairSpecName, object: Handle): readonly Buffer[] => {
  const values = privateAttributesOf(spec).map((type) => readAttribute(host.token, object, type))
  return values.map((value) => {
    must(value !== undefined, 'the token keeps a session key to itself that it was told not to')
    return value
  })
}
