import { ConfigSchema } from '../../schemas/config.ts'

interface Row {
  readonly field: string
  readonly value: string
  readonly preset: string
  readonly meaning: string
}

type Node = Readonly<Record<string, unknown>>

/** `docs/CONFIGURATION.md`: every field of the configuration with type, bound, default and meaning, and the environment. */
export const toConfigurationPage = (environment: Readonly<Record<string, string>>): string => {
  const sections = Object.entries(membersOf({ ...ConfigSchema })).map(([name, schema]) => toSection(name, schema))
  return [
    '# Configuration',
    'Generated from `schemas/config.ts` by `npm run generate`; do not edit.',
    'The service reads one JSON file, named by `KMS_CONFIG`. Unknown fields are refused, and a mistake names its field. ' +
      'No field holds a secret: passwords, PINs and tokens are in files of their own. Relative paths are relative to the ' +
      'configuration file. Without `KMS_CONFIG` the dev profile makes its own configuration under `KMS_DATA_DIR`.',
    '## Environment',
    toTable(
      ['variable', 'meaning'],
      Object.entries(environment).map(([name, meaning]) => [`\`${name}\``, meaning]),
    ),
    ...sections,
    '## Smallest example',
    `\`\`\`json\n${JSON.stringify(SMALLEST_CONFIG, null, 2)}\n\`\`\``,
    '',
  ].join('\n\n')
}

/** The least that a configuration must say; a test checks that it is accepted. */
export const SMALLEST_CONFIG = {
  data_dir: '/var/lib/chatelaine',
  nats: {
    servers: ['tls://nats.example:4222'],
    front: { password_file: '/run/secrets/kms_front' },
    ledger: { password_file: '/run/secrets/kms_ledger' },
    tls: {},
    monitor_url: 'http://nats.example:8222',
  },
  hsm: {
    backends: [
      { id: 'main', lib_path: '/opt/hsm/pkcs11.so', token_label: 'chatelaine', pin_file: '/run/secrets/hsm_pin' },
    ],
    ledger_backend: 'main',
  },
  authn: {
    chain: [
      {
        kind: 'jwt',
        issuer: 'https://idp.example',
        audience: 'chatelaine',
        jwks_url: 'https://idp.example/jwks',
        claims: { roles: 'roles', tenant: 'tenant' },
      },
    ],
  },
  pdp: { cedar: { policy_dir: '/etc/chatelaine/policies' } },
} as const

const toSection = (name: string, schema: Node): string => {
  const leaf = Object.keys(membersOf(schema)).length === 0
  const description = textOf(schema, 'description')
  const rows = leaf ? [toRow(name, schema, true)] : toRows(name, schema)
  const cells = rows.map(({ field, value, preset, meaning }) => [`\`${field}\``, value, preset, meaning])
  const intro = leaf || description === '' ? [] : [description]
  return [`## ${name}`, ...intro, toTable(['field', 'value', 'default', 'meaning'], cells)].join('\n\n')
}

/** One row for each field below `path`, an object's own row first. */
const toRows = (path: string, schema: Node): readonly Row[] => {
  const required = listOf(schema, 'required')
  return Object.entries(membersOf(schema)).flatMap(([name, member]) => {
    const field = `${path}.${name}`
    return [toRow(field, member, required.includes(name)), ...rowsInside(field, member)]
  })
}

const rowsInside = (field: string, schema: Node): readonly Row[] => {
  const items = nodeOf(schema, 'items')
  if (items === undefined) return toRows(field, schema)
  const variants = listOf(items, 'anyOf').filter(isNode)
  if (variants.length === 0) return toRows(`${field}[]`, items)
  return variants.flatMap((variant) => {
    const kind = nodeOf(nodeOf(variant, 'properties') ?? {}, 'kind')
    const place = `${field}[${textOf(kind ?? {}, 'const')}]`
    return [toRow(place, variant, false), ...toRows(place, variant)]
  })
}

const toRow = (field: string, schema: Node, required: boolean): Row => ({
  field,
  value: toValue(schema),
  preset: 'default' in schema ? `\`${JSON.stringify(schema['default'])}\`` : required ? 'required' : '',
  meaning: textOf(schema, 'description'),
})

const toValue = (schema: Node): string => {
  const names = listOf(schema, 'enum')
  if (names.length > 0) return names.map((name) => `\`${name}\``).join(', ')
  if ('const' in schema) return `\`${schema['const']}\``
  switch (schema['type']) {
    case 'integer':
      return `integer ${schema['minimum']} to ${schema['maximum']}`
    case 'array':
      return toListValue(schema)
    case 'string':
      return toStringValue(schema)
    default:
      return String(schema['type'])
  }
}

const toListValue = (schema: Node): string => {
  const items = nodeOf(schema, 'items') ?? {}
  const each = 'properties' in items || 'anyOf' in items ? 'objects' : toValue(items)
  return `list, ${schema['minItems']} to ${schema['maxItems']}: ${each}`
}

const toStringValue = (schema: Node): string => {
  if (schema['format'] === 'date-time') return 'date and time'
  if ('pattern' in schema) return `string like \`${String(schema['pattern']).replaceAll('|', '\\|')}\``
  return `string, at most ${schema['maxLength']} characters`
}

const toTable = (heads: readonly string[], rows: readonly (readonly string[])[]): string =>
  [heads, heads.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')

const isNode = (value: unknown): value is Node => typeof value === 'object' && value !== null && !Array.isArray(value)

const nodeOf = (schema: Node, name: string): Node | undefined => {
  const value = schema[name]
  return isNode(value) ? value : undefined
}

const membersOf = (schema: Node): Readonly<Record<string, Node>> =>
  Object.fromEntries(
    Object.entries(nodeOf(schema, 'properties') ?? {}).filter((pair): pair is [string, Node] => isNode(pair[1])),
  )

const listOf = (schema: Node, name: string): readonly unknown[] => {
  const value = schema[name]
  return Array.isArray(value) ? value : []
}

const textOf = (schema: Node, name: string): string => (typeof schema[name] === 'string' ? schema[name] : '')
