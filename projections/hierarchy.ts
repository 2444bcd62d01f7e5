import { Map as ImmutableMap, List } from 'immutable'
import { KEY_STATES, type KeyStateName } from '../schemas/keys.ts'
import { LIMITS } from '../schemas/limits.ts'
import type { Lid } from '../src/core/instruction.ts'
import { must } from '../src/core/result.ts'
import type { KeyRecord, KeysState } from './keys.ts'
import type { Projection } from './projection.ts'

/** Children by parent, in order of creation. Ancestors are found by the parent links of the key records. */
export interface HierarchyState {
  readonly children: ImmutableMap<string, List<Lid>>
}

export const hierarchyProjection: Projection<HierarchyState> = {
  name: 'hierarchy',
  version: 2,
  initial: { children: ImmutableMap() },
  evolve(state, event) {
    if (event.type !== 'KeyCreated' && event.type !== 'KeyImported') return state
    if (event.data.parent === undefined) return state
    const lid = event.data.lid as Lid
    return { children: state.children.update(event.data.parent, List<Lid>(), (list) => list.push(lid)) }
  },
}

/** The ancestors of a key, the nearest first; at most `hierarchyDepthMax`. */
export const listAncestors = (keys: KeysState, record: KeyRecord): readonly KeyRecord[] => {
  const found: KeyRecord[] = []
  let parent = record.parent
  while (parent !== undefined) {
    const next: KeyRecord | undefined = keys.byLid.get(parent)
    must(next !== undefined, `key ${record.lid} has an ancestor that does not exist`)
    must(
      found.length < LIMITS.hierarchyDepthMax,
      `key ${record.lid} has more than ${LIMITS.hierarchyDepthMax} ancestors`,
    )
    found.push(next)
    parent = next.parent
  }
  return found
}

export interface EffectiveState {
  readonly state: KeyStateName
  /** The nearest ancestor that is stricter than everything below it; absent if the key itself decides. */
  readonly lockedBy?: Lid
}

const strictness = (state: KeyStateName): number => KEY_STATES.indexOf(state)

/** The strictest of the key's own state and all its ancestors'. */
export const findEffectiveState = (keys: KeysState, record: KeyRecord): EffectiveState => {
  let strictest: EffectiveState = { state: record.state }
  for (const ancestor of listAncestors(keys, record))
    if (strictness(ancestor.state) > strictness(strictest.state))
      strictest = { state: ancestor.state, lockedBy: ancestor.lid }
  return strictest
}

/** One key below another, with its distance. */
export interface Descendant {
  readonly record: KeyRecord
  readonly depth: number
}

/** The keys below `lid`, breadth first; only children unless `recursive`. Lazy: a caller may stop early. */
export function* walkDescendants(
  keys: KeysState,
  hierarchy: HierarchyState,
  lid: Lid,
  recursive: boolean,
): Generator<Descendant> {
  let level: Lid[] = [lid]
  for (let depth = 1; level.length > 0; depth += 1) {
    const next: Lid[] = []
    for (const parent of level)
      for (const child of hierarchy.children.get(parent) ?? []) {
        const record = keys.byLid.get(child)
        must(record !== undefined, `key ${parent} has a child that does not exist`)
        yield { record, depth }
        next.push(child)
      }
    level = recursive ? next : []
  }
}

/** A place in a walk: the next child to visit of the key above. */
interface Step {
  readonly siblings: List<Lid>
  readonly at: number
}

/**
 * The keys below `root` as a tree is read: each key before what is below it, siblings in order of creation. Begins at
 * `from`, which is one of them, at the cost of finding it on its way up and not of what comes before it: a list read
 * page by page costs as much as one read at once. Nothing if `from` is no such key.
 */
export const walkTree = (
  { keys, hierarchy }: { readonly keys: KeysState; readonly hierarchy: HierarchyState },
  root: Lid,
  { recursive, from }: { readonly recursive: boolean; readonly from?: KeyRecord },
): Generator<Descendant> | undefined => {
  const childrenOf = (lid: Lid): List<Lid> => hierarchy.children.get(lid) ?? List()
  const path = from === undefined ? [{ siblings: childrenOf(root), at: 0 }] : findPath(keys, childrenOf, { root, from })
  if (path === undefined || (!recursive && path.length > 1)) return undefined
  return walkPath(keys, path, recursive ? childrenOf : () => List())
}

/** Where `from` stands, level by level, the highest first; nothing if it is not below `root`. */
const findPath = (
  keys: KeysState,
  childrenOf: (lid: Lid) => List<Lid>,
  { root, from }: { readonly root: Lid; readonly from: KeyRecord },
): Step[] | undefined => {
  const above = listAncestors(keys, from)
  const depth = above.findIndex(({ lid }) => lid === root)
  if (depth < 0) return undefined
  return [from, ...above.slice(0, depth)]
    .map((record, height): Step => {
      const siblings = childrenOf(above[height]?.lid ?? root)
      // The keys on the way down to `from` come before it, so they were visited.
      return { siblings, at: findPlace(keys, siblings, record) + (height === 0 ? 0 : 1) }
    })
    .reverse()
}

/** Siblings stand in order of creation. */
const findPlace = (keys: KeysState, siblings: List<Lid>, { ordinal }: KeyRecord): number => {
  let [low, high] = [0, siblings.size - 1]
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((keys.byLid.get(siblings.get(middle) ?? '')?.ordinal ?? 0) < ordinal) low = middle + 1
    else high = middle
  }
  return low
}

function* walkPath(keys: KeysState, path: Step[], childrenOf: (lid: Lid) => List<Lid>): Generator<Descendant> {
  for (let step = path.pop(); step !== undefined; step = path.pop()) {
    const { siblings, at } = step
    const lid = siblings.get(at)
    if (lid === undefined) continue
    const record = keys.byLid.get(lid)
    must(record !== undefined, `key ${lid} is in the hierarchy and does not exist`)
    path.push({ siblings, at: at + 1 })
    yield { record, depth: path.length }
    path.push({ siblings: childrenOf(lid), at: 0 })
  }
}

const stricter = (a: KeyStateName, b: KeyStateName): KeyStateName => (strictness(a) >= strictness(b) ? a : b)

/**
 * How many descendants change their effective state when the key's own state becomes `next`. Where a descendant's stays
 * as it is, all below it stay too, so only what changes is walked.
 */
export const countAffected = (
  { keys, hierarchy }: { readonly keys: KeysState; readonly hierarchy: HierarchyState },
  record: KeyRecord,
  next: KeyStateName,
): number => {
  const above = listAncestors(keys, record).reduce<KeyStateName>((state, key) => stricter(state, key.state), 'enabled')
  let affected = 0
  let level = [{ lid: record.lid, before: stricter(above, record.state), after: stricter(above, next) }]
  while (level.length > 0) {
    const below: typeof level = []
    for (const { lid, before, after } of level) {
      if (before === after) continue
      for (const child of hierarchy.children.get(lid) ?? []) {
        const own = keys.byLid.get(child)?.state
        must(own !== undefined, `key ${lid} has a child that does not exist`)
        const changed = { lid: child, before: stricter(before, own), after: stricter(after, own) }
        if (changed.before !== changed.after) affected += 1
        below.push(changed)
      }
    }
    level = below
  }
  return affected
}

/** How many keys below `lid` are not destroyed. */
export const countLivingDescendants = (keys: KeysState, hierarchy: HierarchyState, lid: Lid): number => {
  let living = 0
  for (const { record } of walkDescendants(keys, hierarchy, lid, true)) if (record.state !== 'destroyed') living += 1
  return living
}

/** Whether a key below `lid` still has material: what stands in the way of deleting it without `cascade`. */
export const hasLivingDescendants = (keys: KeysState, hierarchy: HierarchyState, lid: Lid): boolean => {
  for (const { record } of walkDescendants(keys, hierarchy, lid, true)) if (record.state !== 'destroyed') return true
  return false
}
