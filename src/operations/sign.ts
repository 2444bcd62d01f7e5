import type { KeyRecord } from '../../projections/keys.ts'
import type { SigningAlgorithmName } from '../../schemas/keys.ts'
import type { Request } from '../../schemas/registry.ts'
import type { Instruction } from '../core/instruction.ts'
import { SPECS } from '../core/lifecycle.ts'
import { fail, must, ok, type Result } from '../core/result.ts'
import { DIGEST_BYTES, hashMessage, parseDerSignature, SIGNING_SCHEMES, toDerSignature } from '../core/signature.ts'
import { guardKey, type Operation, planInstruction } from './operation.ts'
import { findUsable, takeKey } from './use.ts'

type Input = Request<'Sign'> | Request<'Verify'>

const findAlgorithm = (input: Input, record: KeyRecord): Result<SigningAlgorithmName> => {
  const { algorithms } = SPECS[record.spec]
  const [first] = algorithms
  if (first === undefined) return fail('INVALID_REQUEST', `the key is for ${record.usage}`)
  const algorithm = input.signing_algorithm ?? first
  return algorithms.includes(algorithm)
    ? ok(algorithm)
    : fail('INVALID_REQUEST', `signing_algorithm: ${record.spec} signs with ${algorithms.join(', ')}`)
}

/** What the HSM is given: the whole message for Ed25519, the digest by the algorithm's hash for everything else. */
const toSigned = (input: Input, algorithm: SigningAlgorithmName): Result<Uint8Array> => {
  const scheme = SIGNING_SCHEMES[algorithm]
  const isDigest = input.message_type === 'DIGEST'
  if (scheme.kind === 'pure')
    return isDigest ? fail('INVALID_REQUEST', `message_type: ${algorithm} signs RAW messages only`) : ok(input.message)
  if (!isDigest) return ok(hashMessage(scheme.hash, input.message))
  const bytes = DIGEST_BYTES[scheme.hash]
  return input.message.length === bytes
    ? ok(input.message)
    : fail('INVALID_REQUEST', `message: the digest for ${algorithm} is ${bytes} bytes`)
}

/** The length of r and s where a signature is two integers in DER; none if it goes as the HSM made it. */
const findDerCoordinate = (input: Input, algorithm: SigningAlgorithmName): Result<number | undefined> => {
  const scheme = SIGNING_SCHEMES[algorithm]
  if (scheme.kind === 'ecdsa') return ok(input.signature_format === 'P1363' ? undefined : scheme.coordinateBytes)
  return input.signature_format === undefined
    ? ok(undefined)
    : fail('INVALID_REQUEST', 'signature_format is for ECDSA only')
}

interface Asked {
  readonly algorithm: SigningAlgorithmName
  readonly message: Uint8Array
  readonly derCoordinate: number | undefined
}

const findAsked = (input: Input, record: KeyRecord): Result<Asked> => {
  const algorithm = findAlgorithm(input, record)
  if (!algorithm.ok) return algorithm
  const message = toSigned(input, algorithm.value)
  if (!message.ok) return message
  const der = findDerCoordinate(input, algorithm.value)
  return der.ok ? ok({ algorithm: algorithm.value, message: message.value, derCoordinate: der.value }) : der
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
    const { algorithm, message, derCoordinate } = asked.value
    const instruction: Instruction & { kind: 'sign' } = { kind: 'sign', backend, key: material, algorithm, message }
    const { lid, version } = material
    return ok(
      planInstruction(instruction, [guardKey(view, record, 'produce')], ({ signature }) => ({
        event: { type: 'MessageSigned', data: { lid, version, algorithm } },
        resources: [{ lid, version }],
        toReply: () => ({
          signature: derCoordinate === undefined ? signature : toDerSignature(signature),
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
    const { algorithm, message, derCoordinate } = asked.value
    const raw = derCoordinate === undefined ? ok(input.signature) : parseDerSignature(input.signature, derCoordinate)
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
