import Type, { type TProperties } from 'typebox'
import { changeKey } from '../changeContract.ts'
import { contract, Reply } from '../contract.ts'
import { DATA_KEY_PAIR_SPECS, Key, KeySpec, WRAPPING_ALGORITHMS } from '../keys.ts'
import { LIMITS } from '../limits.ts'
import { BackendId, Bytes, EncryptionContext, Fields, KeyId, Lid, OneOf, Revision, Timestamp } from '../primitives.ts'
import { newKey, newKeyCodes } from './newKey.ts'

const version = Type.Integer({ minimum: 1 })
const wrappingAlgorithm = OneOf(WRAPPING_ALGORITHMS)
const spki = (description: string) => Bytes(1, LIMITS.publicKeyBytesMax, `${description}; SubjectPublicKeyInfo, DER`)
const warnings = Type.Optional(Type.Array(Type.String()))

const dataKeyPair = <const N extends string, R extends TProperties>(declared: {
  readonly name: N
  readonly summary: string
  readonly path: string
  readonly plaintext: R
}) =>
  contract({
    name: declared.name,
    summary: declared.summary,
    effect: 'use',
    idempotent: false,
    routes: [{ method: 'POST', path: `/keys/:id/${declared.path}`, status: 200 }],
    request: Fields({
      key_id: KeyId,
      key_pair_spec: OneOf(DATA_KEY_PAIR_SPECS, 'Kind and size of the pair'),
      encryption_context: Type.Optional(EncryptionContext),
    }),
    reply: Reply({
      public_key: spki('Public half'),
      encrypted_private_key: Bytes(1, LIMITS.ciphertextBytesMax, 'Ciphertext blob of the PKCS#8 DER; Decrypt opens it'),
      ...declared.plaintext,
      key_pair_spec: OneOf(DATA_KEY_PAIR_SPECS),
      key_id: Lid,
      key_version: version,
    }),
    codes: [
      'KEY_NOT_FOUND',
      'KEY_NOT_USABLE',
      'HSM_UNAVAILABLE',
      'UNSUPPORTED_BY_HSM',
      'REVISION_CONFLICT',
      'KEY_EXHAUSTED',
    ],
    example: { request: { key_pair_spec: 'ECDSA_P256' } },
  })

export const GenerateDataKeyPair = dataKeyPair({
  name: 'GenerateDataKeyPair',
  summary: 'Makes a key pair in the HSM and returns its private key in plain and encrypted',
  path: 'actions-generate-data-key-pair',
  plaintext: { plaintext_private_key: Bytes(1, LIMITS.privateKeyBytesMax, 'PKCS#8 DER') },
})

export const GenerateDataKeyPairWithoutPlaintext = dataKeyPair({
  name: 'GenerateDataKeyPairWithoutPlaintext',
  summary: 'Makes a key pair in the HSM and returns its private key only encrypted',
  path: 'actions-generate-data-key-pair-without-plaintext',
  plaintext: {},
})

export const GetParametersForImport = contract({
  name: 'GetParametersForImport',
  summary: 'Makes an RSA-3072 key in the HSM, for one import of a key that you wrap under it',
  effect: 'change',
  idempotent: false,
  routes: [{ method: 'POST', path: '/keys/import-parameters', status: 200 }],
  request: Fields({
    key_spec: KeySpec,
    wrapping_algorithm: Type.Optional(
      OneOf(WRAPPING_ALGORITHMS, 'The strongest that the HSM offers for the spec if absent'),
    ),
    backend_id: Type.Optional(BackendId),
    valid_seconds: Type.Optional(
      Type.Integer({ minimum: 1, maximum: LIMITS.importTokenSecondsMax, description: '24 hours if absent' }),
    ),
  }),
  reply: Reply({
    import_token: Bytes(LIMITS.importTokenBytes, LIMITS.importTokenBytes, 'For you alone, and for one import'),
    wrapping_public_key: spki('What to wrap under'),
    wrapping_algorithm: wrappingAlgorithm,
    key_spec: KeySpec,
    backend_id: BackendId,
    valid_to: Timestamp,
    warnings,
  }),
  codes: ['UNSUPPORTED_BY_HSM', 'HSM_UNAVAILABLE'],
  example: { request: { key_spec: 'AES_256' } },
})

export const ImportKey = contract({
  name: 'ImportKey',
  summary: 'Unwraps a key of yours inside the HSM',
  effect: 'change',
  idempotent: true,
  routes: [{ method: 'POST', path: '/keys/import', status: 201 }],
  request: Fields({
    wrapped_key_material: Bytes(
      1,
      LIMITS.wrappedBytesMax,
      'The bytes of a secret key or the PKCS#8 DER of a private one, wrapped',
    ),
    import_token: Bytes(LIMITS.importTokenBytes, LIMITS.importTokenBytes),
    public_key: Type.Optional(spki('Public half of a pair, which is needed then')),
    ...newKey,
  }),
  reply: Reply({ key: Key, warnings }),
  codes: [...newKeyCodes, 'KEY_NOT_USABLE'],
  example: {
    request: {
      key_spec: 'AES_256',
      wrapped_key_material: new Uint8Array(0),
      import_token: new Uint8Array(0),
      description: 'from the old vault',
    },
  },
})

export const GetKeyMaterial = contract({
  name: 'GetKeyMaterial',
  summary: 'Wraps the material of an exportable key under an RSA public key of yours, inside the HSM',
  effect: 'change',
  idempotent: false,
  routes: [{ method: 'POST', path: '/keys/:id/actions-export', status: 200 }],
  request: Fields({
    key_id: KeyId,
    wrapping_public_key: spki(`RSA of ${LIMITS.wrappingKeyBitsMin} to ${LIMITS.wrappingKeyBitsMax} bits`),
    wrapping_algorithm: Type.Optional(
      OneOf(WRAPPING_ALGORITHMS, 'The strongest that the HSM offers for the spec if absent'),
    ),
    key_version: Type.Optional(Type.Integer({ minimum: 1, maximum: 2 ** 32 - 1 })),
    if_revision: Type.Optional(Revision),
  }),
  reply: Reply({
    wrapped_key_material: Bytes(1, LIMITS.wrappedBytesMax),
    wrapping_algorithm: wrappingAlgorithm,
    key_id: Lid,
    key_version: version,
    warnings,
  }),
  codes: ['KEY_NOT_FOUND', 'NOT_FOUND', 'KEY_NOT_USABLE', 'UNSUPPORTED_BY_HSM', 'HSM_UNAVAILABLE', 'REVISION_CONFLICT'],
  example: { request: { wrapping_public_key: new Uint8Array(0) } },
})

const exportability = <const N extends string>(name: N, path: string, summary: string) =>
  changeKey({
    name,
    summary,
    path: `/${path}`,
    request: {},
    reply: {},
    codes: ['INVALID_STATE_TRANSITION'],
    example: {},
  })

export const MakeKeyExportable = exportability(
  'MakeKeyExportable',
  'actions-make-exportable',
  'Lets a key out again that was created exportable',
)
export const RevokeKeyExportability = exportability(
  'RevokeKeyExportability',
  'actions-revoke-exportability',
  'Lets an exportable key out no more',
)
