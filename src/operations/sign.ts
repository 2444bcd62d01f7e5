import type { KeyRecord } from '../../projections/keys.ts'
import type { SigningAlgorithmName } from '../../schemas/keys.ts'
import type { Request } from '../../schemas/registry.ts'
import type { Instruction } from '../core/instruction.ts'
import { SPECS } from '../core/lifecycle.ts'
import { fail, must, ok, type Result } from '../core/result.ts'
import { hashSha256, parseDerSignature, toDerSignature } from '../core/signature.ts'
import { guardKey, type Operation, planInstruction } from './operation.ts'
import { findUsable, takeKey } from './use.ts'

type Input = Request<'Sign'> | Request<'Verify'>

const DIGEST_BYTES = 32

const findAlgorithm = (input: Input, record: KeyRecord): Result<SigningAlgorithmName> => {
  const { algorithms } = SPECS[record.spec]
  const [first] = algorithms
  if (first === undefined) return fail('INVALID_REQUEST', `the key is for ${record.usage}`)
  const algorithm = input.signing_algorithm ?? first
  return algorithms.includes(algorithm)
    ? ok(algorithm)
    : fail('INVALID_REQUEST', `signing_algorithm: ${record.spec} signs with ${algorithms.join(', ')}`)
}

/** What the HSM is given: the whole message for Ed25519, the SHA-256 digest for everything else. */
const toSigned = (input: Input, algorithm: SigningAlgorithmName): Result<Uint8Array> => {
  const isDigest = input.message_type === 'DIGEST'
  if (algorithm === 'ED25519_PURE')
    return isDigest ? fail('INVALID_REQUEST', 'message_type: ED25519_PURE signs RAW messages only') : ok(input.message)
  if (!isDigest) return ok(hashSha256(input.message))
  return input.message.length === DIGEST_BYTES
    ? ok(input.message)
    : fail('INVALID_REQUEST', `message: a SHA-256 digest is ${DIGEST_BYTES} bytes`)
}

const isDer = (input: Input, algorithm: SigningAlgorithmName): Result<boolean> => {
  if (algorithm === 'ECDSA_P256_SHA256') return ok(input.signature_format !== 'P1363')
  return input.signature_format === undefined
    ? ok(false)
    : fail('INVALID_REQUEST', 'signature_format is for ECDSA only')
}

interface Asked {
  readonly algorithm: SigningAlgorithmName
  readonly message: Uint8Array
  readonly der: boolean
}

const findAsked = (input: Input, record: KeyRecord): Result<Asked> => {
  const algorithm = findAlgorithm(input, record)
  if (!algorithm.ok) return algorithm
  const message = toSigned(input, algorithm.value)
  if (!message.ok) return message
  const der = isDer(input, algorithm.value)
  return der.ok ? ok({ algorithm: algorithm.value, message: message.value, der: der.value }) : der
}

export const sign: Operation<'Sign'> = {
  targets: (input) => ok([{ kind: 'key', action: 'kms:Sign', ref: input.key_id }]),
  plan(input, resolved) {
    const { view } = resolved
    const record = takeKey(resolved)
    const asked = findAsked(input, record)
    if (!asked.ok) return asked
    const usable = findUsable(view, resolved, record, { usage: 'SIGN_VERIFY', use: 'produce' })
    if (!usable.ok) return usable
    const { backend, material } = usable.value
    const { algorithm, message, der } = asked.value
    const instruction: Instruction & { kind: 'sign' } = { kind: 'sign', backend, key: material, algorithm, message }
    const { lid, version } = material
    return ok(
      planInstruction(instruction, [guardKey(view, record, 'produce')], ({ signature }) => ({
        event: { type: 'MessageSigned', data: { lid, version, algorithm } },
        resources: [{ lid, version }],
        toReply: () => ({
          signature: der ? toDerSignature(signature) : signature,
          signing_algorithm: algorithm,
          key_id: lid,
          key_version: version,
        }),
      })),
    )
  },
}

export const verify: Operation<'Verify'> = {
  targets: (input) => ok([{ kind: 'key', action: 'kms:Verify', ref: input.key_id }]),
  plan(input, resolved) {
    const { view } = resolved
    const record = takeKey(resolved)
    const asked = findAsked(input, record)
    if (!asked.ok) return asked
    const wanted = { usage: 'SIGN_VERIFY', use: 'consume' } as const
    const version = input.key_version === undefined ? {} : { version: input.key_version }
    const usable = findUsable(view, resolved, record, { ...wanted, ...version })
    if (!usable.ok) return usable
    const { algorithm, message, der } = asked.value
    const raw = der ? parseDerSignature(input.signature) : ok(input.signature)
    if (!raw.ok) return raw
    const { backend, material } = usable.value
    must(material.publicKey !== undefined, `key ${record.lid} has no public key`)
    const instruction: Instruction & { kind: 'verify' } = {
      kind: 'verify',
      backend,
      key: material,
      algorithm,
      message,
      signature: raw.value,
    }
    const used = { lid: material.lid, version: material.version }
    return ok(
      planInstruction(instruction, [guardKey(view, record, 'consume')], ({ valid }) => ({
        event: { type: 'SignatureVerified', data: { ...used, algorithm, valid } },
        resources: [used],
        toReply: () => ({
          signature_valid: valid,
          key_id: used.lid,
          key_version: used.version,
          signing_algorithm: algorithm,
        }),
      })),
    )
  },
}
