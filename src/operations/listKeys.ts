import { findEffectiveState } from '../../projections/hierarchy.ts'
import type { View } from '../../projections/view.ts'
import type { Request } from '../../schemas/registry.ts'
import { fail, must, ok } from '../core/result.ts'
import { parseCursor, toKeyPlace } from './cursor.ts'
import { toKeyBody } from './keyBody.ts'
import type { Candidate, Operation, Target } from './operation.ts'
import { planRecord } from './operation.ts'
import { hasTags, normalizeTags, type Tags } from './tags.ts'

function* walkKeys(
  { tags, ...input }: Request<'ListKeys'> & { readonly tags: Tags },
  parent: string | undefined,
  view: View,
  from: number,
): Generator<Candidate> {
  for (let ordinal = from; ordinal < view.keys.order.size; ordinal += 1) {
    const record = view.keys.byLid.get(view.keys.order.get(ordinal) ?? '')
    must(record !== undefined, `the key of ordinal ${ordinal} is not in the view`)
    const isWanted =
      (input.spec === undefined || record.spec === input.spec) &&
      (parent === undefined || record.parent === parent) &&
      hasTags(record, tags) &&
      // `state` filters by what a caller would meet: the effective state.
      (input.state === undefined || findEffectiveState(view.keys, record).state === input.state)
    yield { record, place: toKeyPlace(ordinal), isFiltered: !isWanted }
  }
}

export const listKeys: Operation<'ListKeys'> = {
  targets(input, _facts) {
    const tagKeys = normalizeTags(input.tags ?? []).map(({ key }) => key)
    if (new Set(tagKeys).size < tagKeys.length) return fail('INVALID_REQUEST', 'tags must have different keys')
    const service: Target = { kind: 'service', action: 'kms:ListKeys' }
    return ok(
      input.parent === undefined
        ? [service]
        : [service, { kind: 'key', action: 'kms:GetKeyDependents', ref: input.parent }],
    )
  },
  candidates(input, [parent], view) {
    const from = parseCursor(input.cursor)
    const tags = normalizeTags(input.tags ?? [])
    return from.ok ? ok(walkKeys({ ...input, tags }, parent?.lid, view, from.value)) : from
  },
  plan(_input, { view, facts, page }) {
    must(page !== undefined, 'a list is planned with its page')
    return ok(
      planRecord([], () => ({
        event: { type: 'KeysListed', data: { items: page.items.length } },
        resources: [],
        toReply: () => ({
          items: page.items.flatMap(({ record }) => (record === undefined ? [] : [toKeyBody(view, record, facts)])),
          ...(page.nextCursor === undefined ? {} : { next_cursor: page.nextCursor }),
        }),
      })),
    )
  },
}
