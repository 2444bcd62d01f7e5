import { COMMON_CODES, type Contract, toKebab, toSubject } from '../../schemas/contract.ts'
import { OPERATION_NAMES, toContract } from '../../schemas/registry.ts'
import { isRecord } from '../core/byteFields.ts'
import { writeQuery } from '../core/query.ts'
import { findPathFields, isBodiless, REST_PREFIX, toFieldName, toFieldSchemas } from '../core/route.ts'
import { type JsonSchema, toJsonExample, toJsonSchema } from './jsonSchema.ts'
import { toPage, toTable } from './markdown.ts'
import { fieldOf, fieldsOf, requiredOf } from './openapi.ts'

/** `docs/API.md`: every operation with its subject, routes, fields, codes and CLI verb. */
export const toApiPage = (): string => {
  const contracts = OPERATION_NAMES.map(toContract)
  return toPage('Operations', 'schemas/operations/', [
    'One operation, three ways in: a NATS request, a REST call, a CLI verb. The fields are the same. Over NATS the headers ' +
      'are `Authorization`, `Content-Type`, `Idempotency-Key`, `Request-Id`; a body of `application/msgpack` carries bytes ' +
      'raw, JSON carries them as base64. The reply subject must be an inbox (`_INBOX.`). On REST a path field may be left out ' +
      'of the body; a key id may be an alias, percent-encoded as one segment.',
    `Every operation can answer with ${COMMON_CODES.map((code) => `\`${code}\``).join(', ')}; see [ERRORS.md](ERRORS.md).`,
    toTable(
      ['operation', 'what it does', 'REST'],
      contracts.map((contract) => [
        `[${contract.name}](#${contract.name.toLowerCase()})`,
        contract.summary,
        `\`${contract.routes[0].method} ${REST_PREFIX}${contract.routes[0].path}\``,
      ]),
    ),
    ...contracts.map(toSection),
  ])
}

const toSection = (contract: Contract): string =>
  [
    `## ${contract.name}`,
    `${contract.summary}.`,
    toTable(['', ''], toFacts(contract)),
    '**Request**',
    toFieldTable(toJsonSchema(contract.request)),
    '**Reply**',
    toFieldTable(toJsonSchema(contract.reply)),
    '**Example**',
    `\`\`\`sh\n${toCurl(contract)}\n\`\`\``,
  ].join('\n\n')

const toFacts = (contract: Contract): readonly (readonly [string, string])[] => [
  ['NATS', `\`${toSubject(contract.name)}\``],
  ['REST', contract.routes.map(({ method, path }) => `\`${method} ${REST_PREFIX}${path}\``).join(', ')],
  ['CLI', `\`chatelaine ${toKebab(contract.name)}\``],
  ['PDP action', `\`kms:${contract.name}\``],
  ['effect', contract.effect],
  ['`Idempotency-Key`', contract.idempotent ? 'accepted' : 'refused'],
  ['own codes', contract.codes.map((code) => `\`${code}\``).join(', ') || 'none'],
]

const toFieldTable = (schema: JsonSchema): string => {
  const required = requiredOf(schema)
  const rows = fieldsOf(schema).map((name) => {
    const member = fieldOf(schema, name)
    const description = typeof member['description'] === 'string' ? member['description'] : ''
    return [`\`${name}\`${required.includes(name) ? '' : ' (optional)'}`, toTypeName(member), description]
  })
  return rows.length === 0 ? 'No fields.' : toTable(['field', 'type', 'meaning'], rows)
}

const toTypeName = (schema: JsonSchema): string => {
  if (schema['contentEncoding'] === 'base64') return 'bytes'
  if (Array.isArray(schema['enum'])) return schema['enum'].map((name) => `\`${name}\``).join(', ')
  if (schema['type'] === 'array') return `list of ${isRecord(schema['items']) ? toTypeName(schema['items']) : 'any'}`
  if (schema['type'] === 'integer') return toRange(schema)
  if (schema['oneOf'] ?? schema['anyOf']) return 'object'
  return String(schema['type'] ?? 'any')
}

const toRange = ({ minimum, maximum }: JsonSchema): string => {
  if (minimum !== undefined && maximum !== undefined) return `integer ${minimum} to ${maximum}`
  return minimum === undefined ? 'integer' : `integer from ${minimum}`
}

/** A call that can be copied once the names in angle brackets are filled in. */
const toCurl = (contract: Contract): string => {
  const [route] = contract.routes
  const rest = withoutPathFields(contract, toJsonExample(contract.example.request))
  const path = `${REST_PREFIX}${route.path.replace(/:([a-z_]+)/g, (_match, part: string) => `<${toFieldName(part)}>`)}`
  const url = `"$KMS_URL${path}${isBodiless(route.method) ? toQuery(contract, rest) : ''}"`
  const lines = [`curl -sS -X ${route.method} ${url}`, '-H "Authorization: Bearer $KMS_TOKEN"']
  if (!isBodiless(route.method)) {
    lines.push("-H 'Content-Type: application/json'", `-d '${JSON.stringify(rest)}'`)
  }
  return lines.join(' \\\n  ')
}

const withoutPathFields = ({ routes: [route] }: Contract, example: Readonly<Record<string, unknown>>) => {
  const inPath = findPathFields(route.path)
  return Object.fromEntries(Object.entries(example).filter(([name]) => !inPath.includes(name)))
}

const toQuery = (contract: Contract, example: Readonly<Record<string, unknown>>): string => {
  const query = writeQuery(example, toFieldSchemas(contract))
  return query === '' ? '' : `?${query}`
}
