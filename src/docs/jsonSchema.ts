import type { TSchema } from 'typebox'
import type { Contract } from '../../schemas/contract.ts'
import { toSubject } from '../../schemas/contract.ts'
import { BYTES_MARK, VARIANTS_MARK } from '../../schemas/marks.ts'
import { OPERATION_NAMES, toContract } from '../../schemas/registry.ts'
import { isRecord } from '../core/byteFields.ts'

/** Plain JSON Schema, draft 2020-12. */
export type JsonSchema = Readonly<Record<string, unknown>>

const BYTES_MIN_MARK = 'x-bytes-min'

/** What a schema of the contract is on the JSON wire: bytes become base64 text of the matching length. */
export const toJsonSchema = (schema: TSchema): JsonSchema => {
  const plain = toPlain(schema)
  return isRecord(plain) ? plain : {}
}

const toPlain = (node: unknown): unknown => {
  if (Array.isArray(node)) return node.map(toPlain)
  if (!isRecord(node)) return node
  const max = node[BYTES_MARK]
  if (typeof max === 'number') return toBase64Schema(node, max)
  if (Array.isArray(node[VARIANTS_MARK])) return { oneOf: node[VARIANTS_MARK].map(toPlain) }
  return Object.fromEntries(Object.entries(node).map(([name, member]) => [name, toPlain(member)]))
}

const toBase64Schema = (node: Record<string, unknown>, max: number): JsonSchema => {
  const min = node[BYTES_MIN_MARK]
  return {
    type: 'string',
    contentEncoding: 'base64',
    ...(typeof min === 'number' && min > 0 ? { minLength: toBase64Chars(min) } : {}),
    maxLength: toBase64Chars(max),
    description: `${typeof node['description'] === 'string' ? `${node['description']}; ` : ''}at most ${max} bytes`,
  }
}

const toBase64Chars = (bytes: number): number => Math.ceil(bytes / 3) * 4

/** An example value as JSON. Bytes that are only a stand-in (empty or all zero) become `<name>`, for a reader to fill in. */
export const toJsonExample = (example: Readonly<Record<string, unknown>>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(example).map(([name, value]) => [name, toExampleValue(name, value)]))

const toExampleValue = (name: string, value: unknown): unknown => {
  if (!(value instanceof Uint8Array)) return value
  return value.every((byte) => byte === 0) ? `<${name}>` : Buffer.from(value).toString('base64')
}

/** The schema file of one operation: request and reply as they are in JSON, and where they are sent. */
export const toOperationSchema = (contract: Contract): JsonSchema => ({
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  title: contract.name,
  description: contract.summary,
  'x-nats-subject': toSubject(contract.name),
  'x-routes': contract.routes.map(({ method, path, status }) => ({ method, path: `/v1${path}`, status })),
  $defs: { request: toJsonSchema(contract.request), reply: toJsonSchema(contract.reply) },
})

/** Every operation's schema file, by the name of the operation. */
export const toOperationSchemas = (): ReadonlyMap<string, string> =>
  new Map(OPERATION_NAMES.map((name) => [name, `${JSON.stringify(toOperationSchema(toContract(name)), null, 2)}\n`]))
