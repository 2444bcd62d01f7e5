import { walkNames } from '../../projections/names.ts'
import type { View } from '../../projections/view.ts'
import { must, ok } from '../core/result.ts'
import { parseNameCursor, toNamePlace, toPlaceName } from './cursor.ts'
import { toConnectionBody } from './hsmConnections.ts'
import { type Candidate, type Operation, planRecord } from './operation.ts'

/** About what one item takes in a JSON reply, from above: a path may be all control characters. */
const ITEM_BYTES = 16 * 1024

function* walkConnections(view: View, from: string): Generator<Candidate> {
  for (const name of walkNames(view.hsmConnections.names, from)) yield { place: toNamePlace(name), bytes: ITEM_BYTES }
}

/** The permit for the list is for all of it: connections are the operators' own. */
export const listHsmConnections: Operation<'ListHsmConnections'> = {
  targets: () => ok([{ kind: 'service', action: 'kms:ListHsmConnections' }]),
  candidates(input, _keys, view) {
    const from = parseNameCursor(input.cursor)
    return from.ok ? ok(walkConnections(view, from.value)) : from
  },
  plan(_input, { view, facts, page }) {
    must(page !== undefined, 'a list is planned with its page')
    return ok(
      planRecord([], () => ({
        event: { type: 'HsmConnectionsListed', data: { items: page.items.length } },
        resources: [],
        toReply: () => ({
          items: page.items.map(({ place }) => {
            const record = view.hsmConnections.byName.get(toPlaceName(place))
            must(record !== undefined, `HSM connection ${toPlaceName(place)} is among the names but not in the view`)
            return toConnectionBody(record, facts)
          }),
          ...(page.nextCursor === undefined ? {} : { next_cursor: page.nextCursor }),
        }),
      })),
    )
  },
}
