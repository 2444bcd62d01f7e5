import { describe, expect, test } from 'vitest'
import { checkGuard } from '../../../projections/guards.ts'
import { LIMITS } from '../../../schemas/limits.ts'
import { endImports } from '../../../src/operations/importsDue.ts'
import { bringKey, copyBytes } from '../../fixtures/everyOperation.ts'
import { toFakePlace } from '../../fixtures/fakeBackends.ts'
import { createPipelineStack, type PipelineStack, toCode } from '../../fixtures/pipelineStack.ts'
import { live } from '../../fixtures/virtualTime.ts'

const connect = (stack: PipelineStack, connection_id: string, more: object = {}) => {
  const { libPath: lib_path, tokenLabel: token_label, pinRef: pin_ref } = toFakePlace(`token-${connection_id}`)
  return stack.succeed('CreateHsmConnection', { connection_id, pkcs11: { lib_path, token_label, pin_ref }, ...more })
}

/** A namespace that puts keys of zone `vault` on the backend of that name, and all others under a parent. */
const createShop = async (stack: PipelineStack): Promise<string> => {
  const parent = await stack.createKey()
  await connect(stack, 'vault')
  await stack.succeed('RegisterNamespace', {
    name: 'shop',
    rules: [
      { match: { env: '*' }, parent },
      { match: { env: '*', zone: 'vault' }, parent, backend_id: 'vault' },
      { match: { env: 'sandbox' }, deny: 'no keys for sandboxes' },
    ],
  })
  return parent
}

const toMessage = async (stack: PipelineStack, body: Readonly<Record<string, unknown>>): Promise<string> => {
  const outgoing = await stack.send('ImportKey', copyBytes(body))
  return outgoing.ok ? 'OK' : `${outgoing.error.code} ${outgoing.error.message}`
}

describe('an imported key', () => {
  test('gets its parent by the rules of its namespace, is asked about with both, and recorded with the rule', async () => {
    await using stack = await createPipelineStack()
    const parent = await createShop(stack)
    const brought = { ...(await bringKey(stack)), namespace: 'shop', attributes: { env: 'prod' } }
    const from = stack.pdp.asked.length
    const { key } = await stack.succeed('ImportKey', brought)
    expect(key).toMatchObject({ parent_key_id: parent, namespace: 'shop', backend_id: 'main', origin: 'EXTERNAL' })
    expect(stack.pdp.asked.slice(from)).toMatchObject([
      { action: 'kms:ImportKey', context: { requested: { namespace: 'shop', has_parent: true } } },
      { action: 'kms:CreateChildKey', resource: { type: 'Key', id: parent } },
    ])
    expect(stack.ports.events.at(-1)).toMatchObject({
      type: 'KeyImported',
      data: { routing: { namespace: 'shop', by: { namespace: 'shop', version: 1, rule: 0 } } },
    })
  })

  test.each([
    ['no rule is for', {}, 'INVALID_REQUEST namespace: no rule is for a key with these attributes'],
    ['a rule refuses', { env: 'sandbox' }, 'INVALID_REQUEST namespace: a rule refuses the key: no keys for sandboxes'],
    [
      'the rules place on another backend than its wrapping key',
      { env: 'prod', zone: 'vault' },
      'INVALID_REQUEST namespace: a rule refuses the key: the rule places such keys on another backend',
    ],
  ])('that %s is refused without the HSM, and its token stays good', async (_what, attributes, message) => {
    await using stack = await createPipelineStack()
    await createShop(stack)
    const brought = await bringKey(stack)
    const { length } = stack.hsm.calls
    expect(await toMessage(stack, { ...brought, namespace: 'shop', attributes })).toBe(message)
    expect(stack.hsm.calls.length).toBe(length)
    expect(await toMessage(stack, brought)).toBe('OK')
  })

  test('is on the backend of its wrapping key, where the rules of its namespace want it', async () => {
    await using stack = await createPipelineStack()
    await createShop(stack)
    const brought = await bringKey(stack, { backend_id: 'vault' })
    const attributes = { env: 'prod', zone: 'vault' }
    const { key } = await stack.succeed('ImportKey', { ...brought, namespace: 'shop', attributes })
    expect(key).toMatchObject({ backend_id: 'vault', key_versions: [{ version: 1, backend_id: 'vault' }] })
    const { ciphertext_blob } = await stack.succeed('Encrypt', { key_id: key.key_id, plaintext: Buffer.from('x') })
    await stack.succeed('RotateKey', { key_id: key.key_id, backend_id: 'main' })
    const opened = await stack.succeed('Decrypt', { ciphertext_blob: Uint8Array.from(ciphertext_blob) })
    expect(Buffer.from(opened.plaintext).toString()).toBe('x')
  })
})

describe('the wrapping key of an import', () => {
  test('is on no HSM connection that is another’s, which reads like none at all', async () => {
    await using stack = await createPipelineStack()
    await connect(stack, 'hers', { scope_owner: 'alice' })
    const request = { key_spec: 'AES_256', backend_id: 'hers' }
    const refused = await stack.send('GetParametersForImport', request, { token: 'bob' })
    const unknown = await stack.send('GetParametersForImport', { ...request, backend_id: 'none' }, { token: 'bob' })
    expect(!refused.ok && !unknown.ok && refused.error.message).toBe(!unknown.ok && unknown.error.message)
    expect(toCode(refused)).toBe('INVALID_REQUEST')
    const { key } = await stack.succeed('ImportKey', await bringKey(stack, { backend_id: 'hers' }))
    expect(key.backend_id).toBe('hers')
  })

  test('keeps its HSM connection from being deleted until it is destroyed', async () => {
    await using stack = await createPipelineStack({}, [endImports])
    await connect(stack, 'vault')
    await bringKey(stack, { backend_id: 'vault', valid_seconds: 60 })
    expect(toCode(await stack.send('DeleteHsmConnection', { connection_id: 'vault' }))).toBe('KEY_HAS_DEPENDENTS')
    stack.pipeline.duties.start()
    await live(stack.time, 60_000 + 2 * LIMITS.dutyPollMs)
    await stack.pipeline.duties.stop()
    expect(toCode(await stack.send('DeleteHsmConnection', { connection_id: 'vault' }))).toBe('OK')
  })

  test('is one of a limited number, counted where its record enters the ledger', async () => {
    await using stack = await createPipelineStack()
    await bringKey(stack)
    const owner = stack.ledger.view().imports.byLid.first()?.principal
    if (owner === undefined) throw new Error('nobody asked')
    const check = (importsMax: number, ownMax: number, id = owner.id) =>
      checkGuard(stack.ledger.view(), { kind: 'importRoom', importsMax, ownMax, owner: { ...owner, id } })
    expect(check(2, 2)).toBeUndefined()
    expect(check(1, 2)).toMatchObject({ code: 'OVERLOADED' })
    expect(check(2, 1)).toMatchObject({ code: 'OVERLOADED', message: expect.stringContaining('you have 1') })
    // What one has open takes nothing from the others.
    expect(check(2, 1, 'somebody else')).toBeUndefined()
  })
})
