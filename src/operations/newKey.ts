import type { Guard } from '../../projections/guards.ts'
import type { View } from '../../projections/view.ts'
import type { EventData } from '../../schemas/events.ts'
import type { Body, Request } from '../../schemas/registry.ts'
import type { Instruction, Lid } from '../core/instruction.ts'
import { deriveIdentity } from '../core/lid.ts'
import { SPECS } from '../core/lifecycle.ts'
import { fail, ok, type Result } from '../core/result.ts'
import type { Decided } from '../core/routing.ts'
import { toFoldedKeyBody } from './keyBody.ts'
import { type Facts, guardBackend, guardKey, type Resolved, type Target, toClaim } from './operation.ts'
import {
  checkParent,
  checkPlaceBackend,
  checkWanted,
  findPlace,
  type Placed,
  takePlace,
  targetParent,
  toBackend,
} from './placement.ts'
import { normalizeTags, parseTags } from './tags.ts'

/** What a request says of a key that is to be, however its material comes about. */
type NewKeyInput = Request<'CreateKey'>

/** The question about a key that is to be, and the one about its parent if it has one. */
export const toNewKeyTargets = (
  input: NewKeyInput,
  { facts, view }: Pick<Resolved, 'facts' | 'view'>,
  action: 'kms:CreateKey' | 'kms:ImportKey',
): Result<readonly Target[]> => {
  const wanted = checkWanted(input)
  if (!wanted.ok) return wanted
  const identity = deriveIdentity(input.attributes ?? {}, facts.uniqueId)
  if (!identity.ok) return identity
  // A key that gets no place is asked about too, so that a denial says nothing of the rules.
  const parents = targetParent(findPlace(input, identity.value.attributes, view), 'kms:CreateChildKey')
  const requested = {
    key_spec: input.key_spec,
    key_usage: SPECS[input.key_spec].usage,
    identity_tags: identity.value.attributes,
    user_tags: Object.fromEntries(normalizeTags(input.tags ?? []).map(({ key, value }) => [key, value])),
    has_parent: parents.length > 0,
    exportable: input.exportable ?? false,
    ...(input.namespace === undefined ? {} : { namespace: input.namespace }),
  }
  return ok([{ kind: 'service', action, requested }, ...parents])
}

/** A key that is to be, found in order. */
export interface NewKey {
  readonly lid: Lid
  readonly backend: string
  readonly exportable: boolean
  /** The rules that placed it, the parent and the backend still are as they were. */
  readonly guards: readonly Guard[]
  /** The data of its first event, once there is material. */
  toData(made: {
    readonly backend: string
    readonly sealedHandle: Uint8Array
    readonly publicKey?: Uint8Array
  }): EventData<'KeyCreated'>
}

/**
 * Checks what a new key is told: INVALID_REQUEST, NOT_FOUND, IMMUTABLE_TAG, PARENT_NOT_USABLE, UNSUPPORTED_BY_HSM. The parent, if
 * there is one, is the first key of the request.
 */
export const prepareNewKey = (input: NewKeyInput, { view, facts, keys: [parent] }: Resolved): Result<NewKey> => {
  const identity = deriveIdentity(input.attributes ?? {}, facts.uniqueId)
  if (!identity.ok) return identity
  const { lid, identityTags, attributes } = identity.value
  const tags = parseTags(input.tags ?? [], identityTags)
  if (!tags.ok) return tags
  const placed = takePlace(findPlace(input, attributes, view))
  if (!placed.ok) return placed
  const fitting = checkParent(view, parent)
  if (!fitting.ok) return fitting
  const possible = checkSpec(input, placed.value, facts)
  if (!possible.ok) return possible
  const backend = toBackend(placed.value, facts)
  const exportable = input.exportable ?? false
  return ok({
    lid,
    backend,
    exportable,
    guards: [
      ...placed.value.guards,
      ...(parent === undefined ? [] : [guardKey(view, parent, 'parent')]),
      ...guardBackend(view, backend),
    ],
    toData: (made) => ({
      lid,
      version: 1,
      spec: input.key_spec,
      usage: SPECS[input.key_spec].usage,
      description: input.description ?? '',
      user_tags: tags.value,
      identity_tags: identityTags,
      canonicalization_version: 1,
      ...(parent === undefined ? {} : { parent: parent.lid }),
      ...toRouting(input.namespace, placed.value.by),
      exportable,
      material: toMaterialData(made),
      ...toClaim(facts),
    }),
  })
}

/** Material as events hold it. */
export const toMaterialData = (made: Parameters<NewKey['toData']>[0]): EventData<'KeyCreated'>['material'] => ({
  backend: made.backend,
  sealed_handle: made.sealedHandle,
  ...(made.publicKey === undefined ? {} : { public_key: made.publicKey }),
})

/** The undoing of what the HSM made for a record that the ledger refused. */
export const toUndoing = (
  backend: string,
  key: (Instruction & { kind: 'destroyKey' })['key'],
): Instruction & { kind: 'destroyKey' } => ({ kind: 'destroyKey', backend, key })

/** The reply to whoever made a key. */
export const toCreated = (view: View, lid: Lid | undefined, facts: Facts): Body<'CreateKey'> => {
  const key = toFoldedKeyBody(view, lid, facts)
  const { warning } = SPECS[key.key_spec]
  return { key, ...(warning === undefined ? {} : { warnings: [warning] }) }
}

const toRouting = (namespace: string | undefined, by: Decided | undefined): Pick<EventData<'KeyCreated'>, 'routing'> =>
  namespace === undefined || by === undefined
    ? {}
    : { routing: { namespace, by: { namespace: by.namespace, version: by.revision, rule: by.index } } }

const checkSpec = (input: NewKeyInput, place: Placed, facts: Facts): Result<true> => {
  const { usage } = SPECS[input.key_spec]
  if (input.key_usage !== undefined && input.key_usage !== usage)
    return fail('INVALID_REQUEST', `key_usage: ${input.key_spec} is for ${usage}`)
  const reachable = checkPlaceBackend(place, facts)
  if (!reachable.ok) return reachable
  return facts.supports(toBackend(place, facts), input.key_spec)
    ? ok(true)
    : fail('UNSUPPORTED_BY_HSM', `the HSM backend has no mechanism for ${input.key_spec}`)
}
