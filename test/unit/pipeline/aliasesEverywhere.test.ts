import { describe, expect, test } from 'vitest'
import { KeyId } from '../../../schemas/primitives.ts'
import { OPERATION_NAMES, type OperationName, toContract } from '../../../schemas/registry.ts'
import { isRecord } from '../../../src/core/byteFields.ts'
import { toFieldSchemas } from '../../../src/core/route.ts'
import { createRequests } from '../../fixtures/everyOperation.ts'
import { eventOf } from '../../fixtures/history.ts'
import { createPipelineStack, type PipelineStack, toCode } from '../../fixtures/pipelineStack.ts'

type Fields = Readonly<Record<string, unknown>>
type Requests = Awaited<ReturnType<typeof createRequests>>

const PATTERN: unknown = Reflect.get(KeyId, 'pattern')

/** Every field of every request that takes a key id. */
const PLACES = OPERATION_NAMES.flatMap((name) =>
  Object.entries(toFieldSchemas(toContract(name))).flatMap(([field, schema]) =>
    isRecord(schema) && schema['pattern'] === PATTERN ? [[name, field] as const] : [],
  ),
)

/** Keys for the fields that the ordinary request of an operation leaves out. */
const WITH: { readonly [N in OperationName]?: (requests: Requests) => Fields } = {
  Decrypt: ({ Encrypt }) => ({ key_id: Encrypt()['key_id'] }),
  ReEncrypt: ({ Encrypt }) => ({ key_id: Encrypt()['key_id'] }),
  ListKeys: ({ Encrypt }) => ({ parent: Encrypt()['key_id'] }),
}

/** A ciphertext names its key: whatever else the caller names must be that one, and all that is wrong reads the same. */
const UNKNOWN = (name: OperationName, field: string) =>
  field === 'key_id' && (name === 'Decrypt' || name === 'ReEncrypt') ? 'INVALID_CIPHERTEXT' : 'KEY_NOT_FOUND'

const ALIAS = 'alias/every/where'

/** A request that names the key of one field by an alias, the key's id, and the body with another alias there. */
const setUp = async (stack: PipelineStack, name: OperationName, field: string) => {
  const requests = await createRequests(stack)
  const body: Fields = { ...WITH[name]?.(requests), ...requests[name]() }
  const lid = body[field]
  if (typeof lid !== 'string') throw new Error(`${name}.${field} takes a key id: say which in this test`)
  await stack.succeed('CreateAlias', { alias_name: ALIAS, target_key_id: lid })
  return { lid, named: (alias: string): Fields => ({ ...body, [field]: alias }), other: await stack.createKey() }
}

/** Points the alias elsewhere at the last moment before the record. */
const moveBeforeRecord = (stack: PipelineStack, lid: string) => {
  stack.ports.faults.append = async ({ events: [event] }) => {
    if (event?.outcome !== 'success') return undefined
    stack.ports.faults.append = undefined
    const moved = eventOf('AliasUpdated', { name: ALIAS, lid })
    await stack.ledger.append({ events: [moved], guards: [], toFailed: () => moved }, new AbortController().signal)
    return undefined
  }
}

describe('an alias is accepted wherever a key id is', () => {
  test('fields that take a key id were found', () => {
    expect(PLACES).toEqual(
      expect.arrayContaining([
        ['CreateKey', 'parent_key_id'],
        ['ReEncrypt', 'destination_key_id'],
        ['ListKeys', 'parent'],
        ['ListAliases', 'key_id'],
        ['DescribeKey', 'key_id'],
      ]),
    )
  })

  test.each(PLACES)('as %s.%s, and stands for the key', async (name, field) => {
    await using stack = await createPipelineStack()
    const { lid, named } = await setUp(stack, name, field)
    const from = stack.pdp.asked.length
    expect(toCode(await stack.send(name, named(ALIAS)))).toBe('OK')
    expect(stack.pdp.asked.slice(from).map(({ resource }) => resource.id)).toContain(lid)
  })

  test.each(PLACES)('as %s.%s, and one that nobody made is no key', async (name, field) => {
    await using stack = await createPipelineStack()
    const { named } = await setUp(stack, name, field)
    expect(toCode(await stack.send(name, named('alias/none')))).toBe(UNKNOWN(name, field))
  })

  test.each(PLACES)(
    'as %s.%s, and moving it while the request is under way refuses the request',
    async (name, field) => {
      await using stack = await createPipelineStack()
      const { named, other } = await setUp(stack, name, field)
      moveBeforeRecord(stack, other)
      expect(toCode(await stack.send(name, named(ALIAS)))).toBe('REVISION_CONFLICT')
      expect(stack.ledger.view().aliases.byName.get(ALIAS)?.lid).toBe(other)
    },
  )
})
