import Type from 'typebox'
import { describe, expect, test } from 'vitest'
import { contract, Reply } from '../../../schemas/contract.ts'
import { Bytes, Fields } from '../../../schemas/primitives.ts'
import { OPERATION_NAMES, toContract } from '../../../schemas/registry.ts'
import { toExampleLine } from '../../../src/cli/example.ts'
import { type Flag, listReplyBytes, toFlags, toVerbName } from '../../../src/cli/flags.ts'
import { type ReadBytes, readFlags, type Typed } from '../../../src/cli/readFlags.ts'
import { ok } from '../../../src/core/result.ts'

const noFiles: ReadBytes = async () => ({ ok: false, error: 'no such file' })

const read = (operation: (typeof OPERATION_NAMES)[number], typed: Record<string, Typed>, files = noFiles) =>
  readFlags(toFlags(toContract(operation)), ({ field }: Flag) => typed[field] ?? { as: 'absent' }, files)

const text = (value: string): Typed => ({ as: 'text', text: value })
const list = (...texts: string[]): Typed => ({ as: 'list', texts })

describe('flags', () => {
  test('every field of every contract has a flag, and no two flags of a verb share a name', () => {
    for (const name of OPERATION_NAMES) {
      const flags = toFlags(toContract(name))
      expect(flags.map(({ field }) => field)).toEqual(Object.keys(Object(toContract(name).request).properties))
      expect(new Set(flags.map((flag) => flag.name)).size).toBe(flags.length)
    }
    expect(toVerbName(toContract('GenerateDataKeyWithoutPlaintext'))).toBe('generate-data-key-without-plaintext')
  })

  test('kinds and need follow the schema', () => {
    const kinds = Object.fromEntries(
      toFlags(toContract('CreateKey')).map(({ name, kind, isRequired }) => [name, `${kind}${isRequired ? '!' : ''}`]),
    )
    expect(kinds).toMatchObject({
      'key-spec': 'choice!',
      'key-usage': 'choice',
      description: 'text',
      tags: 'tags',
      attributes: 'attributes',
      'parent-key-id': 'text',
    })
    const encrypt = Object.fromEntries(toFlags(toContract('Encrypt')).map(({ name, kind }) => [name, kind]))
    expect(encrypt).toMatchObject({ plaintext: 'bytes', 'encryption-context': 'pairs' })
  })

  test('the items of a batch are a JSON array in a file or as text, with bytes where the contract says base64', async () => {
    const json = '[{"operation":"Encrypt","request":{"key_id":"alias/a","plaintext":"aGVsbG8="}}]'
    const asked = { operation: 'Encrypt', request: { key_id: 'alias/a', plaintext: Buffer.from('hello') } }
    const files: ReadBytes = async (path) => (path === 'ops.json' ? ok(Buffer.from(json)) : noFiles(path, 1))
    const fromText = await read('Batch', { operations: text(json) })
    expect(fromText.ok && fromText.value['operations']).toEqual([asked])
    const fromFile = await read('Batch', { operations: { as: 'file', path: 'ops.json' } }, files)
    expect(fromFile).toEqual(fromText)
    for (const [given, message] of [
      ['{}', '--operations must be a JSON array'],
      ['[1', '--operations is not strict JSON: a comma or a closing bracket is expected'],
    ] as const)
      expect(await read('Batch', { operations: text(given) })).toEqual({ ok: false, error: { kind: 'usage', message } })
    expect(await read('Batch', {})).toMatchObject({
      error: { message: 'one of --operations-file and --operations is needed' },
    })
  })

  test('a field without a form on a command line is found when the verb is derived', () => {
    const odd = contract({
      name: 'Odd',
      summary: 'Odd',
      effect: 'read',
      idempotent: false,
      routes: [{ method: 'GET', path: '/odd', status: 200 }],
      request: Fields({ odd: Type.Array(Type.Array(Type.String())) }),
      reply: Reply({}),
      codes: [],
      example: { request: {} },
    })
    expect(() => toFlags(odd)).toThrow('Odd.odd has no form on a command line')
  })

  test('byte fields of a reply are known by name', () => {
    expect(listReplyBytes(toContract('GenerateDataKey'))).toEqual(['plaintext_data_key', 'encrypted_data_key'])
    expect(listReplyBytes(toContract('DescribeKey'))).toEqual([])
  })
})

describe('reading flags', () => {
  test('text, pairs and bytes become the fields of the request', async () => {
    const request = await read('Encrypt', {
      key_id: text('alias/orders'),
      plaintext: text('héllo'),
      encryption_context: list('purpose=docs', 'formula=a=b', '__proto__=x'),
    })
    expect(request.ok && { ...request.value, encryption_context: undefined }).toEqual({
      key_id: 'alias/orders',
      plaintext: new Uint8Array(Buffer.from('héllo')),
      encryption_context: undefined,
    })
    const context = request.ok ? request.value['encryption_context'] : undefined
    expect(Object.entries(Object(context))).toEqual([
      ['purpose', 'docs'],
      ['formula', 'a=b'],
      ['__proto__', 'x'],
    ])
  })

  test('bytes come from a file or as base64', async () => {
    const files: ReadBytes = async (path) => ok(new Uint8Array(Buffer.from(`content of ${path}`)))
    const fromFile = await read('Encrypt', { key_id: text('k'), plaintext: { as: 'file', path: '-' } }, files)
    expect(fromFile.ok && fromFile.value['plaintext']).toEqual(new Uint8Array(Buffer.from('content of -')))
    const fromBase64 = await read('Encrypt', { key_id: text('k'), plaintext: { as: 'base64', text: 'AAEC' } })
    expect(fromBase64.ok && [...Object(fromBase64.value['plaintext'])]).toEqual([0, 1, 2])
  })

  test('attributes are pairs, or one strict JSON object', async () => {
    const pairs = await read('CreateKey', { key_spec: text('AES_256'), attributes: list('tenant=acme', 'n=1') })
    expect(pairs.ok && pairs.value['attributes']).toMatchObject({ tenant: 'acme', n: '1' })
    const json = await read('CreateKey', { key_spec: text('AES_256'), attributes: list('{"n":1,"in":["a"]}') })
    expect(json.ok && json.value['attributes']).toMatchObject({ n: 1, in: ['a'] })
    const twice = await read('CreateKey', { key_spec: text('AES_256'), attributes: list('{"n":1,"n":2}') })
    expect(twice).toMatchObject({ ok: false, error: { kind: 'usage' } })
  })

  test('tags keep their order', async () => {
    const made = await read('CreateKey', { key_spec: text('AES_256'), tags: list('b=2', 'a=') })
    expect(made.ok && made.value['tags']).toEqual([
      { key: 'b', value: '2' },
      { key: 'a', value: '' },
    ])
  })

  test('texts are a list, in the order they were typed', async () => {
    const made = await read('UntagResource', { key_id: text('k'), tag_keys: list('b', 'a=1', '{') })
    expect(made.ok && made.value['tag_keys']).toEqual(['b', 'a=1', '{'])
  })

  test.each<[string, Parameters<typeof read>[0], Record<string, Typed>, string]>([
    ['a key that is not given', 'DescribeKey', {}, 'a key is missing'],
    ['bytes that are not given', 'Encrypt', { key_id: text('k') }, '--plaintext-file'],
    ['a needed choice that is not given', 'CreateKey', {}, '--key-spec is needed'],
    ['a name that is not a choice', 'CreateKey', { key_spec: text('AES_512') }, 'must be one of AES_256'],
    ['a number that is none', 'GenerateRandom', { number_of_bytes: text('1e2') }, 'must be an integer'],
    ['base64 without padding', 'Encrypt', { key_id: text('k'), plaintext: { as: 'base64', text: 'AA' } }, 'base64'],
    [
      'a pair without =',
      'Encrypt',
      { key_id: text('k'), plaintext: text(''), encryption_context: list('a') },
      'key=value',
    ],
    [
      'a key of pairs twice',
      'Encrypt',
      { key_id: text('k'), plaintext: text(''), encryption_context: list('a=1', 'a=2') },
      'twice',
    ],
  ])('%s is a mistake that names its flag', async (_name, operation, typed, words) => {
    const request = await read(operation, typed)
    expect(request.ok ? '' : request.error.kind).toBe('usage')
    expect(request.ok ? '' : request.error.message).toContain(words)
  })

  test('a file that cannot be read is not the mistake of the command line', async () => {
    const request = await read('Encrypt', { key_id: text('k'), plaintext: { as: 'file', path: 'x' } })
    expect(request).toEqual({ ok: false, error: { kind: 'io', message: '--plaintext-file: no such file' } })
  })
})

describe('examples', () => {
  test('a line for each contract, with keys as variables and foreign bytes as files', () => {
    expect(toExampleLine(toContract('Verify'))).toBe(
      'chatelaine verify "$KEY" --message hello --signature-file signature.bin',
    )
    expect(toExampleLine(toContract('ReEncrypt'))).toContain('--destination-key-id "$DESTINATION_KEY"')
    expect(toExampleLine(toContract('UntagResource'))).toBe('chatelaine untag-resource "$KEY" --tag-keys team')
    expect(toExampleLine(toContract('CreateKey'))).toContain("--description 'orders database'")
    expect(toExampleLine(toContract('GenerateDataKey'))).toContain('--plaintext-data-key-out plaintext-data-key.bin')
  })

  test('what a shell would read as its own is quoted', () => {
    const odd = contract({
      name: 'Odd',
      summary: 'Odd',
      effect: 'read',
      idempotent: false,
      routes: [{ method: 'GET', path: '/odd', status: 200 }],
      request: Fields({ note: Type.String(), data: Bytes(0, 9) }),
      reply: Reply({}),
      codes: [],
      example: { request: { note: "it's $HOME", data: new Uint8Array([0]) } },
    })
    expect(toExampleLine(odd)).toBe(`chatelaine odd --note 'it'\\''s $HOME' --data-file data.bin`)
  })
})
