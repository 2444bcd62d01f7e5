import { describe, expect, test } from 'vitest'
import { OPERATION_NAMES, type OperationName, toContract } from '../../../schemas/registry.ts'
import type { Outgoing } from '../../../src/core/request.ts'
import { toFieldSchemas } from '../../../src/core/route.ts'
import { createRequests } from '../../fixtures/everyOperation.ts'
import { createPipelineStack, toCode } from '../../fixtures/pipelineStack.ts'

type Fields = Readonly<Record<string, unknown>>

const CHANGES = OPERATION_NAMES.filter((name) => toContract(name).effect === 'change')
const REPEATABLE = CHANGES.filter((name) => toContract(name).idempotent)

/** Changes that take no idempotency key, and why not. */
const NOT_REPEATABLE: { readonly [N in OperationName]?: string } = {
  GetKeyMaterial: 'its reply holds what the HSM made and no view does',
  GetParametersForImport: 'its reply holds a secret',
}

/** Another request about the same thing, where `if_revision` makes none; nothing if there is none: the name is all. */
const OTHERS: { readonly [N in OperationName]?: Fields | undefined } = {
  CreateKey: { description: 'another' },
  ImportKey: { description: 'another' },
  CreateAlias: { target_key_id: 'alias/pointed' },
  UpdateAlias: { target_key_id: 'alias/pointed' },
  DeleteAlias: undefined,
  AcknowledgeRotationJob: undefined,
  CompleteRotationJob: undefined,
  FailRotationJob: { reason: 'another' },
  CreateHsmConnection: { scope_owner: 'another' },
  DeleteHsmConnection: undefined,
}

const toOther = (name: OperationName, body: Fields): Fields | undefined => {
  if (Object.hasOwn(OTHERS, name)) return OTHERS[name] && { ...body, ...OTHERS[name] }
  if ('if_revision' in toFieldSchemas(toContract(name))) return { ...body, if_revision: 999 }
  throw new Error(`${name} is repeatable: say in this test what another request of it is`)
}

const SENT = { idempotencyKey: 'once' }

const toBody = (outgoing: Outgoing): Fields => {
  if (!outgoing.ok) throw new Error(`${outgoing.error.code} ${outgoing.error.message}`)
  const { receipt: _own, ...body } = outgoing.body
  return body
}

test('every operation that changes state takes an idempotency key, or says why not; no other does', () => {
  const refusing = CHANGES.filter((name) => !REPEATABLE.includes(name))
  expect(refusing).toEqual(Object.keys(NOT_REPEATABLE).sort())
  const taking = OPERATION_NAMES.filter((name) => toContract(name).idempotent)
  expect(taking).toEqual(REPEATABLE)
})

describe.each(REPEATABLE)('%s with an idempotency key', (name) => {
  test('is carried out once, and a repetition is answered as the first was', async () => {
    await using stack = await createPipelineStack()
    const request = (await createRequests(stack))[name]
    const first = toBody(await stack.send(name, request(), SENT))
    const { length } = stack.hsm.calls
    const from = stack.ports.events.length
    expect(toBody(await stack.send(name, request(), SENT))).toEqual(first)
    expect(stack.ports.events.slice(from).map(({ type }) => type)).toEqual(['RequestReplayed'])
    expect(stack.hsm.calls.length).toBe(length)
  })

  test('sent twice at once is carried out once, and both get its answer', async () => {
    await using stack = await createPipelineStack()
    const request = (await createRequests(stack))[name]
    const from = stack.ports.events.length
    const both = await Promise.all([stack.send(name, request(), SENT), stack.send(name, request(), SENT)])
    expect(toBody(both[0])).toEqual(toBody(both[1]))
    const claims = stack.ports.events.slice(from).filter(({ data }) => 'idempotency' in data)
    expect(claims.length).toBe(1)
  })

  test('and another body is a conflict, and changes nothing', async () => {
    await using stack = await createPipelineStack()
    const request = (await createRequests(stack))[name]
    const other = toOther(name, request())
    if (other === undefined) return
    toBody(await stack.send(name, request(), SENT))
    const from = stack.ports.events.length
    expect(toCode(await stack.send(name, other, SENT))).toBe('IDEMPOTENCY_CONFLICT')
    expect(stack.ports.events.slice(from).map(({ type }) => type)).toEqual(['OperationFailed'])
  })

  test('is asked about and denied like any other request when it is repeated', async () => {
    await using stack = await createPipelineStack()
    const request = (await createRequests(stack))[name]
    toBody(await stack.send(name, request(), SENT))
    stack.pdp.script('deny')
    expect(toCode(await stack.send(name, request(), SENT))).toBe('ACCESS_DENIED')
  })
})
