import { LIMITS } from '../../schemas/limits.ts'
import type { RoutingEntry } from '../../schemas/routing.ts'
import type { Attributes } from './canonical.ts'
import { must } from './result.ts'
import { sortRules } from './routingRank.ts'
import { matchRule, type Rule, type RuleSet, readRules } from './routingRules.ts'
import { fillTemplate, type Template } from './routingTemplate.ts'

/** A registered set of rules. */
export interface Namespace {
  readonly name: string
  readonly revision: number
  readonly rules: readonly RoutingEntry[]
}

/** The rule that decided: the namespace it stands in, and its place in the list there, from 0. */
export interface Decided {
  readonly namespace: string
  readonly revision: number
  readonly index: number
}

/** What the rules say of a new key: where it belongs, that it may not be, or nothing at all. */
export type Verdict =
  | { readonly kind: 'placed'; readonly by: Decided; readonly parent?: string; readonly backend?: string }
  | { readonly kind: 'denied'; readonly by: Decided; readonly reason: string }
  | { readonly kind: 'unmatched' }

export interface Route {
  readonly verdict: Verdict
  /** Every namespace that was asked: the verdict hangs on all of them. */
  readonly asked: readonly Namespace[]
}

/**
 * Places a key by its attributes (in NFC): the most specific matching rule of `first` decides; where none matches, the
 * attached namespace is asked, and so on. `find` gives a namespace that `first` leads to, and such a one exists.
 */
export const routeKey = (
  first: Namespace,
  attributes: Attributes,
  find: (name: string) => Namespace | undefined,
): Route => {
  const asked: Namespace[] = []
  for (let next: Namespace | undefined = first; next !== undefined; ) {
    must(asked.length < LIMITS.attachmentDepthMax, `namespace ${first.name} leads on too far`)
    asked.push(next)
    const { attachment, verdict } = askNamespace(next, attributes)
    if (verdict !== undefined) return { verdict, asked }
    if (attachment === undefined) break
    next = find(attachment)
    must(next !== undefined, `namespace ${attachment} is attached and does not exist`)
  }
  return { verdict: { kind: 'unmatched' }, asked }
}

interface Answer {
  readonly attachment?: string
  readonly verdict?: Verdict
}

const askNamespace = (namespace: Namespace, attributes: Attributes): Answer => {
  const { ruleSet, findings } = readRules(namespace.rules)
  must(findings.length === 0, `namespace ${namespace.name} has rules that can't be read`)
  const { attachment } = ruleSet
  const verdict = decide(namespace, ruleSet, attributes)
  return {
    ...(attachment === undefined ? {} : { attachment }),
    ...(verdict === undefined ? {} : { verdict }),
  }
}

const decide = ({ name, revision }: Namespace, { rules }: RuleSet, attributes: Attributes): Verdict | undefined => {
  for (const rule of sortRules(rules)) {
    const captured = matchRule(rule, attributes)
    if (captured === undefined) continue
    return apply(rule, { namespace: name, revision, index: rule.index }, (template) => fillTemplate(template, captured))
  }
  return undefined
}

/** What a rule's author meant for such a key can't be done; a less specific rule is no substitute for it. */
const UNFIT = 'what the rule captures of the attributes can be no part of a name'

const apply = (rule: Rule, by: Decided, fill: (template: Template) => string | undefined): Verdict => {
  if (rule.deny !== undefined) return { kind: 'denied', by, reason: rule.deny }
  const parent = rule.parent && fill(rule.parent)
  const backend = rule.backend && fill(rule.backend)
  const isUnfit = (template: Template | undefined, filled: string | undefined) =>
    template !== undefined && filled === undefined
  if (isUnfit(rule.parent, parent) || isUnfit(rule.backend, backend)) return { kind: 'denied', by, reason: UNFIT }
  return {
    kind: 'placed',
    by,
    ...(parent === undefined ? {} : { parent }),
    ...(backend === undefined ? {} : { backend }),
  }
}
