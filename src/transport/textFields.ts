import { isRecord } from '../core/byteFields.ts'
import { fail, ok, type Result } from '../core/result.ts'

/** The schemas of a request's fields, by name. */
export type FieldSchemas = Readonly<Record<string, unknown>>

const INTEGER = /^(?:0|-?[1-9][0-9]*)$/

/**
 * One field that came as text, in a path or a query: an integer or boolean where the schema says so, else the text.
 * An unknown field stays text, for validation to refuse.
 */
export const readTextField = (schemas: FieldSchemas, name: string, text: string): Result<unknown> => {
  const schema = Object.hasOwn(schemas, name) ? schemas[name] : undefined
  switch (isRecord(schema) ? schema['type'] : undefined) {
    case 'integer': {
      const value = Number(text)
      if (INTEGER.test(text) && Number.isSafeInteger(value)) return ok(value)
      return fail('INVALID_REQUEST', `${name} must be an integer`)
    }
    case 'boolean':
      return text === 'true' || text === 'false'
        ? ok(text === 'true')
        : fail('INVALID_REQUEST', `${name} must be true or false`)
    case 'object':
    case 'array':
      return fail('INVALID_REQUEST', `${name} has no form as text`)
    default:
      return ok(text)
  }
}

/** Strictly reads a query string: no duplicates, no name without a value, well-formed percent-encoding, `+` is a space. */
export const readQuery = (query: string, schemas: FieldSchemas): Result<Record<string, unknown>> => {
  const fields: Record<string, unknown> = Object.create(null)
  if (query === '') return ok(fields)
  for (const pair of query.split('&')) {
    const equals = pair.indexOf('=')
    const name = equals > 0 ? decodeText(pair.slice(0, equals)) : undefined
    const text = decodeText(pair.slice(equals + 1))
    if (name === undefined || text === undefined) {
      return fail('INVALID_REQUEST', 'the query must be percent-encoded name=value pairs')
    }
    if (name in fields) return fail('INVALID_REQUEST', 'a query parameter must not occur twice')
    const value = readTextField(schemas, name, text)
    if (!value.ok) return value
    fields[name] = value.value
  }
  return ok(fields)
}

const decodeText = (text: string): string | undefined => {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch {
    return undefined
  }
}
