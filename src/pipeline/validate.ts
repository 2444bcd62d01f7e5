import { Compile, type Validator } from 'typebox/compile'
import { CONTRACTS, OPERATION_NAMES, type OperationName, type Request } from '../../schemas/registry.ts'
import { fail, ok, type Result } from '../core/result.ts'

const NAME_REGEX = /^[A-Za-z0-9_.-]{1,64}$/

/** A place in the request as a caller would write it; a strange name is not echoed. */
const toPlace = (pointer: string): string =>
  pointer
    .split('/')
    .slice(1)
    .map((part) => (NAME_REGEX.test(part) ? part : '?'))
    .join('.')

type SchemaError = ReturnType<Validator['Errors']>[number]

const toMessage = (error: SchemaError): string => {
  const place = toPlace(error.instancePath)
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
  return <N extends OperationName>(operation: N, decoded: unknown) => {
    const validator = validators.get(operation)
    if (validator?.Check(decoded)) return ok(decoded as Request<N>)
    const [first] = validator?.Errors(decoded) ?? []
    return fail('INVALID_REQUEST', first === undefined ? 'the request breaks its schema' : toMessage(first))
  }
}
