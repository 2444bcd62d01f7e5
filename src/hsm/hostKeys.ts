import pkcs11, { type Handle } from 'pkcs11js'
import type { Instruction, Outputs } from '../core/instruction.ts'
import { SPECS } from '../core/lifecycle.ts'
import { must } from '../core/result.ts'
import { randomFrom } from './gcm.ts'
import type { HostReply, OpenHost } from './hostRequest.ts'
import { toMaterialLabel } from './material.ts'
import { findMechanism, type MechanismRow } from './mechanisms.ts'
import { refuse } from './pkcs11Failure.ts'
import { publicAttributesOf, toPairParameters, toSpki } from './publicKey.ts'
import { type NewObject, PRIVATE_USES, toPrivateTemplate, toSecretUses, UNWRAPPING_USES } from './templates.ts'
import { destroyQuietly, findObjects, readAttribute } from './tokenObjects.ts'

type Of<K extends Instruction['kind']> = Extract<Instruction, { readonly kind: K }>

const CKA_ID_BYTES = 16

/** Makes a version's material; the ledger learns the sealed handle, and the public key of a pair. */
export const generateKey = async (
  host: OpenHost,
  instruction: Of<'generateKey'>,
): Promise<HostReply<Outputs['generateKey']>> => {
  const { spec, lid, version } = instruction
  const row = findMechanism(spec, 'generate')
  if (row === undefined || !host.specs.includes(spec))
    return refuse('UNSUPPORTED_BY_HSM', 'the HSM lacks a mechanism that this key spec needs')
  const ckaId = randomFrom(host.token, CKA_ID_BYTES)
  const made = { label: toMaterialLabel(host.origin, instruction), ckaId, exportable: instruction.exportable }
  // Sealed before the object is made: if sealing fails there is no object that nobody can name.
  const sealedHandle = await host.keys.seal(ckaId, lid, version)
  if (SPECS[spec].usage !== 'SIGN_VERIFY') {
    await generateSecret(host, row, made)
    return { ok: true, value: { sealedHandle } }
  }
  return { ok: true, value: { sealedHandle, publicKey: await generatePair(host, row, { ...made, keepPublic: false }) } }
}

/** A secret key on the token, for AES or an HMAC. */
export const generateSecret = (host: OpenHost, row: MechanismRow, made: NewObject): Promise<Handle> =>
  host.token.runLong((session) =>
    host.token.lib.C_GenerateKeyAsync(session, { mechanism: row.mechanism }, [
      ...toPrivateTemplate(made),
      ...toSecretUses(row.spec),
      { type: pkcs11.CKA_VALUE_LEN, value: row.bits / 8 },
    ]),
  )

/**
 * A pair whose private half is a token object. The public half is a session object that goes once it was read, unless
 * `keepPublic`: anybody could exchange a public object on the token, the ledger's copy nobody. Gives the SPKI.
 */
export const generatePair = (
  host: OpenHost,
  row: MechanismRow,
  made: NewObject & { readonly keepPublic: boolean; readonly unwraps?: true },
): Promise<Buffer> =>
  host.token.runLong(async (session) => {
    const pair = await host.token.lib.C_GenerateKeyPairAsync(
      session,
      { mechanism: row.mechanism },
      [
        { type: pkcs11.CKA_TOKEN, value: made.keepPublic },
        { type: pkcs11.CKA_PRIVATE, value: false },
        { type: made.unwraps ? pkcs11.CKA_WRAP : pkcs11.CKA_VERIFY, value: true },
        { type: pkcs11.CKA_LABEL, value: made.label },
        { type: pkcs11.CKA_ID, value: made.ckaId },
        ...toPairParameters(row.spec, row.bits),
      ],
      [...toPrivateTemplate(made), ...(made.unwraps ? UNWRAPPING_USES : PRIVATE_USES)],
    )
    const spki = readSpki(host, row, pair.publicKey)
    if (!made.keepPublic) destroyQuietly(host.token, pair.publicKey)
    return spki
  })

export const readSpki = (host: OpenHost, row: MechanismRow, object: Handle): Buffer => {
  const values = publicAttributesOf(row.spec).map((type) => readAttribute(host.token, object, type))
  return toSpki(
    row.spec,
    values.map((value) => {
      must(value !== undefined, 'a public key on the token lacks an attribute')
      return value
    }),
  )
}

/** Removes a version's material wherever it is on the token; gone already is success. */
export const destroyKey = async (
  host: OpenHost,
  instruction: Of<'destroyKey'>,
): Promise<HostReply<Outputs['destroyKey']>> => {
  const objects = await host.keys.findMaterial(instruction.key)
  for (const object of objects) host.token.lib.C_DestroyObject(host.token.keeper, object)
  host.keys.forget(instruction.key)
  return { ok: true, value: { destroyed: objects.length > 0 } }
}

/** Objects of one label, finished or not. */
export const findByLabel = (host: OpenHost, objectClass: number, label: string): readonly Handle[] =>
  findObjects(host.token, [
    { type: pkcs11.CKA_TOKEN, value: true },
    { type: pkcs11.CKA_CLASS, value: objectClass },
    { type: pkcs11.CKA_LABEL, value: label },
  ])
