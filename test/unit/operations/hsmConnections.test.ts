import { describe, expect, test } from 'vitest'
import { LIMITS } from '../../../schemas/limits.ts'
import { toFakePlace } from '../../fixtures/fakeBackends.ts'
import { createPipelineStack, type PipelineStack, toCode } from '../../fixtures/pipelineStack.ts'

/** A request for a connection to a token of the double. */
const connect = (connection_id: string, more: object = {}) => {
  const { libPath: lib_path, tokenLabel: token_label, pinRef: pin_ref } = toFakePlace(`token-${connection_id}`)
  return { connection_id, pkcs11: { lib_path, token_label, pin_ref }, ...more }
}
const open = (stack: PipelineStack, id: string, more: object = {}) =>
  stack.succeed('CreateHsmConnection', connect(id, more))
const codeOf = async (answer: ReturnType<PipelineStack['send']>): Promise<string> => toCode(await answer)
const roundTrip = async (stack: PipelineStack, key_id: string): Promise<Uint8Array> => {
  const { ciphertext_blob } = await stack.succeed('Encrypt', { key_id, plaintext: Buffer.from('text') })
  return Uint8Array.from(ciphertext_blob)
}
const decrypt = async (stack: PipelineStack, ciphertext_blob: Uint8Array): Promise<string> => {
  const answer = await stack.send('Decrypt', { ciphertext_blob: Uint8Array.from(ciphertext_blob) })
  if (!answer.ok) return answer.error.code
  return Buffer.from((answer.body as { plaintext: Uint8Array }).plaintext).toString()
}

describe('an HSM connection', () => {
  test('is opened, shown, listed and deleted; its id is never used again', async () => {
    await using stack = await createPipelineStack()
    const { connection } = await open(stack, 'one', { scope_owner: 'alice' })
    expect(connection).toEqual({
      ...connect('one'),
      scope_owner: 'alice',
      status: 'HEALTHY',
      created_at: connection.created_at,
    })
    expect((await stack.succeed('GetHsmConnection', { connection_id: 'one' })).connection).toEqual(connection)
    await open(stack, 'a')
    const { items } = await stack.succeed('ListHsmConnections')
    expect(items.map(({ connection_id }) => connection_id)).toEqual(['a', 'one'])
    expect(await stack.succeed('DeleteHsmConnection', { connection_id: 'one' })).toMatchObject({ connection_id: 'one' })
    for (const operation of ['GetHsmConnection', 'GetHsmConnectionStatus', 'DeleteHsmConnection'] as const)
      expect(await codeOf(stack.send(operation, { connection_id: 'one' }))).toBe('NOT_FOUND')
    expect(await codeOf(stack.send('CreateHsmConnection', connect('one')))).toBe('ALREADY_EXISTS')
    expect((await stack.succeed('ListHsmConnections')).items).toHaveLength(1)
  })

  test('is listed page by page in order of its id', async () => {
    await using stack = await createPipelineStack()
    for (const id of ['c', 'a', 'b']) await open(stack, id)
    const first = await stack.succeed('ListHsmConnections', { max_results: 2 })
    const second = await stack.succeed('ListHsmConnections', { max_results: 2, cursor: first.next_cursor })
    expect([first.items, second.items].map((page) => page.map(({ connection_id }) => connection_id))).toEqual([
      ['a', 'b'],
      ['c'],
    ])
    expect(second.next_cursor).toBeUndefined()
  })

  test('is opened once by a repeated request, and shown to it after it was deleted', async () => {
    await using stack = await createPipelineStack()
    const sending = { idempotencyKey: 'once' }
    const first = await stack.succeed('CreateHsmConnection', connect('one'), sending)
    const again = await stack.succeed('CreateHsmConnection', connect('one'), sending)
    expect(again.connection).toEqual(first.connection)
    expect(stack.hsm.calls.filter((kind) => kind === 'openBackend')).toHaveLength(1)
    const changed = stack.send('CreateHsmConnection', connect('one', { scope_owner: 'bob' }), sending)
    expect(await codeOf(changed)).toBe('IDEMPOTENCY_CONFLICT')
    await stack.succeed('DeleteHsmConnection', { connection_id: 'one' })
    expect((await stack.succeed('CreateHsmConnection', connect('one'), sending)).connection.connection_id).toBe('one')
  })

  test.each<[string, object, string]>([
    ['a library that is not allowed', { lib_path: '/tmp/evil.so' }, 'INVALID_REQUEST'],
    ['a PIN by its path', { pin_ref: '../secret' }, 'INVALID_REQUEST'],
    ['a PIN whose name begins with a dot', { pin_ref: '..' }, 'INVALID_REQUEST'],
    ['a token that is not there', { token_label: 'absent' }, 'HSM_UNAVAILABLE'],
    ['a token with keys and no handle key', { token_label: 'token-planted' }, 'INVALID_REQUEST'],
    ['a label longer than tokens have', { token_label: 't'.repeat(33) }, 'INVALID_REQUEST'],
  ])('is refused for %s, and nothing stays open', async (_name, wrong, code) => {
    await using stack = await createPipelineStack()
    const request = connect('one')
    const answer = stack.send('CreateHsmConnection', { ...request, pkcs11: { ...request.pkcs11, ...wrong } })
    expect(await codeOf(answer)).toBe(code)
    expect(stack.hsm.status().map(({ backend }) => backend)).toEqual(['main'])
    expect((await stack.succeed('ListHsmConnections')).items).toEqual([])
    expect((await open(stack, 'one')).connection.status).toBe('HEALTHY')
  })

  test('cannot take the id or the token of another backend, nor be one too many', async () => {
    await using stack = await createPipelineStack()
    expect(await codeOf(stack.send('CreateHsmConnection', connect('main')))).toBe('ALREADY_EXISTS')
    await open(stack, 'one')
    expect(await codeOf(stack.send('CreateHsmConnection', connect('one')))).toBe('ALREADY_EXISTS')
    const { pkcs11 } = connect('one')
    expect(await codeOf(stack.send('CreateHsmConnection', { connection_id: 'two', pkcs11 }))).toBe('ALREADY_EXISTS')
    for (let n = 1; n < LIMITS.hsmConnectionsMax; n += 1) await open(stack, `more-${n}`)
    expect(await codeOf(stack.send('CreateHsmConnection', connect('last')))).toBe('INVALID_REQUEST')
  })

  test('is closed again when the ledger does not take its record', async () => {
    await using stack = await createPipelineStack()
    stack.ports.faults.append = ({ events: [event] }) =>
      event?.type === 'HsmConnectionCreated' ? { code: 'OVERLOADED', message: 'full' } : undefined
    expect(await codeOf(stack.send('CreateHsmConnection', connect('one')))).toBe('OVERLOADED')
    expect(stack.hsm.status().map(({ backend }) => backend)).toEqual(['main'])
  })

  test('is not deleted while a version that is not destroyed has its material there', async () => {
    await using stack = await createPipelineStack()
    await open(stack, 'one')
    const key_id = await stack.createKey({ backend_id: 'one' })
    expect(await codeOf(stack.send('DeleteHsmConnection', { connection_id: 'one' }))).toBe('KEY_HAS_DEPENDENTS')
    await stack.succeed('RotateKey', { key_id, backend_id: 'main' })
    expect(await codeOf(stack.send('DeleteHsmConnection', { connection_id: 'one' }))).toBe('KEY_HAS_DEPENDENTS')
    await stack.succeed('DestroyKeyVersion', { key_id, version: 1 })
    expect(await codeOf(stack.send('DeleteHsmConnection', { connection_id: 'one' }))).toBe('OK')
    expect(await codeOf(stack.send('Encrypt', { key_id, plaintext: Buffer.from('x') }))).toBe('OK')
  })

  test('shows its state, and so does a backend of the configuration', async () => {
    await using stack = await createPipelineStack()
    await open(stack, 'one')
    const statusOf = async (connection_id: string) =>
      (await stack.succeed('GetHsmConnectionStatus', { connection_id })).status
    expect([await statusOf('one'), await statusOf('main')]).toEqual(['HEALTHY', 'HEALTHY'])
    stack.hsm.setAway(true, 'one')
    expect([await statusOf('one'), await statusOf('main')]).toEqual(['DOWN', 'HEALTHY'])
  })
})

describe('keys on several backends', () => {
  test('are placed by backend_id, which is shown for the key and each version', async () => {
    await using stack = await createPipelineStack()
    await open(stack, 'one')
    const { key } = await stack.succeed('CreateKey', { key_spec: 'AES_256', backend_id: 'one' })
    expect([key.backend_id, key.key_versions.map(({ backend_id }) => backend_id)]).toEqual(['one', ['one']])
    expect(await codeOf(stack.send('CreateKey', { key_spec: 'AES_256', backend_id: 'none' }))).toBe('INVALID_REQUEST')
  })

  test('move by rotation, and what was encrypted before still decrypts where it was', async () => {
    await using stack = await createPipelineStack()
    await open(stack, 'one')
    const key_id = await stack.createKey({ backend_id: 'one' })
    const before = await roundTrip(stack, key_id)
    const { key } = await stack.succeed('RotateKey', { key_id, backend_id: 'main' })
    expect(key.backend_id).toBe('main')
    expect(key.key_versions.map(({ backend_id }) => backend_id)).toEqual(['one', 'main'])
    const after = await roundTrip(stack, key_id)
    expect([await decrypt(stack, before), await decrypt(stack, after)]).toEqual(['text', 'text'])
    stack.hsm.setAway(true, 'one')
    expect([await decrypt(stack, before), await decrypt(stack, after)]).toEqual(['HSM_UNAVAILABLE', 'text'])
    const next = await stack.succeed('RotateKey', { key_id })
    expect(next.key.backend_id).toBe('main')
    expect(await codeOf(stack.send('RotateKey', { key_id, backend_id: 'none' }))).toBe('INVALID_REQUEST')
  })

  test('leave a backend that is away by rotation, which needs only the new one', async () => {
    await using stack = await createPipelineStack()
    await open(stack, 'one')
    const key_id = await stack.createKey({ backend_id: 'one' })
    stack.hsm.setAway(true, 'one')
    expect(await codeOf(stack.send('RotateKey', { key_id }))).toBe('HSM_UNAVAILABLE')
    expect((await stack.succeed('RotateKey', { key_id, backend_id: 'main' })).new_version).toBe(2)
    expect(await decrypt(stack, await roundTrip(stack, key_id))).toBe('text')
  })

  test('re-encrypt from one to the other in one instruction that names both', async () => {
    await using stack = await createPipelineStack()
    await open(stack, 'one')
    const from = await stack.createKey({ backend_id: 'one' })
    const to = await stack.createKey()
    const blob = await roundTrip(stack, from)
    const calls = stack.hsm.calls.length
    const { ciphertext_blob } = await stack.succeed('ReEncrypt', { ciphertext_blob: blob, destination_key_id: to })
    expect(stack.hsm.calls.slice(calls)).toEqual(['reEncrypt'])
    expect(await decrypt(stack, ciphertext_blob)).toBe('text')
  })

  test('are placed on a connection with an owner by its owner alone, and used by everybody', async () => {
    await using stack = await createPipelineStack()
    await open(stack, 'one', { scope_owner: 'alice' })
    const key_id = await stack.createKey({ backend_id: 'one' })
    const own = await stack.createKey()
    const bob = { token: 'bob' }
    const create = { key_spec: 'AES_256', backend_id: 'one' }
    expect(await stack.send('CreateKey', create, bob)).toMatchObject({
      error: { code: 'INVALID_REQUEST', message: 'backend_id: there is no such backend' },
    })
    expect(await codeOf(stack.send('RotateKey', { key_id: own, backend_id: 'one' }, bob))).toBe('INVALID_REQUEST')
    expect(await codeOf(stack.send('Encrypt', { key_id, plaintext: Buffer.from('x') }, bob))).toBe('OK')
    // A key that is there already stays there, whoever rotates it.
    expect((await stack.succeed('RotateKey', { key_id }, bob)).key.backend_id).toBe('one')
    expect((await stack.succeed('RotateKey', { key_id: own, backend_id: 'one' })).key.backend_id).toBe('one')
  })

  test('are placed by routing rules only where their caller may place keys', async () => {
    await using stack = await createPipelineStack()
    await open(stack, 'one', { scope_owner: 'alice' })
    const rules = [{ match: { zone: 'vault' }, backend_id: 'one' }]
    await stack.succeed('RegisterNamespace', { name: 'shop', rules })
    const attributes = { zone: 'vault' }
    const routed = { key_spec: 'AES_256', namespace: 'shop', attributes }
    const explain = { namespace: 'shop', attributes }
    expect((await stack.succeed('CreateKey', routed)).key.backend_id).toBe('one')
    expect(await stack.succeed('ExplainRouting', explain)).toMatchObject({
      outcome: 'ALLOW',
      selected_backend_id: 'one',
    })
    const bob = { token: 'bob' }
    const made = stack.hsm.calls.filter((kind) => kind === 'generateKey').length
    expect(await stack.send('CreateKey', routed, bob)).toMatchObject({
      error: { code: 'INVALID_REQUEST', message: 'namespace: the backend that the routing rule names does not exist' },
    })
    expect(stack.hsm.calls.filter((kind) => kind === 'generateKey')).toHaveLength(made)
    const explained = await stack.succeed('ExplainRouting', explain, bob)
    expect(explained).toMatchObject({
      outcome: 'DENY',
      deny_reason: 'namespace: the backend that the routing rule names does not exist',
    })
    expect(explained).not.toHaveProperty('selected_backend_id')
  })

  test('that are being made are waited for by a deletion of their connection, which they then forbid', async () => {
    await using stack = await createPipelineStack()
    await open(stack, 'one')
    let deleting: Promise<string> | undefined
    stack.ports.faults.afterHsm = () => {
      deleting ??= codeOf(stack.send('DeleteHsmConnection', { connection_id: 'one' }))
    }
    expect(await codeOf(stack.send('CreateKey', { key_spec: 'AES_256', backend_id: 'one' }))).toBe('OK')
    expect(await deleting).toBe('KEY_HAS_DEPENDENTS')
    expect((await stack.succeed('ListHsmConnections')).items).toHaveLength(1)
  })

  test('whose record is refused are gone again before a deletion of their connection goes on', async () => {
    await using stack = await createPipelineStack()
    await open(stack, 'one')
    let deleting: Promise<string> | undefined
    stack.ports.faults.afterHsm = () => {
      deleting ??= codeOf(stack.send('DeleteHsmConnection', { connection_id: 'one' }))
    }
    stack.ports.faults.append = ({ events: [event] }) =>
      event?.type === 'KeyCreated' ? { code: 'OVERLOADED', message: 'full' } : undefined
    expect(await codeOf(stack.send('CreateKey', { key_spec: 'AES_256', backend_id: 'one' }))).toBe('OVERLOADED')
    expect(await deleting).toBe('OK')
    const { calls } = stack.ports
    expect(calls.indexOf('hsm destroyKey')).toBeLessThan(calls.indexOf('ledger HsmConnectionDeleted success'))
    expect(calls).toContain('hsm destroyKey')
  })

  test('are not begun while their connection is being deleted, so that no object outlives it', async () => {
    await using stack = await createPipelineStack()
    await open(stack, 'one')
    const key_id = await stack.createKey()
    const codes: string[] = []
    stack.ports.faults.append = async ({ events: [event] }) => {
      if (event?.type === 'HsmConnectionDeleted') {
        codes.push(await codeOf(stack.send('CreateKey', { key_spec: 'AES_256', backend_id: 'one' })))
        codes.push(await codeOf(stack.send('RotateKey', { key_id, backend_id: 'one' })))
        codes.push(await codeOf(stack.send('CreateKey', { key_spec: 'AES_256' })))
      }
      return undefined
    }
    const made = stack.hsm.calls.filter((kind) => kind === 'generateKey').length
    expect(await codeOf(stack.send('DeleteHsmConnection', { connection_id: 'one' }))).toBe('OK')
    expect(codes).toEqual(['REVISION_CONFLICT', 'REVISION_CONFLICT', 'OK'])
    expect(stack.hsm.calls.filter((kind) => kind === 'generateKey')).toHaveLength(made + 1)
    expect(await codeOf(stack.send('CreateKey', { key_spec: 'AES_256', backend_id: 'one' }))).toBe('INVALID_REQUEST')
  })

  test('can be made again on a connection whose deletion failed', async () => {
    await using stack = await createPipelineStack()
    await open(stack, 'one')
    stack.ports.faults.append = ({ events: [event] }) =>
      event?.type === 'HsmConnectionDeleted' ? { code: 'OVERLOADED', message: 'full' } : undefined
    expect(await codeOf(stack.send('DeleteHsmConnection', { connection_id: 'one' }))).toBe('OVERLOADED')
    expect(await codeOf(stack.send('CreateKey', { key_spec: 'AES_256', backend_id: 'one' }))).toBe('OK')
  })
})
