import type { Contract, HttpMethod, Route } from '../../schemas/contract.ts'
import { isRecord } from './byteFields.ts'

/** Every REST path stands under this prefix. */
export const REST_PREFIX = '/v1'

/** `:id` in a path is the field `key_id`; any other segment is the field of its name. */
export const toFieldName = (segment: string): string => (segment === 'id' ? 'key_id' : segment)

/** The fields that a path carries, in order: `/keys/:id/versions/:version` gives `key_id`, `version`. */
export const findPathFields = (path: string): readonly string[] =>
  [...path.matchAll(/:([a-z_]+)/g)].map((match) => toFieldName(match[1] ?? ''))

/** The path of a route with its fields filled in, percent-encoded; undefined when one is absent. */
export const fillPath = (route: Route, request: Readonly<Record<string, unknown>>): string | undefined => {
  let complete = true
  const path = route.path.replace(/:([a-z_]+)/g, (_match, segment: string) => {
    const value = request[toFieldName(segment)]
    if (typeof value !== 'string' && typeof value !== 'number') complete = false
    return encodeURIComponent(String(value))
  })
  return complete ? `${REST_PREFIX}${path}` : undefined
}

/** Whether a method carries its fields in the query string rather than in a body. */
export const isBodiless = (method: HttpMethod): boolean => method === 'GET' || method === 'DELETE'

/** The member schemas of a contract's request, by field name. */
export const toFieldSchemas = (contract: Contract): Readonly<Record<string, unknown>> => {
  const schema: unknown = contract.request
  return isRecord(schema) && isRecord(schema['properties']) ? schema['properties'] : {}
}
