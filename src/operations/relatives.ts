import { type Descendant, findEffectiveState, listAncestors, walkTree } from '../../projections/hierarchy.ts'
import type { KeyRecord } from '../../projections/keys.ts'
import type { View } from '../../projections/view.ts'
import type { Body, Request } from '../../schemas/registry.ts'
import { fail, must, ok, type Result } from '../core/result.ts'
import { parseCursor, toKeyPlace } from './cursor.ts'
import { type Candidate, guardKey, type Operation, planRecord, type Resolved } from './operation.ts'
import { takeKey } from './use.ts'

type Relatives = 'GetKeyDependents' | 'GetKeyAncestors'

function* toCandidates(relatives: Iterable<Descendant>): Generator<Candidate> {
  for (const { record, depth } of relatives) yield { record, depth, place: toKeyPlace(record.ordinal) }
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
  list: (input: Request<N>, record: KeyRecord, view: View) => Result<Iterable<Descendant>>,
): Operation<N> => ({
  targets: (input) => ok([{ kind: 'key', action: `kms:${name}`, ref: input.key_id }]),
  candidates(input, [record], view) {
    must(record !== undefined, 'relatives of no key')
    const found = list(input, record, view)
    return found.ok ? ok(toCandidates(found.value)) : found
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

/** As a tree is read, so that no page costs what lies before it; a parent comes before its children. */
export const getKeyDependents = relatives('GetKeyDependents', 'DependentsListed', (input, record, view) => {
  const place = parseCursor(input.cursor)
  if (!place.ok) return place
  const from = input.cursor === undefined ? undefined : view.keys.byLid.get(view.keys.order.get(place.value) ?? '')
  const recursive = input.recursive === true
  const found =
    input.cursor !== undefined && from === undefined
      ? undefined
      : walkTree(view, record.lid, { recursive, ...(from === undefined ? {} : { from }) })
  return found === undefined ? fail('INVALID_REQUEST', 'cursor must be a next_cursor of this list') : ok(found)
})

/** The root comes first. */
export const getKeyAncestors = relatives('GetKeyAncestors', 'AncestorsListed', (input, record, view) => {
  const place = parseCursor(input.cursor)
  if (!place.ok) return place
  const nearestFirst = listAncestors(view.keys, record).map((ancestor, index) => ({
    record: ancestor,
    depth: index + 1,
  }))
  return ok(nearestFirst.reverse().filter((ancestor) => ancestor.record.ordinal >= place.value))
})
