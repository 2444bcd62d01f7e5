import { createPublicKey, randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  KEY_SPECS,
  KEY_USAGES,
  type KeySpecName,
  type KeyUsageName,
  MAC_ALGORITHMS,
  type MacAlgorithmName,
  SIGNING_ALGORITHMS,
  type SigningAlgorithmName,
} from '../../schemas/keys.ts'
import type { OperationName } from '../../schemas/registry.ts'
import { BLOB_OVERHEAD_BYTES } from '../../src/core/ciphertext.ts'
import type { Hsm } from '../../src/core/ports.ts'
import { createHsm } from '../../src/hsm/createHsm.ts'
import { createPipelineStackOver, ORIGIN, type PipelineStack, toCode } from '../fixtures/pipelineStack.ts'
import { createSoftHsm, type SoftHsm } from '../fixtures/softhsm.ts'
import { toDigest, verifyMessage } from '../fixtures/softwareSigning.ts'
import { createTelemetryLog } from '../fixtures/telemetryLog.ts'

/**
 * Spec by operation by algorithm, whole: what the table below has works on a real HSM and is right by node:crypto, and
 * everything else is INVALID_REQUEST and never reaches the HSM.
 */
interface Row {
  readonly usage: KeyUsageName
  readonly algorithms: readonly SigningAlgorithmName[]
  readonly mac?: MacAlgorithmName
  /** The algorithm id in the header of its ciphertexts. */
  readonly cipherId?: number
  readonly warns?: true
}
const PKCS1 = ['RSA_PKCS1_V15_SHA256', 'RSA_PKCS1_V15_SHA384', 'RSA_PKCS1_V15_SHA512'] as const
const PSS = ['RSA_PSS_SHA256', 'RSA_PSS_SHA384', 'RSA_PSS_SHA512'] as const

// biome-ignore format: a table reads by its lines
const TABLE: Readonly<Record<KeySpecName, Row>> = {
  AES_256:        { usage: 'ENCRYPT_DECRYPT', algorithms: [], cipherId: 1 },
  AES_128:        { usage: 'ENCRYPT_DECRYPT', algorithms: [], cipherId: 2 },
  ED25519:        { usage: 'SIGN_VERIFY', algorithms: ['ED25519_PURE'] },
  ECDSA_P256:     { usage: 'SIGN_VERIFY', algorithms: ['ECDSA_P256_SHA256'] },
  ECC_NIST_P384:  { usage: 'SIGN_VERIFY', algorithms: ['ECDSA_P384_SHA384'] },
  RSA_2048:       { usage: 'SIGN_VERIFY', algorithms: PKCS1, warns: true },
  RSA_3072:       { usage: 'SIGN_VERIFY', algorithms: PKCS1 },
  RSA_4096:       { usage: 'SIGN_VERIFY', algorithms: PKCS1 },
  RSA_PSS_2048:   { usage: 'SIGN_VERIFY', algorithms: PSS, warns: true },
  RSA_PSS_3072:   { usage: 'SIGN_VERIFY', algorithms: PSS },
  RSA_PSS_4096:   { usage: 'SIGN_VERIFY', algorithms: PSS },
  HMAC_256:       { usage: 'GENERATE_VERIFY_MAC', algorithms: [], mac: 'HMAC_SHA_256' },
  HMAC_384:       { usage: 'GENERATE_VERIFY_MAC', algorithms: [], mac: 'HMAC_SHA_384' },
  HMAC_512:       { usage: 'GENERATE_VERIFY_MAC', algorithms: [], mac: 'HMAC_SHA_512' },
}

const TEXT = 'the message of the matrix'
const text = () => Buffer.from(TEXT)

let softHsm: SoftHsm
let hsm: Hsm
let stack: PipelineStack<Hsm>
/** A key that encrypts, and a ciphertext under it. */
let elsewhere: string
let sealed: Uint8Array
const keys = new Map<KeySpecName, string>()

beforeAll(async () => {
  softHsm = await createSoftHsm()
  const { libPath, tokenLabel, pinFile } = softHsm
  const backends = [{ id: 'main', libPath, tokenLabel, pinFile }]
  hsm = await createHsm({ origin: ORIGIN, backends, telemetry: createTelemetryLog(), placement: 'inline' })
  stack = await createPipelineStackOver(hsm)
  elsewhere = await stack.createKey()
  sealed = Uint8Array.from((await stack.succeed('Encrypt', { key_id: elsewhere, plaintext: text() })).ciphertext_blob)
})
afterAll(async () => {
  await stack?.[Symbol.asyncDispose]()
  await hsm?.close()
  await softHsm?.[Symbol.asyncDispose]()
})

const keyOf = (spec: KeySpecName): string => keys.get(spec) ?? ''

/** Sends what the table lacks: it is refused with this code, and the HSM is not asked. */
const expectRefused = async (operation: OperationName, body: object, code = 'INVALID_REQUEST'): Promise<void> => {
  const seen = await stack.trace(operation, { ...body })
  const shown = { operation, ...body, code: seen.code, hsm: seen.calls.filter((call) => call.startsWith('hsm')) }
  expect(shown).toEqual({ operation, ...body, code, hsm: [] })
}

interface Signing {
  readonly signing_algorithm?: SigningAlgorithmName
  readonly form: 'RAW' | 'DIGEST' | 'DIGEST of another length'
  readonly signature_format?: 'DER' | 'P1363'
}

const SIGNINGS: readonly Signing[] = [undefined, ...SIGNING_ALGORITHMS].flatMap((algorithm) =>
  (['RAW', 'DIGEST', 'DIGEST of another length'] as const).flatMap((form) =>
    ([undefined, 'DER', 'P1363'] as const).map((format) => ({
      form,
      ...(algorithm === undefined ? {} : { signing_algorithm: algorithm }),
      ...(format === undefined ? {} : { signature_format: format }),
    })),
  ),
)

const isInTable = (row: Row, { signing_algorithm, form, signature_format }: Signing): boolean => {
  const algorithm = signing_algorithm ?? row.algorithms[0]
  if (algorithm === undefined || !row.algorithms.includes(algorithm)) return false
  if (form !== 'RAW' && (algorithm === 'ED25519_PURE' || form !== 'DIGEST')) return false
  return signature_format === undefined || algorithm.startsWith('ECDSA_')
}

const toMessage = (row: Row, { signing_algorithm, form }: Signing) => {
  if (form === 'RAW') return { message: text() }
  const digest = toDigest(signing_algorithm ?? row.algorithms[0] ?? 'RSA_PSS_SHA256', text())
  return { message_type: 'DIGEST', message: form === 'DIGEST' ? digest : digest.subarray(1) }
}

const signAndCheck = async (spec: KeySpecName, signing: Signing): Promise<void> => {
  const row = TABLE[spec]
  const { form: _, ...asked } = signing
  const request = () => ({ key_id: keyOf(spec), ...asked, ...toMessage(row, signing) })
  const made = await stack.succeed('Sign', request())
  const algorithm = signing.signing_algorithm ?? row.algorithms[0]
  expect(made.signing_algorithm).toBe(algorithm)
  const { public_key, pem, jwk, signing_algorithms } = await stack.succeed('GetPublicKey', { key_id: keyOf(spec) })
  expect(signing_algorithms).toEqual(row.algorithms)
  const key = createPublicKey({ key: Buffer.from(public_key), format: 'der', type: 'spki' })
  expect(createPublicKey(pem).equals(key)).toBe(true)
  expect(createPublicKey({ key: { ...jwk }, format: 'jwk' }).equals(key)).toBe(true)
  const signature = Uint8Array.from(made.signature)
  const encoding = signing.signature_format === 'P1363' ? 'ieee-p1363' : 'der'
  expect(verifyMessage(made.signing_algorithm, key, { message: text(), signature }, encoding)).toBe(true)
  const judge = async (given: Uint8Array) =>
    (await stack.succeed('Verify', { ...request(), signature: given })).signature_valid
  expect(await judge(Uint8Array.from(signature))).toBe(true)
  const flipped = Uint8Array.from(signature)
  flipped[flipped.length - 1] = (flipped.at(-1) ?? 0) ^ 1
  expect(await judge(flipped)).toBe(false)
}

test('the table has every spec', () => {
  expect(Object.keys(TABLE)).toEqual([...KEY_SPECS])
})

describe.each(KEY_SPECS)('%s', (spec) => {
  const row = TABLE[spec]
  const encrypts = row.usage === 'ENCRYPT_DECRYPT'

  test(`is made for ${row.usage} and nothing else${row.warns ? ', with a warning' : ''}`, async () => {
    for (const key_usage of KEY_USAGES.filter((usage) => usage !== row.usage))
      await expectRefused('CreateKey', { key_spec: spec, key_usage })
    const made = await stack.succeed('CreateKey', { key_spec: spec, key_usage: row.usage })
    keys.set(spec, made.key.key_id)
    expect(made.key).toMatchObject({ key_spec: spec, key_usage: row.usage })
    expect(made.warnings).toEqual(row.warns ? [expect.stringContaining('deprecated')] : undefined)
  })

  test(encrypts ? 'encrypts' : 'does not encrypt', async () => {
    const key_id = keyOf(spec)
    const moved = { ciphertext_blob: Uint8Array.from(sealed), destination_key_id: key_id }
    if (!encrypts) {
      await expectRefused('Encrypt', { key_id, plaintext: text() })
      await expectRefused('GenerateDataKey', { key_id })
      await expectRefused('GenerateDataKeyWithoutPlaintext', { key_id })
      await expectRefused('ReEncrypt', moved)
      // A blob that says it is this key's tells nothing else than any other bad one.
      const forged = Buffer.concat([sealed.subarray(0, 8), Buffer.from(key_id.slice(4), 'hex'), sealed.subarray(40)])
      await expectRefused('Decrypt', { ciphertext_blob: forged }, 'INVALID_CIPHERTEXT')
      await expectRefused('ReEncrypt', { ciphertext_blob: forged, destination_key_id: elsewhere }, 'INVALID_CIPHERTEXT')
      return
    }
    const open = async (blob: Uint8Array) =>
      Buffer.from((await stack.succeed('Decrypt', { ciphertext_blob: Uint8Array.from(blob) })).plaintext)
    const { ciphertext_blob } = await stack.succeed('Encrypt', { key_id, plaintext: text() })
    const blob = Buffer.from(ciphertext_blob)
    expect([blob.length, blob.readUInt16LE(6)]).toEqual([BLOB_OVERHEAD_BYTES + TEXT.length, row.cipherId])
    expect((await open(blob)).toString()).toBe(TEXT)
    expect((await open((await stack.succeed('ReEncrypt', moved)).ciphertext_blob)).toString()).toBe(TEXT)
    const data = await stack.succeed('GenerateDataKey', { key_id, key_spec: 'AES_128' })
    expect(await open(data.encrypted_data_key)).toEqual(Buffer.from(data.plaintext_data_key))
    const hidden = await stack.succeed('GenerateDataKeyWithoutPlaintext', { key_id })
    expect(await open(hidden.encrypted_data_key)).toHaveLength(32)
    // The algorithm of the other AES key in the header: refused before the HSM.
    const changed = Buffer.from(blob)
    changed.writeUInt16LE(row.cipherId === 1 ? 2 : 1, 6)
    await expectRefused('Decrypt', { ciphertext_blob: changed }, 'INVALID_CIPHERTEXT')
  })

  test(row.algorithms.length > 0 ? `signs with ${row.algorithms.join(', ')} only` : 'does not sign', async () => {
    const key_id = keyOf(spec)
    for (const signing of SIGNINGS) {
      if (isInTable(row, signing)) {
        await signAndCheck(spec, signing)
        continue
      }
      const { form: _, ...asked } = signing
      await expectRefused('Sign', { key_id, ...asked, ...toMessage(row, signing) })
      await expectRefused('Verify', { key_id, ...asked, ...toMessage(row, signing), signature: randomBytes(64) })
    }
    if (row.algorithms.length === 0) await expectRefused('GetPublicKey', { key_id })
  })

  test(row.mac === undefined ? 'makes no MAC' : `authenticates with ${row.mac} only`, async () => {
    const key_id = keyOf(spec)
    for (const mac_algorithm of [undefined, ...MAC_ALGORITHMS]) {
      const request = () => ({ key_id, message: text(), ...(mac_algorithm === undefined ? {} : { mac_algorithm }) })
      if (row.mac === undefined || (mac_algorithm !== undefined && mac_algorithm !== row.mac)) {
        await expectRefused('GenerateMac', request())
        await expectRefused('VerifyMac', { ...request(), mac: randomBytes(32) })
        continue
      }
      const made = await stack.succeed('GenerateMac', request())
      const mac = Uint8Array.from(made.mac)
      expect(made).toMatchObject({ key_id, key_version: 1, mac_algorithm: row.mac })
      expect(mac).toHaveLength(Number(row.mac.slice(-3)) / 8)
      const judge = async (given: Uint8Array) =>
        (await stack.succeed('VerifyMac', { ...request(), mac: given })).mac_valid
      expect(await judge(Uint8Array.from(mac))).toBe(true)
      expect(await judge(mac.slice(1))).toBe(false)
      expect(await judge(new Uint8Array(mac.length))).toBe(false)
    }
  })
})

test('a spec or an algorithm that the contract does not name is refused', async () => {
  for (const key_spec of ['AES_192', 'RSA_1024', 'RSA_PSS_1024', 'HMAC_224', 'ECC_NIST_P521', 'aes_256'])
    expect([key_spec, toCode(await stack.send('CreateKey', { key_spec }))]).toEqual([key_spec, 'INVALID_REQUEST'])
  const signing_algorithm = 'RSA_PKCS1_V15_SHA1'
  await expectRefused('Sign', { key_id: keyOf('RSA_2048'), message: text(), signing_algorithm })
  await expectRefused('GenerateMac', { key_id: keyOf('HMAC_256'), message: text(), mac_algorithm: 'HMAC_SHA_1' })
})
