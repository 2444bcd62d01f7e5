import type { Map as ImmutableMap } from 'immutable'
import { must } from '../src/core/result.ts'

/** How many versions each backend holds material of: all that are not destroyed. */
export type MaterialCounts = ImmutableMap<string, number>

/** What a key's record says of where its versions are. */
interface Held {
  readonly versions: readonly { readonly state: string; readonly backend: string }[]
}

const listHolders = (record: Held | undefined): readonly string[] =>
  record?.versions.flatMap(({ state, backend }) => (state === 'destroyed' ? [] : [backend])) ?? []

/** The counts once a key's record has changed from `before` to `after`. */
export const moveMaterial = (counts: MaterialCounts, before: Held | undefined, after: Held): MaterialCounts => {
  if (before?.versions === after.versions) return counts
  const added = listHolders(after).reduce((sum, backend) => sum.update(backend, 0, (count) => count + 1), counts)
  return listHolders(before).reduce((sum, backend) => {
    const count = sum.get(backend)
    must(count !== undefined && count > 0, `backend ${backend} holds fewer versions than the ledger names`)
    return count === 1 ? sum.delete(backend) : sum.set(backend, count - 1)
  }, added)
}
