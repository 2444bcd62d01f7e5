import { COMMON_CODES, type Contract, type Route } from '../../schemas/contract.ts'
import { ERRORS, type ErrorCode } from '../../schemas/errors.ts'
import { LIMITS } from '../../schemas/limits.ts'
import { OPERATION_NAMES, toContract } from '../../schemas/registry.ts'
import { isRecord } from '../core/byteFields.ts'
import { toListForm, toTagPrefix } from '../core/query.ts'
import { findPathFields, isBodiless, REST_PREFIX, toFieldName } from '../core/route.ts'
import { MEDIA_TYPES } from '../core/wire.ts'
import { type JsonSchema, toJsonExample, toJsonSchema } from './jsonSchema.ts'

/** Every code an operation can answer with, without repetition, in the order of the error table. */
export const toCodes = (contract: Contract): readonly ErrorCode[] => {
  const possible = new Set<string>([...COMMON_CODES, ...contract.codes])
  if (contract.idempotent) possible.add('IDEMPOTENCY_CONFLICT')
  return ERROR_CODES.filter((code) => possible.has(code))
}

const isErrorCode = (name: string): name is ErrorCode => Object.hasOwn(ERRORS, name)
const ERROR_CODES = Object.keys(ERRORS).filter(isErrorCode)

/** The OpenAPI 3.1 document of the REST gateway, all of it from the contracts. */
export const toOpenApi = (version: string): JsonSchema => ({
  openapi: '3.1.0',
  info: {
    title: 'Chatelaine',
    version,
    summary: 'A key management service that records every outcome in a signed hash chain',
    description:
      'Bytes are base64 (RFC 4648 section 4, padded). Requests are decoded strictly: unknown fields, duplicate keys and ' +
      'numbers that are not safe integers are refused. Bodies may also be MessagePack (`application/msgpack`), with raw bytes.',
    license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
  },
  security: [{ bearer: [] }],
  paths: { ...toPaths(), ...OPEN_PATHS },
  components: {
    securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } },
    parameters: PARAMETERS,
    schemas: { Error: ERROR_SCHEMA, ...toComponentSchemas() },
  },
})

/** {@link toOpenApi} as the text that is served and committed. */
export const toOpenApiText = (version: string): string => `${JSON.stringify(toOpenApi(version), null, 2)}\n`

const PARAMETERS = {
  IdempotencyKey: {
    name: 'Idempotency-Key',
    in: 'header',
    required: false,
    description: 'A request with the same key and body is carried out once; remembered for 24 hours',
    schema: { type: 'string', minLength: 1, maxLength: LIMITS.idempotencyKeyCharsMax },
  },
  RequestId: {
    name: 'Request-Id',
    in: 'header',
    required: false,
    description: "The caller's id for the request; recorded and returned. Ignored if it is not printable ASCII",
    schema: { type: 'string', minLength: 1, maxLength: LIMITS.requestIdCharsMax },
  },
} as const

const ERROR_SCHEMA = {
  type: 'object',
  required: ['error'],
  additionalProperties: false,
  properties: {
    error: {
      type: 'object',
      required: ['code', 'message', 'request_id', 'retryable'],
      additionalProperties: false,
      properties: {
        code: { type: 'string', enum: ERROR_CODES },
        message: { type: 'string', description: 'Names the field and the rule' },
        request_id: { type: 'string' },
        retryable: { type: 'boolean', description: 'Whether the same request may succeed later' },
      },
    },
  },
} as const

const openPath = (summary: string, statuses: Readonly<Record<string, string>>, type: string = MEDIA_TYPES.json) => ({
  get: {
    summary,
    security: [],
    responses: Object.fromEntries(
      Object.entries(statuses).map(([status, description]) => [status, { description, content: { [type]: {} } }]),
    ),
  },
})

/** Not operations: no token, no record, no key data. They may be on a listener of their own. */
const OPEN_PATHS = {
  '/healthz': openPath('Whether the process is alive', { 200: 'Alive' }),
  '/readyz': openPath('Whether every part answers', { 200: 'Ready', 503: 'Some part does not answer' }),
  '/metrics': openPath('Metrics in the text format of Prometheus', { 200: 'Metrics' }, 'text/plain'),
  '/openapi.json': openPath('This document', { 200: 'OpenAPI 3.1' }),
} as const

const toPaths = (): JsonSchema => {
  const paths: Record<string, Record<string, unknown>> = {}
  for (const name of OPERATION_NAMES) {
    const contract = toContract(name)
    for (const [index, route] of contract.routes.entries()) {
      const path = `${REST_PREFIX}${route.path.replace(/:([a-z_]+)/g, (_match, part: string) => `{${toFieldName(part)}}`)}`
      paths[path] ??= {}
      paths[path][route.method.toLowerCase()] = toOperation(contract, route, index)
    }
  }
  return paths
}

const toOperation = (contract: Contract, route: Route, index: number): JsonSchema => {
  const request = toJsonSchema(contract.request)
  const pathFields = findPathFields(route.path)
  const inQuery = isBodiless(route.method) ? fieldsOf(request).filter((name) => !pathFields.includes(name)) : []
  const parameters = [
    ...pathFields.map((name) => ({ name, in: 'path', required: true, schema: fieldOf(request, name) })),
    ...inQuery.map((name) => toQueryParameter(request, name)),
    { $ref: '#/components/parameters/RequestId' },
    ...(contract.idempotent ? [{ $ref: '#/components/parameters/IdempotencyKey' }] : []),
  ]
  return {
    operationId: index === 0 ? contract.name : `${contract.name}_${index + 1}`,
    summary: contract.summary,
    'x-action': `kms:${contract.name}`,
    parameters,
    ...(isBodiless(route.method) ? {} : { requestBody: toRequestBody(contract, request, pathFields) }),
    responses: { [route.status]: toReply(contract), ...toErrorResponses(contract) },
  }
}

/** A list of strings repeats its name; OpenAPI has no word for `tag.<key>=<value>`, so that is told to people. */
const toQueryParameter = (request: JsonSchema, name: string): JsonSchema => {
  const schema = fieldOf(request, name)
  const required = requiredOf(request).includes(name)
  const form = toListForm(schema)
  if (form === undefined) return { name, in: 'query', required, schema }
  if (form === 'texts') return { name, in: 'query', required, style: 'form', explode: true, schema }
  const description = `${schema['description'] ?? 'Tags'}. <key> stands for the key of a tag; repeat for more`
  return { name: `${toTagPrefix(name)}<key>`, in: 'query', required, description, schema: { type: 'string' } }
}

const toRequestBody = (contract: Contract, request: JsonSchema, pathFields: readonly string[]): JsonSchema => {
  const schema = withoutFields(request, pathFields)
  const required = requiredOf(schema)
  return {
    required: required.length > 0,
    content: { [MEDIA_TYPES.json]: { schema, example: toJsonExample(contract.example.request) } },
  }
}

const toReply = ({ name }: Contract): JsonSchema => ({
  description: 'Done, and recorded at `receipt`',
  content: { [MEDIA_TYPES.json]: { schema: { $ref: `#/components/schemas/${name}Reply` } } },
})

/** One response a status, with all codes that have it. */
const toErrorResponses = (contract: Contract): JsonSchema => {
  const byStatus = new Map<number, ErrorCode[]>()
  for (const code of toCodes(contract)) {
    const { status } = ERRORS[code]
    byStatus.set(status, [...(byStatus.get(status) ?? []), code])
  }
  const responses = [...byStatus].map(([status, codes]) => [
    String(status),
    {
      description: codes.map((code) => `${code}: ${ERRORS[code].meaning}`).join('\n'),
      content: { [MEDIA_TYPES.json]: { schema: { $ref: '#/components/schemas/Error' } } },
    },
  ])
  return Object.fromEntries(responses)
}

const toComponentSchemas = (): JsonSchema =>
  Object.fromEntries(OPERATION_NAMES.map((name) => [`${name}Reply`, toJsonSchema(toContract(name).reply)]))

/** The names of an object schema's members. */
export const fieldsOf = (schema: JsonSchema): readonly string[] =>
  isRecord(schema['properties']) ? Object.keys(schema['properties']) : []

/** The schema of one member; empty if there is none. */
export const fieldOf = (schema: JsonSchema, name: string): JsonSchema => {
  const member = isRecord(schema['properties']) ? schema['properties'][name] : undefined
  return isRecord(member) ? member : {}
}

/** The members that must be there. */
export const requiredOf = (schema: JsonSchema): readonly unknown[] =>
  Array.isArray(schema['required']) ? schema['required'] : []

const withoutFields = (schema: JsonSchema, names: readonly string[]): JsonSchema => ({
  ...schema,
  required: requiredOf(schema).filter((name) => typeof name === 'string' && !names.includes(name)),
  properties: Object.fromEntries(
    fieldsOf(schema)
      .filter((name) => !names.includes(name))
      .map((name) => [name, fieldOf(schema, name)]),
  ),
})
