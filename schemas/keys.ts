import Type, { type Static } from 'typebox'
import { LIMITS } from './limits.ts'
import { BackendId, Fields, Lid, OneOf, Revision, Tags, Text, Timestamp } from './primitives.ts'
import { NamespaceName } from './routing.ts'

export const KEY_SPECS = [
  'AES_256',
  'AES_128',
  'ED25519',
  'ECDSA_P256',
  'ECC_NIST_P384',
  'RSA_2048',
  'RSA_3072',
  'RSA_4096',
  'RSA_PSS_2048',
  'RSA_PSS_3072',
  'RSA_PSS_4096',
  'HMAC_256',
  'HMAC_384',
  'HMAC_512',
] as const
export type KeySpecName = (typeof KEY_SPECS)[number]
export const KeySpec = OneOf(KEY_SPECS, 'Kind and size of the key')

export const KEY_USAGES = ['ENCRYPT_DECRYPT', 'SIGN_VERIFY', 'GENERATE_VERIFY_MAC'] as const
export type KeyUsageName = (typeof KEY_USAGES)[number]
export const KeyUsage = OneOf(KEY_USAGES)

export const SIGNING_ALGORITHMS = [
  'ED25519_PURE',
  'ECDSA_P256_SHA256',
  'ECDSA_P384_SHA384',
  'RSA_PKCS1_V15_SHA256',
  'RSA_PKCS1_V15_SHA384',
  'RSA_PKCS1_V15_SHA512',
  'RSA_PSS_SHA256',
  'RSA_PSS_SHA384',
  'RSA_PSS_SHA512',
] as const
export type SigningAlgorithmName = (typeof SIGNING_ALGORITHMS)[number]
export const SigningAlgorithm = OneOf(SIGNING_ALGORITHMS)

export const MAC_ALGORITHMS = ['HMAC_SHA_256', 'HMAC_SHA_384', 'HMAC_SHA_512'] as const
export type MacAlgorithmName = (typeof MAC_ALGORITHMS)[number]
export const MacAlgorithm = OneOf(MAC_ALGORITHMS)

/** The pairs that can be made as data keys. */
export const DATA_KEY_PAIR_SPECS = [
  'ED25519',
  'ECDSA_P256',
  'ECC_NIST_P384',
  'RSA_2048',
  'RSA_3072',
  'RSA_4096',
] as const satisfies readonly KeySpecName[]
export type DataKeyPairSpecName = (typeof DATA_KEY_PAIR_SPECS)[number]

/**
 * How material is wrapped on its way in or out. RSA_OAEP: the bytes of a secret key. RSA_AES_KEY_WRAP: a 256-bit AES key
 * by RSA-OAEP, followed by the material under that key by AES-KWP (RFC 5649); a pair's private key is PKCS#8 DER.
 * The hash is that of OAEP and of its MGF1.
 */
export const WRAPPING_ALGORITHMS = [
  'RSA_AES_KEY_WRAP_SHA256',
  'RSA_AES_KEY_WRAP_SHA1',
  'RSA_OAEP_SHA256',
  'RSA_OAEP_SHA1',
] as const
export type WrappingAlgorithmName = (typeof WRAPPING_ALGORITHMS)[number]

/** Strictest last; a key's effective state is the strictest of its own and all its ancestors'. */
export const KEY_STATES = ['enabled', 'compromised', 'disabled', 'pending_deletion', 'destroying', 'destroyed'] as const
export type KeyStateName = (typeof KEY_STATES)[number]
export const KeyState = OneOf(KEY_STATES)

/** Why a version was added. */
export const ROTATION_CAUSES = ['request', 'schedule', 'budget'] as const
export type RotationCause = (typeof ROTATION_CAUSES)[number]

export const ROTATION_JOB_STATES = ['pending', 'acknowledged', 'completed', 'failed', 'expired'] as const
export type RotationJobStateName = (typeof ROTATION_JOB_STATES)[number]

export const VERSION_STATES = ['enabled', 'destroying', 'destroyed', 'material_missing'] as const
export type VersionStateName = (typeof VERSION_STATES)[number]

export const KeyVersion = Fields({
  version: Type.Integer({ minimum: 1 }),
  created_at: Timestamp,
  state: OneOf(VERSION_STATES, 'material_missing: the ledger names material that the HSM does not hold'),
  backend_id: BackendId,
  cause: Type.Optional(OneOf(ROTATION_CAUSES, 'Why it was added; absent for the first')),
  encrypt_count: Type.Optional(
    Type.Integer({ minimum: 0, description: 'Messages encrypted; counts against the nonce budget' }),
  ),
})

/** The public metadata of a key. Identity tags are not in it. */
export const Key = Fields({
  key_id: Lid,
  lid: Lid,
  key_spec: KeySpec,
  key_usage: KeyUsage,
  state: KeyState,
  effective_state: KeyState,
  locked_by: Type.Optional(Lid),
  origin: OneOf(['KMS', 'EXTERNAL']),
  description: Text(0, LIMITS.descriptionBytesMax),
  user_tags: Tags,
  parent_key_id: Type.Optional(Lid),
  namespace: Type.Optional(NamespaceName),
  backend_id: BackendId,
  exportable: Type.Boolean(),
  first_exported_at: Type.Optional(Timestamp),
  current_key_version: Type.Integer({ minimum: 1 }),
  min_decryption_version: Type.Integer({ minimum: 1 }),
  key_versions: Type.Array(KeyVersion),
  rotation: Fields({
    enabled: Type.Boolean(),
    interval_days: Type.Optional(Type.Integer({ minimum: 1 })),
    next_at: Type.Optional(Timestamp),
  }),
  created_at: Timestamp,
  updated_at: Timestamp,
  scheduled_deletion_at: Type.Optional(Timestamp),
  revision: Revision,
})
export type KeyBody = Static<typeof Key>
