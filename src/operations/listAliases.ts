import { NO_NAMES, walkNames } from '../../projections/names.ts'
import type { View } from '../../projections/view.ts'
import { must, ok } from '../core/result.ts'
import { parseNameCursor, toNamePlace, toPlaceName } from './cursor.ts'
import { toTimestamp } from './keyBody.ts'
import { type Candidate, type Operation, planRecord } from './operation.ts'

/** About what one item takes in a JSON reply, from above. */
const ITEM_BYTES = 512

const findAlias = (view: View, name: string) => {
  const alias = view.aliases.byName.get(name)
  must(alias !== undefined, `alias ${name} is among the names but not in the view`)
  return alias
}

function* walkAliases(view: View, lid: string | undefined, from: string): Generator<Candidate> {
  const names = lid === undefined ? view.aliases.names : (view.aliases.byKey.get(lid) ?? NO_NAMES)
  for (const name of walkNames(names, from)) {
    const record = view.keys.byLid.get(findAlias(view, name).lid)
    must(record !== undefined, `alias ${name} stands for a key that does not exist`)
    yield { record, place: toNamePlace(name), bytes: ITEM_BYTES }
  }
}

/** Whether a name is shown hangs on its key: who may not describe that learns nothing of the name. */
export const listAliases: Operation<'ListAliases'> = {
  targets: ({ key_id }) =>
    ok([
      { kind: 'service', action: 'kms:ListAliases' },
      ...(key_id === undefined ? [] : [{ kind: 'key', action: 'kms:DescribeKey', ref: key_id } as const]),
    ]),
  candidates(input, [record], view) {
    const from = parseNameCursor(input.cursor)
    return from.ok ? ok(walkAliases(view, record?.lid, from.value)) : from
  },
  plan(_input, { view, keys: [record], page }) {
    must(page !== undefined, 'a list is planned with its page')
    const about = record === undefined ? {} : { lid: record.lid }
    return ok(
      planRecord([], () => ({
        event: { type: 'AliasesListed', data: { ...about, items: page.items.length } },
        resources: record === undefined ? [] : [{ lid: record.lid }],
        toReply: () => ({
          items: page.items.map(({ place }) => {
            const { name, lid, createdAtMs, updatedAtMs } = findAlias(view, toPlaceName(place))
            return {
              alias_name: name,
              target_key_id: lid,
              created_at: toTimestamp(createdAtMs),
              updated_at: toTimestamp(updatedAtMs),
            }
          }),
          ...(page.nextCursor === undefined ? {} : { next_cursor: page.nextCursor }),
        }),
      })),
    )
  },
}
