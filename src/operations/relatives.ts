import { type Descendant, findEffectiveState, listAncestors, walkDescendants } from '../../projections/hierarchy.ts'
import type { KeyRecord } from '../../projections/keys.ts'
import type { View } from '../../projections/view.ts'
import type { Body } from '../../schemas/registry.ts'
import { must, ok, type Result } from '../core/result.ts'
import { parseCursor, toKeyPlace } from './cursor.ts'
import { type Candidate, guardKey, type Operation, planRecord, type Resolved } from './operation.ts'
import { takeKey } from './use.ts'

type Relatives = 'GetKeyDependents' | 'GetKeyAncestors'

/** The relatives from the cursor on, in order of creation, which later changes do not disturb. */
const fromCursor = (relatives: readonly Descendant[], cursor: string | undefined): Result<Iterable<Candidate>> => {
  const from = parseCursor(cursor)
  if (!from.ok) return from
  return ok(
    relatives
      .filter(({ record }) => record.ordinal >= from.value)
      .sort((a, b) => a.record.ordinal - b.record.ordinal)
      .map(({ record, depth }) => ({ record, depth, place: toKeyPlace(record.ordinal) })),
  )
}

const toItems = ({ view, page }: Resolved): Body<Relatives> => {
  must(page !== undefined, 'a list is planned with its page')
  return {
    items: page.items.map(({ record, depth }) => {
      must(record !== undefined && depth !== undefined, 'a relative is a key at a distance')
      return {
        id: record.lid,
        depth,
        ...(record.parent === undefined ? {} : { parent_id: record.parent }),
        state: findEffectiveState(view.keys, record).state,
      }
    }),
    ...(page.nextCursor === undefined ? {} : { next_cursor: page.nextCursor }),
  }
}

const relatives = <N extends Relatives>(
  name: N,
  type: 'DependentsListed' | 'AncestorsListed',
  list: (record: KeyRecord, view: View, recursive: boolean) => readonly Descendant[],
): Operation<Relatives> => ({
  targets: (input) => ok([{ kind: 'key', action: `kms:${name}`, ref: input.key_id }]),
  candidates(input, [record], view) {
    must(record !== undefined, 'relatives of no key')
    return fromCursor(list(record, view, 'recursive' in input && input.recursive === true), input.cursor)
  },
  plan(_input, resolved) {
    const record = takeKey(resolved)
    const body = toItems(resolved)
    return ok(
      planRecord([guardKey(resolved.view, record)], () => ({
        event: { type, data: { lid: record.lid, items: body.items.length } },
        resources: [{ lid: record.lid }],
        toReply: () => body,
      })),
    )
  },
})

/** A parent always comes before its children. */
export const getKeyDependents = relatives('GetKeyDependents', 'DependentsListed', (record, view, recursive) => [
  ...walkDescendants(view.keys, view.hierarchy, record.lid, recursive),
])

/** The root comes first. */
export const getKeyAncestors = relatives('GetKeyAncestors', 'AncestorsListed', (record, view) =>
  listAncestors(view.keys, record).map((ancestor, index) => ({ record: ancestor, depth: index + 1 })),
)
