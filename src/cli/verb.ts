import { type Command, Option } from 'commander'
import { type Contract, toSubject } from '../../schemas/contract.ts'
import { LIMITS } from '../../schemas/limits.ts'
import { type OperationName, toContract } from '../../schemas/registry.ts'
import { toExampleLine, toOutName } from './example.ts'
import { type Flag, listReplyBytes, toFlags, toVerbName } from './flags.ts'
import type { Typed } from './readFlags.ts'

/** A verb as it was typed, before any file is read. */
export interface TypedVerb {
  readonly operation: OperationName
  readonly flags: readonly Flag[]
  find(flag: Flag): Typed
  /** The value of an option that is not a field: `json`, `timeout`, `out` … */
  option(name: string): string | undefined
  isSet(name: string): boolean
  /** Where a byte field of the reply shall go: a file, `-` for standard output. */
  findOut(field: string): string | undefined
}

/** Adds the verb of one operation, derived from its contract; `run` gets what was typed. */
export const addVerb = (program: Command, operation: OperationName, run: (typed: TypedVerb) => Promise<void>): void => {
  const contract = toContract(operation)
  const flags = toFlags(contract)
  const command = program.command(toVerbName(contract)).summary(contract.summary).description(toDescription(contract))
  const hasKey = flags.some(isKeyId)
  if (hasKey) command.argument('[key-id]', 'lid_ and 64 lowercase hex digits, or an alias')
  for (const option of flags.flatMap(toOptions)) command.addOption(option.helpGroup('Request:'))
  for (const option of toOutputOptions(contract)) command.addOption(option.helpGroup('Reply:'))
  for (const option of toCallOptions(contract)) command.addOption(option.helpGroup('Connection:'))
  command.addHelpText('after', `\nExample:\n  ${toExampleLine(contract)}`)
  command.action((...args: readonly unknown[]) => {
    const positional = hasKey && typeof args[0] === 'string' ? args[0] : undefined
    const values: Readonly<Record<string, unknown>> = command.opts()
    if (positional !== undefined && values['keyId'] !== undefined)
      command.error('error: the key is given twice: as <key-id> and as --key-id', { exitCode: 1 })
    return run(toTyped({ operation, contract, flags, values, positional }))
  })
}

const isKeyId = ({ field }: Flag): boolean => field === 'key_id'

const toDescription = (contract: Contract): string => {
  const [route] = contract.routes
  return `${contract.summary}.\n\n${toSubject(contract.name)} on NATS, ${route.method} /v1${route.path} on REST.`
}

const toOptions = (flag: Flag): readonly Option[] => {
  const { name } = flag
  const description = flag.isRequired && !isFromFile(flag) && !isKeyId(flag) ? toRequired(flag) : flag.description
  switch (flag.kind) {
    case 'bytes':
      return toByteOptions(flag)
    case 'json':
      return toJsonOptions(flag)
    case 'boolean':
      return [new Option(`--${name}`, description)]
    case 'choice':
      return [new Option(`--${name} <name>`, description).choices(flag.choices)]
    case 'texts':
      return [new Option(`--${name} <text>`, description).argParser(collect)]
    case 'pairs':
    case 'tags':
    case 'attributes':
      return [new Option(`--${name} <key=value>`, description).argParser(collect)]
    case 'integer':
      return [new Option(`--${name} <number>`, description)]
    case 'text':
      return [new Option(`--${name} <text>`, description)]
    default:
      return flag.kind satisfies never
  }
}

/** Whether the flag may also be given as a file. */
const isFromFile = ({ kind }: Flag): boolean => kind === 'bytes' || kind === 'json'

const toRequired = ({ description }: Flag): string => (description === '' ? 'needed' : `${description}; needed`)

/** Secrets belong into a file or a pipe: arguments are seen by every user of a machine and kept by shells. */
const toByteOptions = ({ name, description, isRequired }: Flag): readonly Option[] => {
  const names = [`${name}-file`, name, `${name}-base64`]
  const others = (own: string) => names.filter((other) => other !== own).map(toAttribute)
  return [
    new Option(`--${name}-file <file>`, `${isRequired ? 'Needed, ' : ''}${description}; - is standard input`).conflicts(
      others(`${name}-file`),
    ),
    new Option(`--${name} <text>`, 'The same as text; others on this machine can see it').conflicts(others(name)),
    new Option(`--${name}-base64 <base64>`, 'The same as base64').conflicts(others(`${name}-base64`)),
  ]
}

const toJsonOptions = ({ name, description, isRequired }: Flag): readonly Option[] => [
  new Option(
    `--${name}-file <file>`,
    `${isRequired ? 'Needed, ' : ''}JSON; ${description}; - is standard input`,
  ).conflicts(toAttribute(name)),
  new Option(`--${name} <json>`, 'The same, here on the command line').conflicts(toAttribute(`${name}-file`)),
]

const toOutputOptions = (contract: Contract): readonly Option[] => {
  const fields = listReplyBytes(contract)
  const outs = fields.map(
    (field) =>
      new Option(
        `--${toOutName(field, fields.length)} <file>`,
        `Write ${field} to a file of mode 0600 instead; - is standard output, and nothing else goes there then`,
      ),
  )
  return [...outs, new Option('--json', 'Print the reply, or the error, as JSON; bytes are base64')]
}

const toCallOptions = ({ idempotent }: Contract): readonly Option[] => [
  ...(idempotent
    ? [new Option('--idempotency-key <key>', 'Asking again with the same key within 24 h does nothing twice')]
    : []),
  new Option('--timeout <seconds>', 'Give up after this time').default(String(LIMITS.requestDeadlineMs / 1000)),
  new Option('--nats <url>', 'NATS server, nats://host:port or tls://host:port').conflicts('url'),
  new Option('--url <url>', 'REST gateway, http://host:port or https://host:port'),
  new Option('--token-file <file>', 'Holds the bearer token'),
  new Option('--user <name>', 'NATS user').conflicts('url'),
  new Option('--password-file <file>', 'Holds the password of the NATS user').conflicts('url'),
]

const collect = (text: string, previous: readonly string[] | undefined): readonly string[] => [
  ...(previous ?? []),
  text,
]

/** Commander's name for an option's value: `key-id` → `keyId`. */
const toAttribute = (name: string): string =>
  name.replace(/-([a-z0-9])/g, (_dash, letter: string) => letter.toUpperCase())

const toTyped = (given: {
  readonly operation: OperationName
  readonly contract: Contract
  readonly flags: readonly Flag[]
  readonly values: Readonly<Record<string, unknown>>
  readonly positional: string | undefined
}): TypedVerb => {
  const { operation, contract, flags, values, positional } = given
  const outs = listReplyBytes(contract)
  const option = (name: string): string | undefined => {
    const value = values[toAttribute(name)]
    return typeof value === 'string' ? value : undefined
  }
  return {
    operation,
    flags,
    find: (flag) => (isKeyId(flag) && positional !== undefined ? { as: 'text', text: positional } : read(flag, values)),
    option,
    isSet: (name) => values[toAttribute(name)] === true,
    findOut: (field) => (outs.includes(field) ? option(toOutName(field, outs.length)) : undefined),
  }
}

const read = (flag: Flag, values: Readonly<Record<string, unknown>>): Typed => {
  const value = values[toAttribute(flag.name)]
  if (isFromFile(flag)) {
    const path = values[toAttribute(`${flag.name}-file`)]
    const base64 = values[toAttribute(`${flag.name}-base64`)]
    if (typeof path === 'string') return { as: 'file', path }
    if (typeof base64 === 'string') return { as: 'base64', text: base64 }
  }
  if (value === true) return { as: 'given' }
  if (typeof value === 'string') return { as: 'text', text: value }
  return Array.isArray(value) ? { as: 'list', texts: value } : { as: 'absent' }
}
