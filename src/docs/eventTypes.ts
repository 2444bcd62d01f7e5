import { EVENTS } from '../../schemas/events.ts'

/**
 * Every type of event as JSON, by name: `state` if a commit that holds it stands on `kms.ledger.state`, else `usage`. For
 * verifiers in other languages (docs/LEDGER.md).
 */
export const toEventTypesText = (): string => {
  const kinds = Object.entries(EVENTS).map(([name, { state }]) => [name, state ? 'state' : 'usage'] as const)
  return `${JSON.stringify(Object.fromEntries(kinds.sort(([a], [b]) => (a < b ? -1 : 1))), undefined, 2)}\n`
}
