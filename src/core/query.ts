import { isRecord } from './byteFields.ts'

/** The two kinds of lists that have a form as text: of strings, and of `{key, value}`. */
export type ListForm = 'texts' | 'tags'

/** The form of a list's schema; undefined for anything else. */
export const toListForm = (schema: unknown): ListForm | undefined => {
  if (!isRecord(schema) || schema['type'] !== 'array') return undefined
  const { items } = schema
  if (isRecord(items) && items['type'] === 'string') return 'texts'
  return isTag(items) ? 'tags' : undefined
}

const isTag = (schema: unknown): boolean =>
  isRecord(schema) && isRecord(schema['properties']) && Object.keys(schema['properties']).join() === 'key,value'

/** What stands before the key of each tag of a field: `tags` gives `tag.`. */
export const toTagPrefix = (field: string): string => `${field.replace(/s$/, '')}.`

/**
 * The fields as a query string, percent-encoded and without `?`; empty if there are none. A field is `name=value`; a list
 * of strings is that once for each, a list of tags `tag.<key>=<value>` once for each.
 */
export const writeQuery = (
  fields: Readonly<Record<string, unknown>>,
  schemas: Readonly<Record<string, unknown>>,
): string =>
  Object.entries(fields)
    .flatMap(([name, value]) => toPairs(name, value, toListForm(schemas[name])))
    .map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`)
    .join('&')

type Pair = readonly [name: string, value: string]

const toPairs = (name: string, value: unknown, form: ListForm | undefined): readonly Pair[] => {
  if (!Array.isArray(value)) return [[name, String(value)]]
  return form === 'tags'
    ? value.map((tag): Pair => [`${toTagPrefix(name)}${tag.key}`, String(tag.value)])
    : value.map((item): Pair => [name, String(item)])
}
