import { LIMITS } from '../../schemas/limits.ts'
import type { RoutingEntry } from '../../schemas/routing.ts'
import { hasSameMatch, isMoreSpecific, mayBothMatch } from './routingRank.ts'
import { type Finding, type Rule, type RuleSet, readRules } from './routingRules.ts'

/** Where each namespace asks on where none of its own rules matches; every namespace there is has an entry. */
export type Attachments = ReadonlyMap<string, string | undefined>

/**
 * Everything that is wrong with the rules which `name` is to get, in a stable order; none if they may be registered.
 * Each rule of a list without findings is the one that decides about some key, and for each key at most one is.
 */
export const lintNamespace = (
  name: string,
  entries: readonly RoutingEntry[],
  namespaces: Attachments,
): readonly Finding[] => {
  const { ruleSet, findings } = readRules(entries)
  // Conflicts between rules that were not understood would be noise.
  return findings.length > 0
    ? findings
    : [...findConflicts(ruleSet), ...findAttachmentFaults(name, ruleSet, namespaces)]
}

/** Findings as one line: the first ones, and how many more there are. */
export const describeFindings = (findings: readonly Finding[]): string => {
  const shown = findings.slice(0, SHOWN_MAX).map(({ place, problem }) => `${place}: ${problem}`)
  const more = findings.length - shown.length
  return [...shown, ...(more > 0 ? [`and ${more} more`] : [])].join('; ')
}

const SHOWN_MAX = 4

const findConflicts = ({ rules }: RuleSet): readonly Finding[] =>
  rules.flatMap((later, at) => rules.slice(0, at).flatMap((earlier) => findConflict(earlier, later) ?? []))

const findConflict = (earlier: Rule, later: Rule): Finding | undefined => {
  const place = `rules.${later.index}`
  const other = `rules.${earlier.index}`
  if (hasSameMatch(earlier, later)) return { place, problem: `can't be reached: ${other} matches the same keys` }
  return !isMoreSpecific(earlier, later) && !isMoreSpecific(later, earlier) && mayBothMatch(earlier, later)
    ? { place, problem: `one key can match this and ${other}, and neither is the more specific` }
    : undefined
}

const findAttachmentFaults = (name: string, ruleSet: RuleSet, namespaces: Attachments): readonly Finding[] => {
  const { rules, attachment } = ruleSet
  if (attachment === undefined) return []
  const place = `rules.${rules.length}._attachment_`
  const faults: Finding[] = []
  const general = rules.find(({ match }) => match.size === 0)
  if (general !== undefined)
    faults.push({ place, problem: `can't be reached: rules.${general.index} matches every key` })
  const problem = checkChain(name, attachment, namespaces)
  return problem === undefined ? faults : [...faults, { place, problem }]
}

/** The namespaces asked one after the other, from `first` on; ends where one is met again. */
const walkChain = (first: string, namespaces: Attachments): readonly string[] => {
  const chain = new Set<string>()
  for (let next: string | undefined = first; next !== undefined && !chain.has(next); next = namespaces.get(next))
    chain.add(next)
  return [...chain]
}

const checkChain = (name: string, attachment: string, namespaces: Attachments): string | undefined => {
  const above = walkChain(attachment, namespaces)
  if (above.includes(name)) return 'is a cycle: it leads back to this namespace'
  if (!namespaces.has(attachment)) return 'there is no such namespace'
  // What asks on here gets longer too. Without its own old attachment, `name` is the end of every such chain.
  const without = new Map([...namespaces, [name, undefined]])
  const below = [...namespaces.keys()]
    .map((other) => walkChain(other, without))
    .filter((chain) => chain.at(-1) === name)
    .reduce((longest, chain) => Math.max(longest, chain.length), 1)
  return below + above.length > LIMITS.attachmentDepthMax
    ? `makes a chain of ${below + above.length} namespaces; ${LIMITS.attachmentDepthMax} is the most`
    : undefined
}
