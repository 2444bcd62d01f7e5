import pkcs11 from 'pkcs11js'
import type { KeySpecName } from '../../schemas/keys.ts'
import { SPECS } from '../core/lifecycle.ts'
import { isSecretSpec } from '../core/wrapping.ts'
import { CKK_EC_EDWARDS } from './publicKey.ts'
import type { Template } from './tokenObjects.ts'

/** What a new object is called and may do. */
export interface NewObject {
  readonly label: string
  readonly ckaId: Buffer
  readonly exportable: boolean
}

/** A token object that keeps its value to itself; label and id stand from its first moment. */
export const toPrivateTemplate = (made: NewObject): Template => [
  { type: pkcs11.CKA_TOKEN, value: true },
  { type: pkcs11.CKA_PRIVATE, value: true },
  { type: pkcs11.CKA_SENSITIVE, value: true },
  { type: pkcs11.CKA_EXTRACTABLE, value: made.exportable },
  { type: pkcs11.CKA_LABEL, value: made.label },
  { type: pkcs11.CKA_ID, value: made.ckaId },
]

/** What a new secret key may do, and no more. In full: SoftHSM lets it wrap and unwrap unless it is told not to. */
export const toSecretUses = (spec: KeySpecName): Template => {
  const encrypts = SPECS[spec].usage === 'ENCRYPT_DECRYPT'
  return [
    { type: pkcs11.CKA_ENCRYPT, value: encrypts },
    { type: pkcs11.CKA_DECRYPT, value: encrypts },
    { type: pkcs11.CKA_SIGN, value: !encrypts },
    { type: pkcs11.CKA_VERIFY, value: false },
    { type: pkcs11.CKA_WRAP, value: false },
    { type: pkcs11.CKA_UNWRAP, value: false },
    { type: pkcs11.CKA_DERIVE, value: false },
  ]
}

/** What a private key may do that signs, and no more. */
export const PRIVATE_USES: Template = [
  { type: pkcs11.CKA_SIGN, value: true },
  { type: pkcs11.CKA_SIGN_RECOVER, value: false },
  { type: pkcs11.CKA_DECRYPT, value: false },
  { type: pkcs11.CKA_UNWRAP, value: false },
  { type: pkcs11.CKA_DERIVE, value: false },
]

/** What a private key may do that unwraps. Explicit, since a token's defaults let it decrypt and sign. */
export const UNWRAPPING_USES: Template = [
  { type: pkcs11.CKA_UNWRAP, value: true },
  { type: pkcs11.CKA_DECRYPT, value: false },
  { type: pkcs11.CKA_SIGN, value: false },
  { type: pkcs11.CKA_SIGN_RECOVER, value: false },
  { type: pkcs11.CKA_DERIVE, value: false },
]

/** What an unwrapped object is and may do: as a generated one of its spec, or, to be looked at, a session object. */
export const toUnwrappedTemplate = (spec: KeySpecName, made: NewObject | 'trial'): Template => {
  const isSecret = isSecretSpec(spec)
  return [
    { type: pkcs11.CKA_CLASS, value: isSecret ? pkcs11.CKO_SECRET_KEY : pkcs11.CKO_PRIVATE_KEY },
    { type: pkcs11.CKA_KEY_TYPE, value: findKeyType(spec) },
    ...(made === 'trial' ? TRIAL : toPrivateTemplate(made)),
    ...(isSecret ? toSecretUses(spec) : PRIVATE_USES),
  ]
}

/** Extractable so that its length can be measured by wrapping; it dies with the look at it. */
const TRIAL: Template = [
  { type: pkcs11.CKA_TOKEN, value: false },
  { type: pkcs11.CKA_PRIVATE, value: true },
  { type: pkcs11.CKA_SENSITIVE, value: true },
  { type: pkcs11.CKA_EXTRACTABLE, value: true },
]

const findKeyType = (spec: KeySpecName): number => {
  if (spec.startsWith('AES_')) return pkcs11.CKK_AES
  if (spec.startsWith('HMAC_')) return pkcs11.CKK_GENERIC_SECRET
  if (spec.startsWith('RSA_')) return pkcs11.CKK_RSA
  return spec === 'ED25519' ? CKK_EC_EDWARDS : pkcs11.CKK_EC
}
