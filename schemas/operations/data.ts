import Type from 'typebox'
import { contract, Reply } from '../contract.ts'
import { MacAlgorithm, SigningAlgorithm } from '../keys.ts'
import { LIMITS } from '../limits.ts'
import { Bytes, EncryptionContext, Fields, KeyId, Lid, OneOf } from '../primitives.ts'

const version = Type.Integer({ minimum: 1 })
const ciphertext = Bytes(1, LIMITS.ciphertextBytesMax, 'Ciphertext blob: header, nonce, ciphertext, tag')
const context = { encryption_context: Type.Optional(EncryptionContext) }
const keyCodes = ['KEY_NOT_FOUND', 'KEY_NOT_USABLE', 'HSM_UNAVAILABLE', 'REVISION_CONFLICT'] as const
const HELLO = new TextEncoder().encode('hello')

export const Encrypt = contract({
  name: 'Encrypt',
  summary: 'Encrypts up to 64 KiB with AES-GCM in the HSM',
  effect: 'use',
  idempotent: false,
  routes: [{ method: 'POST', path: '/keys/:id/actions-encrypt', status: 200 }],
  request: Fields({ key_id: KeyId, plaintext: Bytes(0, LIMITS.plaintextBytesMax), ...context }),
  reply: Reply({ ciphertext_blob: ciphertext, key_id: Lid, key_version: version }),
  codes: [...keyCodes, 'KEY_EXHAUSTED'],
  example: { request: { plaintext: HELLO, encryption_context: { purpose: 'docs' } } },
})

export const Decrypt = contract({
  name: 'Decrypt',
  summary: 'Decrypts a ciphertext blob; the blob names its key',
  effect: 'use',
  idempotent: false,
  routes: [
    { method: 'POST', path: '/keys/:id/actions-decrypt', status: 200 },
    { method: 'POST', path: '/actions-decrypt', status: 200 },
  ],
  request: Fields({ key_id: Type.Optional(KeyId), ciphertext_blob: ciphertext, ...context }),
  reply: Reply({ plaintext: Bytes(0, LIMITS.plaintextBytesMax), key_id: Lid, key_version: version }),
  codes: [...keyCodes, 'INVALID_CIPHERTEXT'],
  example: { request: { ciphertext_blob: new Uint8Array(0), encryption_context: { purpose: 'docs' } } },
})

export const ReEncrypt = contract({
  name: 'ReEncrypt',
  summary: 'Moves a ciphertext to another key; the plaintext stays in the HSM host',
  effect: 'use',
  idempotent: false,
  routes: [
    { method: 'POST', path: '/keys/:id/actions-re-encrypt', status: 200 },
    { method: 'POST', path: '/actions-re-encrypt', status: 200 },
  ],
  request: Fields({
    key_id: Type.Optional(KeyId),
    ciphertext_blob: ciphertext,
    destination_key_id: KeyId,
    source_encryption_context: Type.Optional(EncryptionContext),
    destination_encryption_context: Type.Optional(EncryptionContext),
  }),
  reply: Reply({
    ciphertext_blob: ciphertext,
    source_key_id: Lid,
    source_key_version: version,
    destination_key_id: Lid,
    destination_key_version: version,
  }),
  codes: [...keyCodes, 'INVALID_CIPHERTEXT', 'KEY_EXHAUSTED'],
  example: {
    request: {
      ciphertext_blob: new Uint8Array(0),
      destination_key_id: 'alias/other',
      source_encryption_context: { purpose: 'docs' },
    },
  },
})

const dataKeyRequest = Fields({
  key_id: KeyId,
  key_spec: Type.Optional(OneOf(['AES_256', 'AES_128'], 'AES_256 if absent; not together with number_of_bytes')),
  number_of_bytes: Type.Optional(Type.Integer({ minimum: 1, maximum: LIMITS.randomBytesMax })),
  ...context,
})
const dataKeyReply = { encrypted_data_key: ciphertext, key_id: Lid, key_version: version }

export const GenerateDataKey = contract({
  name: 'GenerateDataKey',
  summary: 'Makes a data key in the HSM and returns it in plain and encrypted',
  effect: 'use',
  idempotent: false,
  routes: [{ method: 'POST', path: '/keys/:id/actions-generate-data-key', status: 200 }],
  request: dataKeyRequest,
  reply: Reply({ plaintext_data_key: Bytes(1, LIMITS.randomBytesMax), ...dataKeyReply }),
  codes: [...keyCodes, 'KEY_EXHAUSTED'],
  example: { request: { key_spec: 'AES_256' } },
})

export const GenerateDataKeyWithoutPlaintext = contract({
  name: 'GenerateDataKeyWithoutPlaintext',
  summary: 'Makes a data key in the HSM and returns it only encrypted',
  effect: 'use',
  idempotent: false,
  routes: [{ method: 'POST', path: '/keys/:id/actions-generate-data-key-without-plaintext', status: 200 }],
  request: dataKeyRequest,
  reply: Reply(dataKeyReply),
  codes: [...keyCodes, 'KEY_EXHAUSTED'],
  example: { request: { number_of_bytes: 64 } },
})

export const GenerateRandom = contract({
  name: 'GenerateRandom',
  summary: 'Returns random bytes of the HSM',
  effect: 'use',
  idempotent: false,
  routes: [{ method: 'POST', path: '/generate-random', status: 200 }],
  request: Fields({ number_of_bytes: Type.Integer({ minimum: 1, maximum: LIMITS.randomBytesMax }) }),
  reply: Reply({ random_bytes: Bytes(1, LIMITS.randomBytesMax) }),
  codes: ['HSM_UNAVAILABLE'],
  example: { request: { number_of_bytes: 32 } },
})

const messageFields = {
  key_id: KeyId,
  message: Bytes(0, LIMITS.messageBytesMax),
  message_type: Type.Optional(
    OneOf(['RAW', 'DIGEST'], "RAW if absent; DIGEST: message is already the digest by the algorithm's hash"),
  ),
  signing_algorithm: Type.Optional(SigningAlgorithm),
}
const signatureFormat = Type.Optional(OneOf(['DER', 'P1363'], 'ECDSA only; DER if absent'))

export const Sign = contract({
  name: 'Sign',
  summary: 'Signs a message or a digest in the HSM',
  effect: 'use',
  idempotent: false,
  routes: [{ method: 'POST', path: '/keys/:id/actions-sign', status: 200 }],
  request: Fields({ ...messageFields, signature_format: signatureFormat }),
  reply: Reply({
    signature: Bytes(1, LIMITS.signatureBytesMax),
    signing_algorithm: SigningAlgorithm,
    key_id: Lid,
    key_version: version,
  }),
  codes: [...keyCodes],
  example: { request: { message: HELLO } },
})

export const Verify = contract({
  name: 'Verify',
  summary: 'Verifies a signature',
  effect: 'use',
  idempotent: false,
  routes: [{ method: 'POST', path: '/keys/:id/actions-verify', status: 200 }],
  request: Fields({
    ...messageFields,
    signature: Bytes(1, LIMITS.signatureBytesMax),
    signature_format: signatureFormat,
    key_version: Type.Optional(Type.Integer({ minimum: 1, maximum: 2 ** 32 - 1 })),
  }),
  reply: Reply({
    signature_valid: Type.Boolean(),
    key_id: Lid,
    key_version: version,
    signing_algorithm: SigningAlgorithm,
  }),
  codes: [...keyCodes, 'NOT_FOUND'],
  example: { request: { message: HELLO, signature: new Uint8Array(64) } },
})

const macFields = {
  key_id: KeyId,
  message: Bytes(0, LIMITS.messageBytesMax),
  mac_algorithm: Type.Optional(MacAlgorithm),
}
const macReply = { key_id: Lid, key_version: version, mac_algorithm: MacAlgorithm }

export const GenerateMac = contract({
  name: 'GenerateMac',
  summary: 'Makes the HMAC of a message in the HSM',
  effect: 'use',
  idempotent: false,
  routes: [{ method: 'POST', path: '/keys/:id/actions-generate-mac', status: 200 }],
  request: Fields(macFields),
  reply: Reply({ mac: Bytes(1, LIMITS.macBytesMax), ...macReply }),
  codes: [...keyCodes],
  example: { request: { message: HELLO } },
})

export const VerifyMac = contract({
  name: 'VerifyMac',
  summary: 'Verifies an HMAC in the HSM, in constant time',
  effect: 'use',
  idempotent: false,
  routes: [{ method: 'POST', path: '/keys/:id/actions-verify-mac', status: 200 }],
  request: Fields({
    ...macFields,
    mac: Bytes(1, LIMITS.macBytesMax),
    key_version: Type.Optional(Type.Integer({ minimum: 1, maximum: 2 ** 32 - 1 })),
  }),
  reply: Reply({ mac_valid: Type.Boolean(), ...macReply }),
  codes: [...keyCodes, 'NOT_FOUND'],
  example: { request: { message: HELLO, mac: new Uint8Array(32) } },
})
