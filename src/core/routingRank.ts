import { countLiterals, isSameShape, mayOverlap } from './routingPattern.ts'
import { type Constraint, isExactConstraint, type Rule } from './routingRules.ts'

const countExact = ({ match }: Rule): number => [...match.values()].filter(isExactConstraint).length

const countText = ({ match }: Rule): number =>
  [...match.values()].reduce((count, one) => count + ('value' in one ? 0 : countLiterals(one.pattern)), 0)

const hasSameAttributes = (a: Rule, b: Rule): boolean =>
  a.match.size === b.match.size && [...a.match.keys()].every((name) => b.match.has(name))

/**
 * Whether `a` is the more specific: it constrains more attributes; or as many, and more of them to one value; or as many of
 * both, the same attributes, and more characters of them. What matches fewer keys than another rule is always more
 * specific than it.
 */
export const isMoreSpecific = (a: Rule, b: Rule): boolean => {
  if (a.match.size !== b.match.size) return a.match.size > b.match.size
  if (countExact(a) !== countExact(b)) return countExact(a) > countExact(b)
  return hasSameAttributes(a, b) && countText(a) > countText(b)
}

/** An order in which the more specific of two rules always comes first. */
export const sortRules = (rules: readonly Rule[]): readonly Rule[] =>
  rules
    .map((rule) => ({ rule, size: rule.match.size, exact: countExact(rule), text: countText(rule) }))
    .sort((a, b) => b.size - a.size || b.exact - a.exact || b.text - a.text || a.rule.index - b.rule.index)
    .map(({ rule }) => rule)

const isSameConstraint = (a: Constraint, b: Constraint | undefined): boolean => {
  if (b === undefined) return false
  if ('value' in a || 'value' in b) return 'value' in a && 'value' in b && a.value === b.value
  return isSameShape(a.pattern, b.pattern)
}

/** Whether both rules match the same keys. */
export const hasSameMatch = (a: Rule, b: Rule): boolean =>
  a.match.size === b.match.size && [...a.match].every(([name, one]) => isSameConstraint(one, b.match.get(name)))

const meet = (a: Constraint, b: Constraint): boolean => {
  if ('value' in a || 'value' in b) return 'value' in a && 'value' in b && a.value === b.value
  return mayOverlap(a.pattern, b.pattern)
}

/** Whether there is a key that both rules match. */
export const mayBothMatch = (a: Rule, b: Rule): boolean =>
  [...a.match].every(([name, one]) => {
    const other = b.match.get(name)
    return other === undefined || meet(one, other)
  })
