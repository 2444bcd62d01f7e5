import { BACKEND_ID_PATTERN, KEY_ID_PATTERN } from '../../schemas/primitives.ts'
import type { Captured } from './routingPattern.ts'

/** A key or a backend that a rule names, with variables to be filled in. */
export interface Template {
  readonly field: 'parent' | 'backend_id'
  readonly text: string
  readonly variables: readonly string[]
}

const VARIABLE_REGEX = /\$\{([a-z][a-z0-9_]{0,31})\}/g
const FORMS = {
  parent: { regex: new RegExp(KEY_ID_PATTERN), rule: `must be a LID, or an alias in which \${name} may stand` },
  backend_id: {
    regex: new RegExp(BACKEND_ID_PATTERN),
    rule: `must be the name of a backend, in which \${name} may stand`,
  },
} as const

/** What a variable may bring into a name: nothing that leads to another level of it. */
const CAPTURED_REGEX = /^[A-Za-z0-9_-]+$/

/** Reads what a rule names; the error says what it must be. */
export const parseTemplate = (
  field: Template['field'],
  text: string,
): { readonly ok: true; readonly value: Template } | { readonly ok: false; readonly error: string } => {
  const variables = [...text.matchAll(VARIABLE_REGEX)].map((match) => match[1] ?? '')
  const { regex, rule } = FORMS[field]
  // With one letter for each variable it must be a name already; `x` is no hex digit, so a LID can't have any.
  return regex.test(text.replaceAll(VARIABLE_REGEX, 'x'))
    ? { ok: true, value: { field, text, variables: [...new Set(variables)] } }
    : { ok: false, error: rule }
}

/**
 * The name with what was captured in it; nothing if that makes no name, or if a captured text holds anything but letters,
 * digits, `_` and `-`: an attribute must not choose a place that its rule did not mean.
 */
export const fillTemplate = ({ field, text, variables }: Template, captured: Captured): string | undefined => {
  if (variables.some((name) => !CAPTURED_REGEX.test(captured.get(name) ?? ''))) return undefined
  const filled = text.replaceAll(VARIABLE_REGEX, (_match, name: string) => captured.get(name) ?? '')
  return FORMS[field].regex.test(filled) ? filled : undefined
}
