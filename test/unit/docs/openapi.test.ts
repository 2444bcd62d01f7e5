import Schema from 'typebox/schema'
import { describe, expect, test } from 'vitest'
import { toKebab, toSubject } from '../../../schemas/contract.ts'
import { ERRORS } from '../../../schemas/errors.ts'
import { LIMITS } from '../../../schemas/limits.ts'
import { CONTRACTS, OPERATION_NAMES, toContract } from '../../../schemas/registry.ts'
import { isRecord } from '../../../src/core/byteFields.ts'
import { toApiPage } from '../../../src/docs/api.ts'
import { toErrorsPage } from '../../../src/docs/errors.ts'
import { toJsonExample, toJsonSchema, toOperationSchemas } from '../../../src/docs/jsonSchema.ts'
import { toLimitsPage } from '../../../src/docs/limits.ts'
import { toCodes, toOpenApi, toOpenApiText } from '../../../src/docs/openapi.ts'

const at = (value: unknown, ...path: readonly string[]): unknown =>
  path.reduce<unknown>((node, name) => (isRecord(node) ? node[name] : undefined), value)

const document = toOpenApi('1.2.3')

describe('the OpenAPI document', () => {
  test.each(OPERATION_NAMES.flatMap((name) => CONTRACTS[name].routes.map((route) => ({ name, ...route }))))(
    'has $method $path of $name with its status, codes and path parameters',
    ({ name, method, path, status }) => {
      const template = `/v1${path.replace(':id', '{key_id}').replace(/:([a-z_]+)/g, '{$1}')}`
      const operation = at(document, 'paths', template, method.toLowerCase())
      expect(at(operation, 'responses', String(status))).toBeDefined()
      for (const code of toCodes(toContract(name))) {
        const described = at(operation, 'responses', String(ERRORS[code].status), 'description')
        expect(described).toContain(code)
      }
      const parameters = at(operation, 'parameters')
      const inPath = Array.isArray(parameters) ? parameters.filter((parameter) => at(parameter, 'in') === 'path') : []
      expect(inPath.map((parameter) => `{${at(parameter, 'name')}}`)).toEqual(template.match(/\{[a-z_]+\}/g) ?? [])
      if (method === 'GET') expect(at(operation, 'requestBody')).toBeUndefined()
    },
  )

  test('every reference in it leads somewhere', () => {
    const references = [...toOpenApiText('1.2.3').matchAll(/"\$ref": "#\/([^"]+)"/g)].map((match) => match[1] ?? '')
    expect(references.length).toBeGreaterThan(OPERATION_NAMES.length)
    for (const reference of references) expect(at(document, ...reference.split('/')), reference).toBeDefined()
  })

  test('operation ids are unique', () => {
    const ids = [...toOpenApiText('1').matchAll(/"operationId": "([^"]+)"/g)].map((match) => match[1])
    expect(new Set(ids).size).toBe(ids.length)
  })

  test('no mark of the internal byte type is left in it', () => {
    expect(toOpenApiText('1')).not.toMatch(/x-bytes/)
    expect(at(toJsonSchema(CONTRACTS.Encrypt.request), 'properties', 'plaintext')).toMatchObject({
      type: 'string',
      contentEncoding: 'base64',
      maxLength: Math.ceil(LIMITS.plaintextBytesMax / 3) * 4,
    })
  })
})

describe('examples', () => {
  test.each(OPERATION_NAMES)('that of %s fits its schema once the stand-ins are filled in', (name) => {
    const schema = toJsonSchema(CONTRACTS[name].request)
    const fields: unknown = at(schema, 'properties')
    const example = toJsonExample(toContract(name).example.request)
    for (const [field, value] of Object.entries(example))
      if (value === `<${field}>`) example[field] = 'A'.repeat(Number(at(fields, field, 'minLength') || 4))
    if (at(fields, 'key_id')) example['key_id'] = `lid_${'0'.repeat(64)}`
    expect(Schema.Compile(schema).Check(example)).toBe(true)
  })

  test('bytes that are only a stand-in are shown as one', () => {
    expect(toJsonExample({ signature: new Uint8Array(64), message: new TextEncoder().encode('hello') })).toEqual({
      signature: '<signature>',
      message: 'aGVsbG8=',
    })
  })
})

describe('the pages', () => {
  test('the error page has every code', () => {
    for (const [code, { status }] of Object.entries(ERRORS))
      expect(toErrorsPage()).toContain(`| \`${code}\` | ${status} |`)
  })

  test('the limits page has every limit, with sizes and times also in their largest whole unit', () => {
    const page = toLimitsPage()
    for (const name of Object.keys(LIMITS)) expect(page).toContain(`| \`${name}\` |`)
    expect(page).toContain('| `requestBytesMax` | 524288 | 512 KiB |')
    expect(page).toContain('| `requestDeadlineMs` | 30000 | 30 s |')
  })

  test.each(OPERATION_NAMES)('the reference has subject, routes and verb of %s', (name) => {
    const page = toApiPage()
    expect(page).toContain(`\`${toSubject(name)}\``)
    expect(page).toContain(`\`chatelaine ${toKebab(name)}\``)
    for (const { method, path } of CONTRACTS[name].routes) expect(page).toContain(`\`${method} /v1${path}\``)
  })

  test('there is one schema file for each operation', () => {
    expect([...toOperationSchemas().keys()]).toEqual(OPERATION_NAMES)
  })
})
