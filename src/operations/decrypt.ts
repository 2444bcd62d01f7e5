import { isAlias, resolveRef } from '../../projections/aliases.ts'
import type { Guard } from '../../projections/guards.ts'
import type { KeyRecord } from '../../projections/keys.ts'
import type { View } from '../../projections/view.ts'
import { CIPHERTEXT_REFUSED, type CiphertextHeader, encodeContext, parseHeader } from '../core/ciphertext.ts'
import type { Instruction, Lid } from '../core/instruction.ts'
import { SPECS } from '../core/lifecycle.ts'
import { fail, ok, type Result } from '../core/result.ts'
import { guardKey, type Operation, planInstruction, type Resolved } from './operation.ts'
import { findUsable, takeKey, type Usable } from './use.ts'

/** A key id that the caller wrote beside the blob must stand for the key of the header; the guard is that it still does. */
export const checkNamed = (view: View, ref: string | undefined, lid: Lid): Result<readonly Guard[]> => {
  if (ref === undefined) return ok([])
  if (resolveRef(view.aliases, ref) !== lid) return fail('INVALID_CIPHERTEXT', CIPHERTEXT_REFUSED)
  return ok(isAlias(ref) ? [{ kind: 'alias', name: ref, lid }] : [])
}

/**
 * The version that a blob names, for reading. A version that never was, or an algorithm that is not the key's, is
 * INVALID_CIPHERTEXT like a wrong tag; the state of the key and of the version are said openly, to who may decrypt,
 * before any decryption is tried.
 */
export const findReadable = (
  resolved: Resolved,
  record: KeyRecord,
  { cipher, version }: CiphertextHeader,
): Result<Usable> => {
  if (SPECS[record.spec].cipher !== cipher) return fail('INVALID_CIPHERTEXT', CIPHERTEXT_REFUSED)
  const usable = findUsable(resolved.view, resolved, record, { usage: 'ENCRYPT_DECRYPT', use: 'consume', version })
  if (!usable.ok && (usable.error.code === 'NOT_FOUND' || usable.error.code === 'INVALID_REQUEST'))
    return fail('INVALID_CIPHERTEXT', CIPHERTEXT_REFUSED)
  return usable.ok && version < record.minDecryptionVersion
    ? fail('KEY_NOT_USABLE', `version ${version} is below the minimum for decryption, ${record.minDecryptionVersion}`)
    : usable
}

export const decrypt: Operation<'Decrypt'> = {
  missing: 'INVALID_CIPHERTEXT',
  targets(input) {
    const header = parseHeader(input.ciphertext_blob)
    if (!header.ok) return header
    const context = encodeContext(input.encryption_context)
    if (!context.ok) return context
    return ok([{ kind: 'key', action: 'kms:Decrypt', ref: header.value.lid, contextBytes: context.value }])
  },
  plan(input, resolved) {
    const { view, facts } = resolved
    const record = takeKey(resolved)
    const header = parseHeader(input.ciphertext_blob)
    if (!header.ok) return header
    const named = checkNamed(view, input.key_id, record.lid)
    if (!named.ok) return named
    const context = encodeContext(input.encryption_context)
    if (!context.ok) return context
    const usable = findReadable(resolved, record, header.value)
    if (!usable.ok) return usable
    const { backend, material } = usable.value
    const instruction: Instruction & { kind: 'decrypt' } = {
      kind: 'decrypt',
      backend,
      key: material,
      context: context.value,
      blob: input.ciphertext_blob,
    }
    const { lid, version } = material
    const contextHash = facts.hashContext(context.value)
    return ok(
      planInstruction(instruction, [guardKey(view, record, 'consume'), ...named.value], ({ plaintext }) => ({
        event: { type: 'DataDecrypted', data: { lid, version } },
        resources: [{ lid, version }],
        ...(contextHash === undefined ? {} : { contextHash }),
        toReply: () => ({ plaintext: plaintext.expose(), key_id: lid, key_version: version }),
        secrets: [plaintext],
      })),
    )
  },
}
