import Type, { type Static } from 'typebox'
import { LIMITS } from './limits.ts'
import { Fields, Text } from './primitives.ts'

/** The name of a set of routing rules. */
export const NamespaceName = Type.String({
  pattern: '^[A-Za-z0-9_-]{1,64}$',
  description: '1 to 64 letters, digits, _ or -',
})

const isConstraint = (value: unknown): boolean =>
  typeof value === 'string' || typeof value === 'boolean' || Number.isSafeInteger(value)

/** By attribute: a pattern for its text, or the number or truth value it is. Patterns are checked where they are read. */
const Match = Type.Refine(
  Type.Unsafe<Readonly<Record<string, string | number | boolean>>>({
    type: 'object',
    maxProperties: LIMITS.routingConstraintsMax,
    description: `Pattern, integer or boolean by attribute; * is one or more characters, \${name} captures them`,
  }),
  (value: unknown) =>
    typeof value === 'object' && value !== null && !Array.isArray(value) && Object.values(value).every(isConstraint),
  () => 'must map attribute names to patterns, integers or booleans',
)

/** One entry of a namespace: a rule, or, as the last, where to ask on. Its form is checked in `src/core/routingRules.ts`. */
export const RoutingEntry = Fields({
  match: Type.Optional(Match),
  parent: Type.Optional(Text(1, LIMITS.routingTemplateBytesMax, `LID or alias of the parent; may use \${name}`)),
  backend_id: Type.Optional(Text(1, LIMITS.routingTemplateBytesMax, `Name of an HSM backend; may use \${name}`)),
  deny: Type.Optional(Text(1, LIMITS.routingDenyBytesMax, 'Refuses the key, and says why')),
  _attachment_: Type.Optional(NamespaceName),
})
export type RoutingEntry = Static<typeof RoutingEntry>

export const RoutingEntries = Type.Array(RoutingEntry, {
  maxItems: LIMITS.routingEntriesMax,
  description: 'Rules; the last entry may be {"_attachment_": "<namespace>"}, which is asked where no rule matches',
})

/** ALLOW: the key would get its place. DENY: a rule or the place refuses it. NO_MATCH: no rule is for it. */
export const ROUTING_OUTCOMES = ['ALLOW', 'DENY', 'NO_MATCH'] as const
