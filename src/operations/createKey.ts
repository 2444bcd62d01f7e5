import type { View } from '../../projections/view.ts'
import type { EventData } from '../../schemas/events.ts'
import type { Request } from '../../schemas/registry.ts'
import type { Instruction } from '../core/instruction.ts'
import { deriveIdentity, type Identity } from '../core/lid.ts'
import { SPECS } from '../core/lifecycle.ts'
import { fail, ok, type Result } from '../core/result.ts'
import type { Decided } from '../core/routing.ts'
import { toFoldedKeyBody } from './keyBody.ts'
import { type Facts, guardBackend, guardKey, type Operation, planInstruction, toClaim } from './operation.ts'
import { checkParent, checkWanted, findPlace, takePlace, targetParent } from './placement.ts'
import { normalizeTags, parseTags } from './tags.ts'

type Input = Request<'CreateKey'>

const checkBackend = (input: Input, backend: string, facts: Facts): Result<true> => {
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

  targets(input, facts, view) {
    const wanted = checkWanted(input)
    if (!wanted.ok) return wanted
    const identity = deriveIdentity(input.attributes ?? {}, facts.uniqueId)
    if (!identity.ok) return identity
    const place = findPlace(input, identity.value.attributes, view)
    // A key that gets no place is asked about too, so that a denial says nothing of the rules.
    const parents = targetParent(place, 'kms:CreateChildKey')
    const requested = {
      key_spec: input.key_spec,
      key_usage: SPECS[input.key_spec].usage,
      identity_tags: identity.value.attributes,
      user_tags: Object.fromEntries(normalizeTags(input.tags ?? []).map(({ key, value }) => [key, value])),
      has_parent: parents.length > 0,
      ...(input.namespace === undefined ? {} : { namespace: input.namespace }),
    }
    return ok([{ kind: 'service', action: 'kms:CreateKey', requested }, ...parents])
  },

  plan(input, { view, facts, keys: [parent] }) {
    const identity = deriveIdentity(input.attributes ?? {}, facts.uniqueId)
    if (!identity.ok) return identity
    const { lid, identityTags, attributes } = identity.value
    const tags = parseTags(input.tags ?? [], identityTags)
    if (!tags.ok) return tags
    const placed = takePlace(findPlace(input, attributes, view))
    if (!placed.ok) return placed
    const fitting = checkParent(view, parent)
    if (!fitting.ok) return fitting
    const backend = placed.value.backend ?? facts.defaultBackend
    const possible = checkBackend(input, backend, facts)
    if (!possible.ok) return possible
    const spec = input.key_spec
    const made = { backend, lid, version: 1, spec } as const
    const instruction: Instruction & { kind: 'generateKey' } = {
      kind: 'generateKey',
      ...made,
      epoch: view.at.epoch,
      exportable: false,
    }
    const guards = [
      ...placed.value.guards,
      ...(parent === undefined ? [] : [guardKey(view, parent, 'parent')]),
      ...guardBackend(view, backend),
    ]
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
            ...toRouting(input.namespace, placed.value.by),
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

const toRouting = (namespace: string | undefined, by: Decided | undefined): Pick<EventData<'KeyCreated'>, 'routing'> =>
  namespace === undefined || by === undefined
    ? {}
    : { routing: { namespace, by: { namespace: by.namespace, version: by.revision, rule: by.index } } }

const toCreated = (view: View, lid: Identity['lid'] | undefined, facts: Facts) => {
  const key = toFoldedKeyBody(view, lid, facts)
  const { warning } = SPECS[key.key_spec]
  return { key, ...(warning === undefined ? {} : { warnings: [warning] }) }
}
