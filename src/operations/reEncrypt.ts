import type { Request } from '../../schemas/registry.ts'
import { encodeContext, encodeHeader, parseHeader } from '../core/ciphertext.ts'
import type { Instruction } from '../core/instruction.ts'
import { ok, type Result } from '../core/result.ts'
import { guardBudget } from './budget.ts'
import { checkNamed, findReadable } from './decrypt.ts'
import { guardKey, type Operation, planInstruction } from './operation.ts'
import { findUsable, takeKey } from './use.ts'

interface Contexts {
  readonly source: Uint8Array
  readonly destination: Uint8Array
}

const encodeContexts = (input: Request<'ReEncrypt'>): Result<Contexts> => {
  const source = encodeContext(input.source_encryption_context)
  if (!source.ok) return source
  const destination = encodeContext(input.destination_encryption_context)
  return destination.ok ? ok({ source: source.value, destination: destination.value }) : destination
}

export const reEncrypt: Operation<'ReEncrypt'> = {
  missing: 'INVALID_CIPHERTEXT',
  targets(input) {
    const header = parseHeader(input.ciphertext_blob)
    if (!header.ok) return header
    const contexts = encodeContexts(input)
    if (!contexts.ok) return contexts
    const { source, destination } = contexts.value
    return ok([
      { kind: 'key', action: 'kms:ReEncryptFrom', ref: header.value.lid, contextBytes: source },
      { kind: 'key', action: 'kms:ReEncryptTo', ref: input.destination_key_id, contextBytes: destination },
    ])
  },
  plan(input, resolved) {
    const { view, facts } = resolved
    const from = takeKey(resolved, 0)
    const to = takeKey(resolved, 1)
    const header = parseHeader(input.ciphertext_blob)
    if (!header.ok) return header
    const named = checkNamed(view, input.key_id, from.lid)
    if (!named.ok) return named
    const contexts = encodeContexts(input)
    if (!contexts.ok) return contexts
    const source = findReadable(resolved, from, header.value)
    if (!source.ok) return source
    const destination = findUsable(view, resolved, to, { usage: 'ENCRYPT_DECRYPT', use: 'produce' })
    if (!destination.ok) return destination
    const material = destination.value.material
    const budget = guardBudget(view, facts, material)
    if (!budget.ok) return budget
    const instruction: Instruction & { kind: 'reEncrypt' } = {
      kind: 'reEncrypt',
      backend: destination.value.backend,
      sourceBackend: source.value.backend,
      source: source.value.material,
      sourceContext: contexts.value.source,
      blob: input.ciphertext_blob,
      destination: material,
      header: encodeHeader(material),
      context: contexts.value.destination,
    }
    const ends = {
      source: { lid: from.lid, version: header.value.version },
      destination: { lid: to.lid, version: material.version },
    }
    const sourceHash = facts.hashContext(contexts.value.source)
    const destinationHash = facts.hashContext(contexts.value.destination)
    return ok(
      planInstruction(
        instruction,
        [guardKey(view, from, 'consume'), guardKey(view, to, 'produce'), budget.value, ...named.value],
        ({ blob }) => ({
          event: {
            type: 'DataReEncrypted',
            data: {
              ...ends,
              ...(sourceHash === undefined ? {} : { source_context_hash: sourceHash }),
              ...(destinationHash === undefined ? {} : { destination_context_hash: destinationHash }),
            },
          },
          resources: [ends.source, ends.destination],
          toReply: () => ({
            ciphertext_blob: blob,
            source_key_id: ends.source.lid,
            source_key_version: ends.source.version,
            destination_key_id: ends.destination.lid,
            destination_key_version: ends.destination.version,
          }),
        }),
      ),
    )
  },
}
