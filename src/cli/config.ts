import { readFile, stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { Compile } from 'typebox/compile'
import { Default } from 'typebox/value'
import { AUTHENTICATOR_SCHEMAS, type Config, ConfigSchema } from '../../schemas/config.ts'
import { LIMITS } from '../../schemas/limits.ts'
import { ok, type Result } from '../core/result.ts'
import { findConfigFault } from './configRules.ts'
import { fault, type OperatorFault } from './operatorFault.ts'

// From a file of their own, so that a command can fail without loading the schema compiler.
export { fault, type OperatorFault }

/** Reads, checks and completes the configuration file; relative paths in it are relative to the file. */
export const loadConfig = async (file: string): Promise<Result<Config, OperatorFault>> => {
  let text: string
  try {
    if ((await stat(file)).size > LIMITS.configBytesMax) return fault(`KMS_CONFIG: ${file} is too large`)
    text = await readFile(file, 'utf8')
  } catch (error) {
    return fault(`KMS_CONFIG: cannot read ${file}: ${error instanceof Error ? error.message : 'unknown error'}`)
  }
  const parsed = parseConfig(text)
  return parsed.ok ? ok(resolvePaths(parsed.value, dirname(resolve(file)))) : fault(`${file}: ${parsed.error.message}`)
}

/** Checks a configuration's JSON text and fills the defaults in. */
export const parseConfig = (text: string): Result<Config, OperatorFault> => {
  let decoded: unknown
  try {
    decoded = JSON.parse(text)
  } catch (error) {
    return fault(`not JSON: ${error instanceof Error ? error.message : 'unknown error'}`)
  }
  return checkConfig(decoded)
}

/** Checks a configuration and fills the defaults in; the argument stays as it is. */
export const checkConfig = (given: unknown): Result<Config, OperatorFault> => {
  const completed: unknown = Default(ConfigSchema, structuredClone(given))
  const validator = Compile(ConfigSchema)
  if (!validator.Check(completed)) return fault(explain(completed, validator.Errors(completed)))
  const wrong = findConfigFault(completed)
  return wrong === undefined ? ok(completed) : fault(wrong)
}

type SchemaError = ReturnType<ReturnType<typeof Compile>['Errors']>[number]

const explain = (config: unknown, errors: readonly SchemaError[]): string => {
  // The reason of an unknown member stands beside it, under the keyword of its parent; the member is the better place.
  const first = errors.find((error) => error.keyword !== 'additionalProperties')
  if (first === undefined) return 'the configuration breaks its schema'
  const place = first.instancePath.split('/').slice(1).join('.')
  const index = /^authn\.chain\.(\d+)/.exec(place)?.[1]
  if (index !== undefined) return explainAuthenticator(config, Number(index))
  return toMessage(place, first)
}

/** A union's errors are those of its first member; these are of the member that `kind` names. */
const explainAuthenticator = (config: unknown, index: number): string => {
  const place = `authn.chain.${index}`
  const item = memberOf(memberOf(memberOf(config, 'authn'), 'chain'), String(index))
  const kind = memberOf(item, 'kind')
  if (kind !== 'bootstrap_token' && kind !== 'jwt') {
    return `${place}.kind: must be one of ${Object.keys(AUTHENTICATOR_SCHEMAS).join(', ')}`
  }
  const schema = AUTHENTICATOR_SCHEMAS[kind]
  const errors = Compile(schema).Errors(Default(schema, structuredClone(item)))
  const first = errors.find((error) => error.keyword !== 'additionalProperties')
  if (first === undefined) return `${place}: breaks its schema`
  return toMessage([place, ...first.instancePath.split('/').slice(1)].join('.'), first)
}

const toMessage = (place: string, error: SchemaError): string => {
  if (error.keyword === 'boolean') return `${place}: there is no such field`
  const missing = memberOf(memberOf(error.params, 'requiredProperties'), '0')
  if (error.keyword === 'required' && typeof missing === 'string') {
    return `${[place, missing].filter((part) => part !== '').join('.')}: is required`
  }
  const allowed = memberOf(error.params, 'allowedValues')
  if (Array.isArray(allowed)) return `${place}: must be one of ${allowed.join(', ')}`
  return `${place === '' ? 'the configuration' : `${place}:`} ${error.message}`
}

const memberOf = (value: unknown, name: string): unknown =>
  typeof value === 'object' && value !== null ? Object.entries(value).find(([key]) => key === name)?.[1] : undefined

const resolvePaths = (config: Config, base: string): Config => {
  const at = (path: string) => resolve(base, path)
  const user = <U extends { readonly password_file: string }>(one: U): U => ({
    ...one,
    password_file: at(one.password_file),
  })
  const files = <F extends Readonly<Record<string, string | undefined>>>(tls: F): F => ({
    ...tls,
    ...Object.fromEntries(Object.entries(tls).map(([name, path]) => [name, path === undefined ? path : at(path)])),
  })
  const { nats, ledger, http, hsm, authn, pdp } = config
  const { stream } = ledger.anchors
  return {
    ...config,
    data_dir: at(config.data_dir),
    nats: {
      ...nats,
      front: user(nats.front),
      ledger: user(nats.ledger),
      ...(nats.provision ? { provision: user(nats.provision) } : {}),
      ...(nats.auditor ? { auditor: user(nats.auditor) } : {}),
      ...(nats.tls ? { tls: files(nats.tls) } : {}),
    },
    ledger: {
      ...ledger,
      anchors: {
        ...ledger.anchors,
        ...(stream
          ? {
              stream: {
                ...stream,
                ...(stream.password_file ? { password_file: at(stream.password_file) } : {}),
                ...(stream.tls ? { tls: files(stream.tls) } : {}),
              },
            }
          : {}),
      },
    },
    http: { ...http, ...(http.tls ? { tls: files(http.tls) } : {}) },
    hsm: {
      ...hsm,
      ...(hsm.pin_dir === undefined ? {} : { pin_dir: at(hsm.pin_dir) }),
      allowed_libraries: hsm.allowed_libraries.map(at),
      backends: hsm.backends.map((one) => ({ ...one, lib_path: at(one.lib_path), pin_file: at(one.pin_file) })),
    },
    authn: {
      chain: authn.chain.map((one) => ('token_file' in one ? { ...one, token_file: at(one.token_file) } : one)),
    },
    pdp: { cedar: { ...pdp.cedar, policy_dir: at(pdp.cedar.policy_dir) } },
  }
}
