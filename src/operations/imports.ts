import { checkGuard, type Guard, IMPORT_TOKEN_REFUSED } from '../../projections/guards.ts'
import type { ImportRecord } from '../../projections/imports.ts'
import type { View } from '../../projections/view.ts'
import { LIMITS } from '../../schemas/limits.ts'
import type { Request } from '../../schemas/registry.ts'
import { isSameDigest } from '../core/constantTime.ts'
import type { Instruction, MaterialRef } from '../core/instruction.ts'
import { deriveIdentity, toLid, toLidBytes } from '../core/lid.ts'
import { fail, must, ok, type Result } from '../core/result.ts'
import { Sensitive } from '../core/sensitive.ts'
import { toTimestamp } from './keyBody.ts'
import { prepareNewKey, toCreated, toMaterialData, toNewKeyTargets, toUndoing } from './newKey.ts'
import { type Facts, guardBackend, type Operation, planInstruction } from './operation.ts'
import { NO_BACKEND } from './placement.ts'
import { findWrapping, toWrappingWarnings } from './wrapping.ts'

const WRAPPING_SPEC = 'RSA_3072'
const SECOND_MS = 1000
/** A token is the LID of its wrapping key, by which it is found, and a secret of the HSM, by which it is known. */
const LID_BYTES = LIMITS.importTokenBytes - LIMITS.importSecretBytes

export const getParametersForImport: Operation<'GetParametersForImport'> = {
  targets: () => ok([{ kind: 'service', action: 'kms:GetParametersForImport' }]),

  plan(input, { view, facts }) {
    const backend = input.backend_id ?? facts.defaultBackend
    if (!facts.hasBackend(backend)) return NO_BACKEND
    const spec = input.key_spec
    if (!facts.supports(backend, spec))
      return fail('UNSUPPORTED_BY_HSM', `the HSM backend has no mechanism for ${spec}`)
    const wrapping = findWrapping(facts, backend, { spec, algorithm: input.wrapping_algorithm })
    if (!wrapping.ok) return wrapping
    const owner = facts.principal
    must(owner !== undefined, 'an import is asked for by somebody')
    const bounds = { importsMax: LIMITS.importsOpenMax, ownMax: LIMITS.importsOpenPerPrincipalMax }
    const room: Guard = { kind: 'importRoom', ...bounds, owner }
    const full = checkGuard(view, room)
    if (full !== undefined) return { ok: false, error: full }
    const identity = deriveIdentity({}, facts.uniqueId)
    if (!identity.ok) return identity
    const { lid } = identity.value
    const algorithm = wrapping.value
    const expiresAtMs = facts.nowMs + (input.valid_seconds ?? LIMITS.importTokenSecondsMax) * SECOND_MS
    const instruction: Instruction & { kind: 'generateWrappingKey' } = {
      kind: 'generateWrappingKey',
      backend,
      epoch: view.at.epoch,
      lid,
      version: 1,
    }
    return ok(
      planInstruction(instruction, [room, ...guardBackend(view, backend)], ({ sealedHandle, publicKey, secret }) => {
        const token = new Sensitive(Buffer.concat([toLidBytes(lid), secret.expose()]))
        return {
          event: {
            type: 'ImportParametersIssued',
            data: {
              lid,
              spec,
              algorithm,
              material: toMaterialData({ backend, sealedHandle, publicKey }),
              token_hash: facts.hashImportToken(token.expose()),
              expires_at: expiresAtMs,
            },
          },
          resources: [{ lid, version: 1 }],
          secrets: [secret, token],
          compensation: toUndoing(backend, { lid, version: 1, spec: WRAPPING_SPEC, sealedHandle }),
          toReply: () => ({
            import_token: token.expose(),
            wrapping_public_key: publicKey,
            wrapping_algorithm: algorithm,
            key_spec: spec,
            backend_id: backend,
            valid_to: toTimestamp(expiresAtMs),
            ...toWrappingWarnings(algorithm),
          }),
        }
      }),
    )
  },
}

/** A wrapping key as an instruction names it. */
export const toWrappingKey = (record: ImportRecord): MaterialRef => ({
  lid: record.lid,
  version: 1,
  spec: WRAPPING_SPEC,
  sealedHandle: record.sealedHandle,
  publicKey: record.publicKey,
})

const toTokenLid = (token: Uint8Array) => toLid(token.subarray(0, LID_BYTES))

/** The open import of a token; one text for every reason why there is none. */
const findImport = (input: Request<'ImportKey'>, view: View, facts: Facts): Result<ImportRecord> => {
  const record = view.imports.byLid.get(toTokenLid(input.import_token))
  const isGood =
    record !== undefined &&
    isSameDigest(facts.hashImportToken(input.import_token), record.tokenHash) &&
    record.principal.id === facts.principal?.id &&
    record.principal.type === facts.principal.type &&
    record.state === 'open' &&
    record.spec === input.key_spec &&
    facts.nowMs < record.expiresAtMs
  return isGood ? ok(record) : fail('INVALID_REQUEST', IMPORT_TOKEN_REFUSED)
}

export const importKey: Operation<'ImportKey'> = {
  replay: ({ lid }, view, facts) => toCreated(view, lid, facts),
  turn: (input) => `import/${toTokenLid(input.import_token)}`,
  targets: (input, facts, view) => toNewKeyTargets(input, { facts, view }, 'kms:ImportKey'),

  plan(input, resolved) {
    const { view, facts } = resolved
    const found = findImport(input, view, facts)
    if (!found.ok) return found
    const { backend, algorithm } = found.value
    // The key can be nowhere but where its wrapping key is.
    const prepared = prepareNewKey({ ...input, backend_id: backend }, resolved)
    if (!prepared.ok) return prepared
    const { lid, exportable, guards, toData } = prepared.value
    const made = { lid, version: 1, spec: input.key_spec } as const
    const instruction: Instruction & { kind: 'importKey' } = {
      kind: 'importKey',
      backend,
      ...made,
      epoch: view.at.epoch,
      exportable,
      wrappingKey: toWrappingKey(found.value),
      algorithm,
      wrapped: input.wrapped_key_material,
      ...(input.public_key === undefined ? {} : { publicKey: input.public_key }),
    }
    const open: Guard = { kind: 'import', lid: found.value.lid }
    return ok(
      planInstruction(instruction, [...guards, open], (output) => ({
        event: { type: 'KeyImported', data: { ...toData({ backend, ...output }), import: found.value.lid } },
        resources: [{ lid, version: 1 }],
        toReply: (folded) => toCreated(folded, lid, facts),
        compensation: toUndoing(backend, { ...made, sealedHandle: output.sealedHandle, imported: true }),
      })),
    )
  },
}
