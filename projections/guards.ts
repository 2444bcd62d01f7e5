import type { KeyStateName, RotationJobStateName } from '../schemas/keys.ts'
import type { Lid } from '../src/core/instruction.ts'
import { STATE_ALLOWS, type UseKind } from '../src/core/lifecycle.ts'
import type { Failure } from '../src/core/result.ts'
import { countAliases } from './aliases.ts'
import { findEffectiveState, hasLivingDescendants } from './hierarchy.ts'
import { findSlot } from './idempotency.ts'
import { countEncrypted } from './usage.ts'
import type { View } from './view.ts'

/** Who asks, as events name them. */
interface Principal {
  readonly id: string
  readonly type: string
}

/**
 * What a plan relied on, checked again at the moment its record enters the ledger. A result is released only if its
 * guards held with every earlier event folded in, so a use never stands after the disable that forbids it.
 */
export type Guard =
  /** The key is as the plan and the PDP saw it; `use` is what the plan needs of its state. */
  | {
      readonly kind: 'key'
      readonly lid: Lid
      readonly revision: number
      readonly effective: KeyStateName
      readonly use?: UseKind | 'parent'
    }
  /** The name stands for this key; without one, nobody has the name. */
  | { readonly kind: 'alias'; readonly name: string; readonly lid?: Lid }
  /** The rotation job is in the state the plan saw. */
  | { readonly kind: 'job'; readonly id: string; readonly state: RotationJobStateName }
  /** The namespace has the rules that the plan was made by. */
  | { readonly kind: 'namespace'; readonly name: string; readonly revision: number }
  /** No rules at all have changed: rules are checked together with those of other namespaces. */
  | { readonly kind: 'registrations'; readonly registrations: number }
  /** The wrapping key still takes a key in. */
  | { readonly kind: 'import'; readonly lid: Lid }
  /** There may be one more wrapping key. */
  /** Room for one import more: among everybody's, and among those of whoever asks. */
  | { readonly kind: 'importRoom'; readonly importsMax: number; readonly ownMax: number; readonly owner: Principal }
  /** The key has no living descendants. */
  | { readonly kind: 'childless'; readonly lid: Lid }
  /** The version is on its way out, as it was when the HSM was asked; nothing but its end can change that. */
  | { readonly kind: 'doomed'; readonly lid: Lid; readonly version: number }
  /** The HSM connection is there. */
  | { readonly kind: 'connection'; readonly name: string }
  /** Nobody has had this id of an HSM connection, and there may be one more. */
  | { readonly kind: 'connectionRoom'; readonly name: string; readonly connectionsMax: number }
  /** No version of any key has material on this backend, and no import its wrapping key. */
  | { readonly kind: 'backendUnused'; readonly backend: string }
  /** The key may get one more name. */
  | { readonly kind: 'aliasRoom'; readonly lid: Lid; readonly aliasesMax: number }
  /** A version has budget left for one more message. */
  | { readonly kind: 'budget'; readonly lid: Lid; readonly version: number; readonly messagesMax: number }
  /** Nobody has taken the idempotency slot. */
  | { readonly kind: 'slot'; readonly slotHex: string; readonly nowMs: number }

/** The one text for every token that opens nothing, so that it tells nothing of those of others. */
export const IMPORT_TOKEN_REFUSED =
  'import_token: not one that is open for this caller and key_spec; each is good for one import, and for a time'

const checkKey = (view: View, guard: Guard & { kind: 'key' }): Failure | undefined => {
  const record = view.keys.byLid.get(guard.lid)
  if (record === undefined) return { code: 'KEY_NOT_FOUND', message: 'there is no such key' }
  const effective = findEffectiveState(view.keys, record).state
  if (guard.use !== undefined && !STATE_ALLOWS[effective][guard.use])
    return guard.use === 'parent'
      ? { code: 'PARENT_NOT_USABLE', message: `the parent key is ${effective}` }
      : { code: 'KEY_NOT_USABLE', message: `the key is ${effective}` }
  return record.revision === guard.revision && effective === guard.effective
    ? undefined
    : { code: 'REVISION_CONFLICT', message: 'the key changed while the request was under way' }
}

/** The failure of a plan that wants a name which is taken. */
export const ALIAS_EXISTS: Failure = { code: 'ALREADY_EXISTS', message: 'alias_name: the alias exists' }

const checkAlias = (view: View, guard: Guard & { kind: 'alias' }): Failure | undefined => {
  const lid = view.aliases.byName.get(guard.name)?.lid
  if (lid === guard.lid) return undefined
  return guard.lid === undefined
    ? ALIAS_EXISTS
    : { code: 'REVISION_CONFLICT', message: 'the alias was pointed elsewhere while the request was under way' }
}

const RULES_CHANGED: Failure = {
  code: 'REVISION_CONFLICT',
  message: 'the routing rules changed while the request was under way',
}

/** The failure of a plan for a backend id that is or was another's. */
export const ALREADY_USED: Failure = {
  code: 'ALREADY_EXISTS',
  message: 'connection_id: is, or was, the id of another backend',
}

const checkConnection = (view: View, { name }: Guard & { kind: 'connection' }): Failure | undefined =>
  view.hsmConnections.byName.has(name)
    ? undefined
    : { code: 'REVISION_CONFLICT', message: 'the HSM connection was deleted while the request was under way' }

const checkConnectionRoom = (view: View, guard: Guard & { kind: 'connectionRoom' }): Failure | undefined => {
  const { byName, deleted } = view.hsmConnections
  if (byName.has(guard.name) || deleted.has(guard.name)) return ALREADY_USED
  return byName.size < guard.connectionsMax
    ? undefined
    : { code: 'INVALID_REQUEST', message: `connection_id: there may be ${guard.connectionsMax} connections at most` }
}

const checkUnused = (view: View, { backend }: Guard & { kind: 'backendUnused' }): Failure | undefined => {
  const count = view.keys.material.get(backend)
  if (count !== undefined)
    return { code: 'KEY_HAS_DEPENDENTS', message: `connection_id: ${count} key versions have their material there` }
  return view.imports.byLid.some((one) => one.backend === backend)
    ? { code: 'KEY_HAS_DEPENDENTS', message: 'connection_id: the wrapping key of an import is there' }
    : undefined
}

const checkImport = (view: View, { lid }: Guard & { kind: 'import' }): Failure | undefined =>
  view.imports.byLid.get(lid)?.state === 'open' ? undefined : { code: 'INVALID_REQUEST', message: IMPORT_TOKEN_REFUSED }

const checkImportRoom = (
  view: View,
  { importsMax, ownMax, owner }: Guard & { kind: 'importRoom' },
): Failure | undefined => {
  const { byLid } = view.imports
  if (byLid.size >= importsMax) return toNoRoom(`${importsMax} imports are open`)
  const own = byLid.count(({ principal }) => principal.id === owner.id && principal.type === owner.type)
  return own < ownMax ? undefined : toNoRoom(`you have ${ownMax} imports open`)
}

const toNoRoom = (what: string): Failure => ({
  code: 'OVERLOADED',
  message: `${what}: use some, or wait until they expire`,
})

/** Why a guard does not hold in this view, or nothing. */
export const checkGuard = (view: View, guard: Guard): Failure | undefined => {
  switch (guard.kind) {
    case 'key':
      return checkKey(view, guard)
    case 'alias':
      return checkAlias(view, guard)
    case 'job':
      return view.rotationJobs.byId.get(guard.id)?.state === guard.state
        ? undefined
        : { code: 'REVISION_CONFLICT', message: 'the rotation job changed while the request was under way' }
    case 'namespace':
      return view.namespaces.byName.get(guard.name)?.revision === guard.revision ? undefined : RULES_CHANGED
    case 'registrations':
      return view.namespaces.registrations === guard.registrations ? undefined : RULES_CHANGED
    case 'childless':
      return hasLivingDescendants(view.keys, view.hierarchy, guard.lid)
        ? { code: 'KEY_HAS_DEPENDENTS', message: 'a key was made under this one while the request was under way' }
        : undefined
    case 'doomed':
      return view.keys.byLid.get(guard.lid)?.versions.find(({ version }) => version === guard.version)?.state ===
        'destroying'
        ? undefined
        : { code: 'REVISION_CONFLICT', message: 'the version was destroyed while the request was under way' }
    case 'connection':
      return checkConnection(view, guard)
    case 'connectionRoom':
      return checkConnectionRoom(view, guard)
    case 'backendUnused':
      return checkUnused(view, guard)
    case 'aliasRoom':
      return countAliases(view.aliases, guard.lid) < guard.aliasesMax
        ? undefined
        : { code: 'INVALID_REQUEST', message: `target_key_id: a key may have ${guard.aliasesMax} aliases at most` }
    case 'import':
      return checkImport(view, guard)
    case 'importRoom':
      return checkImportRoom(view, guard)
    case 'budget':
      return countEncrypted(view.usage, guard.lid, guard.version) < guard.messagesMax
        ? undefined
        : {
            code: 'KEY_EXHAUSTED',
            message: `version ${guard.version} has encrypted ${guard.messagesMax} messages`,
          }
    case 'slot':
      return findSlot(view.idempotency, guard.slotHex, guard.nowMs) === undefined
        ? undefined
        : { code: 'REVISION_CONFLICT', message: 'another request with this idempotency key was recorded first' }
    default:
      return guard satisfies never
  }
}

/** The first guard that does not hold. */
export const checkGuards = (view: View, guards: readonly Guard[]): Failure | undefined => {
  for (const guard of guards) {
    const failure = checkGuard(view, guard)
    if (failure !== undefined) return failure
  }
  return undefined
}
