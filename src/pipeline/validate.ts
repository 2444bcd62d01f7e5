import { Compile, type Validator } from 'typebox/compile'
import { CONTRACTS, OPERATION_NAMES, type OperationName, type Request } from '../../schemas/registry.ts'
import { isRecord } from '../core/byteFields.ts'
import { fail, ok, type Result } from '../core/result.ts'

const NAME_REGEX = /^[A-Za-z0-9_.-]{1,64}$/
const INDEX_REGEX = /^\d{1,4}$/

/** Every member that a schema declares, at any depth: what a message may name. */
const listMembers = (schema: unknown): readonly string[] => {
  if (!isRecord(schema)) return []
  const properties = isRecord(schema['properties']) ? schema['properties'] : {}
  return [...Object.keys(properties), ...[...Object.values(properties), schema['items']].flatMap(listMembers)]
}

type SchemaError = ReturnType<Validator['Errors']>[number]

/**
 * A place in the request as a caller would write it. The members of a map with free keys are not echoed: an encryption
 * context's keys are as opaque as its values (invariant 7). Of an unknown field the name is, unless it is a strange one.
 */
const toPlace = (error: SchemaError, members: ReadonlySet<string>): string => {
  const parts = error.instancePath.split('/').slice(1)
  const isKnown = (part: string) => members.has(part) || INDEX_REGEX.test(part)
  const isUnknownField = (at: number) =>
    error.keyword === 'boolean' && at === parts.length - 1 && parts.slice(0, at).every(isKnown)
  return parts
    .map((part, at) => (isKnown(part) || (isUnknownField(at) && NAME_REGEX.test(part)) ? part : '?'))
    .join('.')
}

const toMessage = (error: SchemaError, members: ReadonlySet<string>): string => {
  const place = toPlace(error, members)
  if (error.keyword === 'boolean') return `${place}: there is no such field`
  if (error.keyword === 'required') {
    const [missing] = (error.params as { requiredProperties?: readonly string[] }).requiredProperties ?? []
    return `${[place, missing].filter(Boolean).join('.')}: is required`
  }
  return place === '' ? `request ${error.message}` : `${place}: ${error.message}`
}

/** Checks a decoded request against its contract; INVALID_REQUEST names the first field and rule it breaks. */
export type Validate = <N extends OperationName>(operation: N, decoded: unknown) => Result<Request<N>>

/** Compiles every contract's request schema once. */
export const createValidate = (): Validate => {
  const validators = new Map(OPERATION_NAMES.map((name) => [name, Compile(CONTRACTS[name].request)]))
  const members = new Map(OPERATION_NAMES.map((name) => [name, new Set(listMembers(CONTRACTS[name].request))]))
  return <N extends OperationName>(operation: N, decoded: unknown) => {
    const validator = validators.get(operation)
    if (validator?.Check(decoded)) return ok(decoded as Request<N>)
    const [first] = validator?.Errors(decoded) ?? []
    const known = members.get(operation)
    return fail('INVALID_REQUEST', first && known ? toMessage(first, known) : 'the request breaks its schema')
  }
}
