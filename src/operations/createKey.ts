import { findEffectiveState, listAncestors } from '../../projections/hierarchy.ts'
import type { KeyRecord } from '../../projections/keys.ts'
import type { View } from '../../projections/view.ts'
import { LIMITS } from '../../schemas/limits.ts'
import type { Request } from '../../schemas/registry.ts'
import type { Instruction } from '../core/instruction.ts'
import { deriveIdentity, type Identity } from '../core/lid.ts'
import { SPECS, STATE_ALLOWS } from '../core/lifecycle.ts'
import { fail, ok, type Result } from '../core/result.ts'
import { toFoldedKeyBody } from './keyBody.ts'
import { type Facts, guardKey, type Operation, planInstruction, toClaim } from './operation.ts'
import { normalizeTags, parseTags } from './tags.ts'

type Input = Request<'CreateKey'>

const checkParent = (view: View, parent: KeyRecord | undefined): Result<true> => {
  if (parent === undefined) return ok(true)
  const { state } = findEffectiveState(view.keys, parent)
  if (!STATE_ALLOWS[state].parent) return fail('PARENT_NOT_USABLE', `the parent key is ${state}`)
  return listAncestors(view.keys, parent).length + 1 <= LIMITS.hierarchyDepthMax
    ? ok(true)
    : fail('INVALID_REQUEST', `parent_key_id: a hierarchy may be ${LIMITS.hierarchyDepthMax} deep at most`)
}

const checkPlace = (input: Input, backend: string, facts: Facts): Result<true> => {
  const { usage } = SPECS[input.key_spec]
  if (input.key_usage !== undefined && input.key_usage !== usage)
    return fail('INVALID_REQUEST', `key_usage: ${input.key_spec} is for ${usage}`)
  if (!facts.hasBackend(backend)) return fail('INVALID_REQUEST', 'backend_id: there is no such backend')
  return facts.supports(backend, input.key_spec)
    ? ok(true)
    : fail('UNSUPPORTED_BY_HSM', `the HSM backend has no mechanism for ${input.key_spec}`)
}

export const createKey: Operation<'CreateKey'> = {
  replay: ({ lid }, view, facts) => toCreated(view, lid, facts),

  targets(input, facts) {
    const identity = deriveIdentity(input.attributes ?? {}, facts.uniqueId)
    if (!identity.ok) return identity
    const requested = {
      key_spec: input.key_spec,
      key_usage: SPECS[input.key_spec].usage,
      identity_tags: identity.value.attributes,
      user_tags: Object.fromEntries(normalizeTags(input.tags ?? []).map(({ key, value }) => [key, value])),
      has_parent: input.parent_key_id !== undefined,
    }
    const child = { kind: 'service', action: 'kms:CreateKey', requested } as const
    return input.parent_key_id === undefined
      ? ok([child])
      : ok([child, { kind: 'key', action: 'kms:CreateChildKey', ref: input.parent_key_id }])
  },

  plan(input, { view, facts, keys: [parent] }) {
    const identity = deriveIdentity(input.attributes ?? {}, facts.uniqueId)
    if (!identity.ok) return identity
    const { lid, identityTags } = identity.value
    const tags = parseTags(input.tags ?? [], identityTags)
    if (!tags.ok) return tags
    const placed = checkParent(view, parent)
    if (!placed.ok) return placed
    const backend = input.backend_id ?? facts.defaultBackend
    const place = checkPlace(input, backend, facts)
    if (!place.ok) return place
    const spec = input.key_spec
    const made = { backend, lid, version: 1, spec } as const
    const instruction: Instruction & { kind: 'generateKey' } = {
      kind: 'generateKey',
      ...made,
      epoch: view.at.epoch,
      exportable: false,
    }
    const guards = parent === undefined ? [] : [guardKey(view, parent, 'parent')]
    return ok(
      planInstruction(instruction, guards, ({ sealedHandle, publicKey }) => ({
        event: {
          type: 'KeyCreated',
          data: {
            lid,
            version: 1,
            spec,
            usage: SPECS[spec].usage,
            description: input.description ?? '',
            user_tags: tags.value,
            identity_tags: identityTags,
            canonicalization_version: 1,
            ...(parent === undefined ? {} : { parent: parent.lid }),
            exportable: false,
            material: {
              backend,
              sealed_handle: sealedHandle,
              ...(publicKey === undefined ? {} : { public_key: publicKey }),
            },
            ...toClaim(facts),
          },
        },
        resources: [{ lid, version: 1 }],
        toReply: (folded) => toCreated(folded, lid, facts),
        compensation: { kind: 'destroyKey', backend, key: { lid, version: 1, spec, sealedHandle } },
      })),
    )
  },
}

const toCreated = (view: View, lid: Identity['lid'] | undefined, facts: Facts) => {
  const key = toFoldedKeyBody(view, lid, facts)
  const { warning } = SPECS[key.key_spec]
  return { key, ...(warning === undefined ? {} : { warnings: [warning] }) }
}
