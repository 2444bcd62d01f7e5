import { type Contract, toKebab } from '../../schemas/contract.ts'
import { BYTES_MARK } from '../../schemas/marks.ts'
import { type ByteFields, findByteFields, isRecord } from '../core/byteFields.ts'
import { toListForm } from '../core/query.ts'
import { must } from '../core/result.ts'
import { toFieldSchemas } from '../core/route.ts'

/**
 * How a field is written on a command line. `texts` is a repeated text, `pairs` a repeated `key=value`, `tags` the same
 * for a list of `{key, value}`, `attributes` the same or one JSON object; `bytes` has three spellings: text, a file, base64;
 * `json` two: a file, or the JSON itself.
 */
export type FlagKind =
  | 'text'
  | 'texts'
  | 'integer'
  | 'boolean'
  | 'choice'
  | 'bytes'
  | 'pairs'
  | 'tags'
  | 'attributes'
  | 'json'

/** One field of a request as the command line takes it. */
export interface Flag {
  /** The field of the request, as on the wire. */
  readonly field: string
  /** Without the leading `--`. */
  readonly name: string
  readonly kind: FlagKind
  readonly isRequired: boolean
  readonly description: string
  /** What may be given, for `choice`. */
  readonly choices: readonly string[]
  /** Where bytes stand as base64 in JSON, for `items`. */
  readonly byteFields?: ByteFields
}

/** `encryption_context` → `encryption-context`. */
export const toFlagName = (field: string): string => field.replaceAll('_', '-')

/** The verb of an operation: `CreateKey` → `create-key`. */
export const toVerbName = (contract: Contract): string => toKebab(contract.name)

/** The flags of a contract, in the order of its request's fields. Throws for a field that has no form on a command line. */
export const toFlags = (contract: Contract): readonly Flag[] => {
  const required = listRequired(contract.request)
  return Object.entries(toFieldSchemas(contract)).map(([field, schema]) => {
    const kind = findKind(schema)
    must(kind !== undefined && isRecord(schema), `${contract.name}.${field} has no form on a command line`)
    const byteFields = kind === 'json' ? findByteFields(schema) : undefined
    return {
      field,
      name: toFlagName(field),
      kind,
      isRequired: required.includes(field),
      description: describe(kind, schema),
      choices: listTexts(schema['enum']),
      ...(byteFields === undefined ? {} : { byteFields }),
    }
  })
}

/** The byte fields at the top of a contract's reply, each of which may go to a file. */
export const listReplyBytes = (contract: Contract): readonly string[] => {
  const found = findByteFields(contract.reply)
  if (found?.kind !== 'members') return []
  return [...found.members].filter(([, inner]) => inner.kind === 'bytes').map(([field]) => field)
}

const findKind = (schema: unknown): FlagKind | undefined => {
  if (!isRecord(schema)) return undefined
  if (BYTES_MARK in schema) return 'bytes'
  if (Array.isArray(schema['enum'])) return 'choice'
  switch (schema['type']) {
    case 'string':
      return 'text'
    case 'integer':
      return 'integer'
    case 'boolean':
      return 'boolean'
    case 'array':
      return (
        toListForm(schema) ?? (isRecord(schema['items']) && schema['items']['type'] === 'object' ? 'json' : undefined)
      )
    case 'object':
      return isRecord(schema['additionalProperties']) ? 'pairs' : 'attributes'
    default:
      return undefined
  }
}

const describe = (kind: FlagKind, schema: Readonly<Record<string, unknown>>): string => {
  const given = typeof schema['description'] === 'string' ? schema['description'] : ''
  const rule = toRule(kind, schema)
  return given === '' ? rule : rule === '' ? given : `${given} (${rule})`
}

const toRule = (kind: FlagKind, schema: Readonly<Record<string, unknown>>): string => {
  switch (kind) {
    case 'integer': {
      const { minimum, maximum } = schema
      return maximum === undefined || maximum === Number.MAX_SAFE_INTEGER
        ? `at least ${minimum}`
        : `${minimum} to ${maximum}`
    }
    case 'bytes':
      return `at most ${schema[BYTES_MARK]} bytes`
    case 'pairs':
    case 'tags':
    case 'texts':
      return 'repeat for more'
    case 'attributes':
      return 'repeat for more, or one JSON object'
    case 'text':
      return typeof schema['maxLength'] === 'number' ? `at most ${schema['maxLength']} bytes` : ''
    case 'json':
      return 'a JSON array; bytes are base64'
    case 'boolean':
    case 'choice':
      return ''
    default:
      return kind satisfies never
  }
}

const listTexts = (value: unknown): readonly string[] =>
  Array.isArray(value) ? value.filter((item): item is string => typeof item === 'string') : []

const listRequired = (schema: unknown): readonly string[] => (isRecord(schema) ? listTexts(schema['required']) : [])
