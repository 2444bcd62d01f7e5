import { describe, expect, test } from 'vitest'
import { BYTES_MARK, VARIANTS_MARK } from '../../../schemas/marks.ts'
import { OPERATION_NAMES, type OperationName, toContract } from '../../../schemas/registry.ts'
import { createValidate } from '../../../src/pipeline/validate.ts'

const validate = createValidate()
const KEY = `lid_${'0'.repeat(64)}`
const one = new Uint8Array(1)

const messageOf = (operation: OperationName, request: unknown): string => {
  const valid = validate(operation, request)
  if (valid.ok) throw new Error('accepted')
  expect(valid.error.code).toBe('INVALID_REQUEST')
  return valid.error.message
}

describe('a refused request names the field and the rule', () => {
  test.each([
    ['an unknown field', 'DescribeKey', { key_id: KEY, extra: 1 }, 'extra: there is no such field'],
    ['a missing field', 'Encrypt', { key_id: KEY }, 'plaintext: is required'],
    ['a wrong type', 'DescribeKey', { key_id: 7 }, 'key_id: must be string'],
    [
      'text where bytes are meant',
      'Encrypt',
      { key_id: KEY, plaintext: 'x' },
      'plaintext: must be binary, 0 to 65536 bytes',
    ],
    [
      'too many bytes',
      'Encrypt',
      { key_id: KEY, plaintext: new Uint8Array(65537) },
      'plaintext: must be binary, 0 to 65536 bytes',
    ],
    [
      'too few bytes',
      'Decrypt',
      { ciphertext_blob: new Uint8Array(0) },
      'ciphertext_blob: must be binary, 1 to 65644 bytes',
    ],
    ['too large a number', 'GenerateRandom', { number_of_bytes: 1025 }, 'number_of_bytes: must be <= 1024'],
    ['a fraction', 'GenerateRandom', { number_of_bytes: 1.5 }, 'number_of_bytes: must be integer'],
    [
      'too many characters',
      'CreateKey',
      { key_spec: 'AES_256', description: 'a'.repeat(1025) },
      'description: must not have more than 1024 characters',
    ],
    [
      'few characters of too many bytes',
      'CreateKey',
      { key_spec: 'AES_256', description: 'é'.repeat(600) },
      'description: must be at most 1024 bytes of UTF-8',
    ],
    [
      'a name that is not in the list',
      'CreateKey',
      { key_spec: 'DES' },
      'key_spec: must be equal to one of the allowed values',
    ],
    ['a field of a list item', 'CreateKey', { key_spec: 'AES_256', tags: [{ key: 'a' }] }, 'tags.0.value: is required'],
    [
      'a context that is not text, without quoting its keys',
      'Encrypt',
      { key_id: KEY, plaintext: one, encryption_context: { a: 1 } },
      'encryption_context.?: must be string',
    ],
    ['no object at all', 'GetLedgerHead', [], 'request must be object'],
  ] as const)('%s', (_what, operation, request, message) => {
    expect(messageOf(operation, request)).toBe(message)
  })

  test.each(['<script>', 'a b', 'naïve', 'x'.repeat(65), '\n', '__proto__ ', '~', ''])(
    'a strange field name is not echoed: %j',
    (name) => {
      const message = messageOf('GetLedgerHead', { [name]: 1 })
      expect(message).toBe('?: there is no such field')
    },
  )

  test('__proto__ is a field like any other: there is none of that name', () => {
    expect(messageOf('GetLedgerHead', JSON.parse('{"__proto__": {}}'))).toBe('__proto__: there is no such field')
  })
})

type Node = Readonly<Record<string, unknown>>
const isNode = (value: unknown): value is Node => typeof value === 'object' && value !== null && !Array.isArray(value)

/** Quantified patterns with both ends fixed bound a string as well as `maxLength` does. */
const isBoundedPattern = (pattern: unknown): boolean =>
  typeof pattern === 'string' && pattern.startsWith('^') && pattern.endsWith('$') && !/[*+]|\{\d+,\}/.test(pattern)

/** Why a schema node lets something of any size through, or nothing. */
const findUnbounded = (node: Node): string | undefined => {
  if (BYTES_MARK in node) return typeof node[BYTES_MARK] === 'number' ? undefined : 'bytes without a maximum'
  if (Array.isArray(node['enum']) || 'const' in node) return undefined
  switch (node['type']) {
    case 'string':
      return 'maxLength' in node || isBoundedPattern(node['pattern']) ? undefined : 'a string without a maximum'
    case 'array':
      return 'maxItems' in node ? undefined : 'a list without a maximum'
    case 'integer':
    case 'number':
      return 'minimum' in node && 'maximum' in node ? undefined : 'a number without bounds'
    case 'object':
      return node['additionalProperties'] === false || 'maxProperties' in node ? undefined : 'an open object'
    case 'boolean':
      return undefined
    default:
      return `a node of type ${String(node['type'])}`
  }
}

const walk = (node: Node, path: string): string[] => {
  const why = findUnbounded(node)
  const properties = isNode(node['properties']) ? Object.entries(node['properties']) : []
  const variants: readonly unknown[] = Array.isArray(node[VARIANTS_MARK]) ? node[VARIANTS_MARK] : []
  const inside = [
    ...properties,
    ...variants.map((variant) => ['|', variant] as const),
    ['*', node['additionalProperties']] as const,
    ['[]', node['items']] as const,
  ]
  const found = inside.flatMap(([name, child]) => (isNode(child) ? walk(child, `${path}.${name}`) : []))
  return why === undefined ? found : [`${path}: ${why}`, ...found]
}

describe('invariant 14: everything has a limit', () => {
  test.each(OPERATION_NAMES)('every field of a %s request is bounded', (name) => {
    const schema: unknown = toContract(name).request
    expect(isNode(schema) && walk(schema, name)).toEqual([])
  })

  test('the walk finds what has no bound', () => {
    const open = {
      type: 'object',
      additionalProperties: false,
      properties: { a: { type: 'string' }, b: { type: 'array', maxItems: 1, items: { type: 'integer', minimum: 0 } } },
    }
    expect(walk(open, 'X')).toEqual(['X.a: a string without a maximum', 'X.b.[]: a number without bounds'])
  })
})
