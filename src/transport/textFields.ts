import { isRecord } from '../core/byteFields.ts'
import { toListForm, toTagPrefix } from '../core/query.ts'
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

/**
 * Strictly reads a query string: no name without a value, well-formed percent-encoding, `+` is a space, and nothing twice
 * but the items of a list. Lists are written as `writeQuery` writes them.
 */
export const readQuery = (query: string, schemas: FieldSchemas): Result<Record<string, unknown>> => {
  const fields: Record<string, unknown> = Object.create(null)
  const lists = findLists(schemas)
  for (const pair of query === '' ? [] : query.split('&')) {
    const equals = pair.indexOf('=')
    const name = equals > 0 ? decodeText(pair.slice(0, equals)) : undefined
    const text = decodeText(pair.slice(equals + 1))
    if (name === undefined || text === undefined)
      return fail('INVALID_REQUEST', 'the query must be percent-encoded name=value pairs')
    const list = lists.find((one) => one.takes(name))
    const added = list === undefined ? addField(fields, { name, text, schemas }) : list.add(fields, name, text)
    if (!added.ok) return added
  }
  return ok(fields)
}

const TWICE = fail('INVALID_REQUEST', 'a query parameter must not occur twice')

const addField = (
  fields: Record<string, unknown>,
  { name, text, schemas }: { readonly name: string; readonly text: string; readonly schemas: FieldSchemas },
): Result<unknown> => {
  if (name in fields) return TWICE
  const value = readTextField(schemas, name, text)
  if (value.ok) fields[name] = value.value
  return value
}

/** A field that one query parameter adds one item to. */
interface ListField {
  readonly takes: (name: string) => boolean
  readonly add: (fields: Record<string, unknown>, name: string, text: string) => Result<unknown>
}

const findLists = (schemas: FieldSchemas): readonly ListField[] =>
  Object.entries(schemas).flatMap(([field, schema]): readonly ListField[] => {
    const form = toListForm(schema)
    if (form === 'texts') return [toTextsField(field)]
    return form === 'tags' ? [toTagsField(field)] : []
  })

const toTextsField = (field: string): ListField => ({
  takes: (name) => name === field,
  add: (fields, _name, text) => addItem(fields, field, text),
})

const toTagsField = (field: string): ListField => {
  const prefix = toTagPrefix(field)
  return {
    takes: (name) => name.startsWith(prefix),
    add: (fields, name, value) => {
      const key = name.slice(prefix.length)
      const tags = listOf(fields, field)
      if (tags.some((tag) => isRecord(tag) && tag['key'] === key)) return TWICE
      return addItem(fields, field, { key, value })
    },
  }
}

const addItem = (fields: Record<string, unknown>, field: string, item: unknown): Result<unknown> => {
  fields[field] = [...listOf(fields, field), item]
  return ok(item)
}

const listOf = (fields: Record<string, unknown>, field: string): readonly unknown[] => {
  const list = fields[field]
  return Array.isArray(list) ? list : []
}

const decodeText = (text: string): string | undefined => {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch {
    return undefined
  }
}
