import { LIMITS } from '../../schemas/limits.ts'
import type { RoutingEntry } from '../../schemas/routing.ts'
import type { Attributes } from './canonical.ts'
import { isReservedName } from './lid.ts'
import { type Captured, isExact, matchPattern, type Pattern, parsePattern } from './routingPattern.ts'
import { parseTemplate, type Template } from './routingTemplate.ts'

/** What one attribute must be: text of a form, or one number or truth value. */
export type Constraint = { readonly pattern: Pattern } | { readonly value: number | boolean }

/** One rule, read. `index` is its place in the list as it was written. */
export interface Rule {
  readonly index: number
  readonly match: ReadonlyMap<string, Constraint>
  readonly parent?: Template
  readonly backend?: Template
  /** Why a key that matches is refused. */
  readonly deny?: string
}

/** A list of rules, read, and where to ask on if none of them matches. */
export interface RuleSet {
  readonly rules: readonly Rule[]
  readonly attachment?: string
}

/** What is wrong with a list of rules: the place in it, and the rule of the language that is broken there. */
export interface Finding {
  readonly place: string
  readonly problem: string
}

/** A rule set, with what is wrong in it; one with findings is not to be used. */
export interface ReadRules {
  readonly ruleSet: RuleSet
  readonly findings: readonly Finding[]
}

type Tell = (place: string, problem: string) => void

/** Reads the entries of a rule list. Findings quote variable names and plain attribute names, never values. */
export const readRules = (entries: readonly RoutingEntry[]): ReadRules => {
  const findings: Finding[] = []
  const tell: Tell = (place, problem) => findings.push({ place, problem })
  const rules: Rule[] = []
  let attachment: string | undefined
  for (const [index, entry] of entries.entries()) {
    if (entry._attachment_ === undefined) {
      rules.push(readRule(entry, index, tell))
      continue
    }
    if (Object.keys(entry).length > 1) tell(`rules.${index}`, 'an _attachment_ has nothing beside it')
    if (index !== entries.length - 1) tell(`rules.${index}`, 'an _attachment_ is the last entry')
    attachment = entry._attachment_
  }
  if (Buffer.byteLength(JSON.stringify(entries)) > LIMITS.routingRulesBytesMax)
    tell('rules', `may be ${LIMITS.routingRulesBytesMax} bytes of JSON at most`)
  return { ruleSet: { rules, ...(attachment === undefined ? {} : { attachment }) }, findings }
}

const readRule = (entry: RoutingEntry, index: number, tell: Tell): Rule => {
  const place = `rules.${index}`
  if (entry.match === undefined) tell(place, 'a rule has a match; {} takes every key')
  const { match, variables } = readMatch(entry.match ?? {}, place, tell)
  const { deny } = entry
  if (deny !== undefined && (entry.parent ?? entry.backend_id) !== undefined)
    tell(place, 'a rule that denies has neither parent nor backend_id')
  if (deny === undefined && entry.parent === undefined && entry.backend_id === undefined)
    tell(place, 'a rule has a parent, a backend_id or a deny')
  const read = (field: 'parent' | 'backend_id'): Template | undefined => {
    const text = entry[field]
    if (text === undefined) return undefined
    const template = parseTemplate(field, text)
    if (!template.ok) tell(`${place}.${field}`, template.error)
    else
      for (const name of template.value.variables)
        if (!variables.has(name)) tell(`${place}.${field}`, `uses \${${name}}, which the match does not capture`)
    return template.ok ? template.value : undefined
  }
  const parent = read('parent')
  const backend = read('backend_id')
  return {
    index,
    match,
    ...(parent === undefined ? {} : { parent }),
    ...(backend === undefined ? {} : { backend }),
    ...(deny === undefined ? {} : { deny }),
  }
}

const PLAIN_NAME_REGEX = /^[A-Za-z0-9_.-]{1,64}$/

/** An attribute's name in a finding, unless it is a strange one. */
const toShown = (name: string): string => (PLAIN_NAME_REGEX.test(name) ? name : '?')

const readMatch = (given: NonNullable<RoutingEntry['match']>, place: string, tell: Tell) => {
  const match = new Map<string, Constraint>()
  const variables = new Set<string>()
  const pairs = Object.entries(given)
  if (pairs.length > LIMITS.routingConstraintsMax)
    tell(`${place}.match`, `may name ${LIMITS.routingConstraintsMax} attributes at most`)
  for (const [written, value] of pairs) {
    const name = written.normalize('NFC')
    const at = `${place}.match.${toShown(name)}`
    if (Buffer.byteLength(name) > LIMITS.routingPatternBytesMax)
      tell(at, `an attribute's name may be ${LIMITS.routingPatternBytesMax} bytes at most`)
    if (match.has(name)) tell(at, 'is named twice after Unicode normalization')
    if (isReservedName(name)) tell(at, 'names beginning with kms. or _kms are reserved, no key has such an attribute')
    const constraint = readConstraint(value, at, tell)
    if (constraint === undefined) continue
    match.set(name, constraint)
    for (const variable of listVariables(constraint)) {
      if (variables.has(variable)) tell(at, `captures \${${variable}} a second time`)
      variables.add(variable)
    }
  }
  return { match, variables }
}

const readConstraint = (value: string | number | boolean, at: string, tell: Tell): Constraint | undefined => {
  if (typeof value !== 'string') return { value }
  const pattern = parsePattern(value.normalize('NFC'))
  if (pattern.ok) return { pattern: pattern.value }
  tell(at, pattern.error)
  return undefined
}

const listVariables = (constraint: Constraint): readonly string[] =>
  'value' in constraint ? [] : constraint.pattern.holes.filter((name) => name !== undefined)

/** Whether only one value of the attribute matches. */
export const isExactConstraint = (constraint: Constraint): boolean =>
  'value' in constraint || isExact(constraint.pattern)

/**
 * What a rule captures of attributes (in NFC) that match it, or nothing if they don't. An attribute that the rule names must
 * be there; a text constrains texts only, a number numbers; lists and records match nothing.
 */
export const matchRule = ({ match }: Rule, attributes: Attributes): Captured | undefined => {
  const all = new Map<string, string>()
  for (const [name, constraint] of match) {
    const value = Object.hasOwn(attributes, name) ? attributes[name] : undefined
    if ('value' in constraint) {
      if (value !== constraint.value) return undefined
      continue
    }
    const captured = typeof value === 'string' ? matchPattern(constraint.pattern, value) : undefined
    if (captured === undefined) return undefined
    for (const [variable, text] of captured) all.set(variable, text)
  }
  return all
}
