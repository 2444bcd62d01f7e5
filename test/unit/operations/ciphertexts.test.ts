import { describe, expect, test } from 'vitest'
import { encodeHeader } from '../../../src/core/ciphertext.ts'
import { toLid } from '../../../src/core/lid.ts'
import { lidOf } from '../../fixtures/history.ts'
import { createPipelineStack, type PipelineStack, toCode } from '../../fixtures/pipelineStack.ts'

const CONTEXT = { purpose: 'test' }
const hello = () => Buffer.from('hello')

const seal = async (stack: PipelineStack, key_id: string) =>
  Buffer.from(
    (await stack.succeed('Encrypt', { key_id, plaintext: hello(), encryption_context: CONTEXT })).ciphertext_blob,
  )

interface Sealed {
  readonly blob: Buffer
  readonly key: string
  readonly other: string
  readonly signing: string
}

const flip = (blob: Buffer, at: number): Buffer => {
  const bytes = Buffer.from(blob)
  const index = at < 0 ? bytes.length + at : at
  bytes[index] = (bytes[index] ?? 0) ^ 1
  return bytes
}

const rename = (blob: Buffer, lid: string, version = 1): Buffer =>
  Buffer.concat([
    encodeHeader({ spec: 'AES_256', lid: toLid(Buffer.from(lid.slice(4), 'hex')), version }),
    blob.subarray(80),
  ])

/** Everything that must read the same to somebody who probes. */
const UNREADABLE: Readonly<Record<string, (sealed: Sealed) => object>> = {
  'one byte': () => ({ ciphertext_blob: Buffer.of(1) }),
  'no bytes of ours': () => ({ ciphertext_blob: Buffer.alloc(200, 7) }),
  'a header alone': ({ blob }) => ({ ciphertext_blob: blob.subarray(0, 80) }),
  'one byte less': ({ blob }) => ({ ciphertext_blob: blob.subarray(0, -1) }),
  'one byte more': ({ blob }) => ({ ciphertext_blob: Buffer.concat([blob, Buffer.of(0)]) }),
  'another magic': ({ blob }) => ({ ciphertext_blob: flip(blob, 0) }),
  'another header version': ({ blob }) => ({ ciphertext_blob: flip(blob, 4) }),
  'another algorithm': ({ blob }) => ({ ciphertext_blob: flip(blob, 6) }),
  'a reserved byte': ({ blob }) => ({ ciphertext_blob: flip(blob, 79) }),
  'another nonce': ({ blob }) => ({ ciphertext_blob: flip(blob, 80) }),
  'another ciphertext': ({ blob }) => ({ ciphertext_blob: flip(blob, 92) }),
  'another tag': ({ blob }) => ({ ciphertext_blob: flip(blob, -1) }),
  'an unknown key': ({ blob }) => ({ ciphertext_blob: rename(blob, lidOf(9)) }),
  'another key': ({ blob, other }) => ({ ciphertext_blob: rename(blob, other) }),
  'a key that signs': ({ blob, signing }) => ({ ciphertext_blob: rename(blob, signing) }),
  'an unknown version': ({ blob, key }) => ({ ciphertext_blob: rename(blob, key, 2) }),
  'version 0': ({ blob, key }) => ({ ciphertext_blob: rename(blob, key, 0) }),
  'a key that the caller names and the blob does not': ({ blob, other }) => ({ ciphertext_blob: blob, key_id: other }),
  'an alias that is not there': ({ blob }) => ({ ciphertext_blob: blob, key_id: 'alias/none' }),
  'no context': ({ blob }) => ({ ciphertext_blob: blob, encryption_context: {} }),
  'another context': ({ blob }) => ({ ciphertext_blob: blob, encryption_context: { purpose: 'Test' } }),
  'more context': ({ blob }) => ({ ciphertext_blob: blob, encryption_context: { ...CONTEXT, more: '' } }),
}

const setUp = async (stack: PipelineStack): Promise<Sealed> => {
  const key = await stack.createKey()
  const [other, signing] = [await stack.createKey(), await stack.createKey({ key_spec: 'ED25519' })]
  return { blob: await seal(stack, key), key, other, signing }
}

/** Copies, since the pipeline zeroes what it was given. */
const copied = (body: object) =>
  Object.fromEntries(
    Object.entries(body).map(([name, value]) => [name, value instanceof Uint8Array ? Uint8Array.from(value) : value]),
  )

describe('Decrypt', () => {
  test('opens what was sealed, with or without the key named', async () => {
    await using stack = await createPipelineStack()
    const { blob, key } = await setUp(stack)
    for (const named of [{}, { key_id: key }]) {
      const body = copied({ ciphertext_blob: blob, encryption_context: CONTEXT, ...named })
      const reply = await stack.succeed('Decrypt', body)
      expect(Buffer.from(reply.plaintext).toString()).toBe('hello')
      expect([reply.key_id, reply.key_version]).toEqual([key, 1])
    }
  })

  test('is no oracle: whatever is wrong with a ciphertext reads the same', async () => {
    await using stack = await createPipelineStack()
    const sealed = await setUp(stack)
    const answers: Record<string, string> = {}
    const texts = new Set<string>()
    for (const [what, damage] of Object.entries(UNREADABLE)) {
      const outgoing = await stack.send('Decrypt', copied({ encryption_context: CONTEXT, ...damage(sealed) }))
      answers[what] = toCode(outgoing)
      if (!outgoing.ok) texts.add(outgoing.error.message)
    }
    expect(answers).toEqual(Object.fromEntries(Object.keys(UNREADABLE).map((what) => [what, 'INVALID_CIPHERTEXT'])))
    expect(texts.size).toBe(1)
  })

  test('says denied before anything about the ciphertext or its key', async () => {
    await using stack = await createPipelineStack()
    const sealed = await setUp(stack)
    stack.pdp.script('deny')
    for (const what of ['an unknown key', 'another tag', 'another key', 'another context', 'an unknown version'])
      expect(
        toCode(await stack.send('Decrypt', copied({ encryption_context: CONTEXT, ...UNREADABLE[what]?.(sealed) }))),
      ).toBe('ACCESS_DENIED')
  })

  test('says that a locked key is locked before it tries anything', async () => {
    await using stack = await createPipelineStack()
    const sealed = await setUp(stack)
    await stack.succeed('DisableKey', { key_id: sealed.key })
    const before = stack.hsm.calls.length
    for (const what of ['another tag', 'another context', 'an unknown version'])
      expect(
        toCode(await stack.send('Decrypt', copied({ encryption_context: CONTEXT, ...UNREADABLE[what]?.(sealed) }))),
      ).toBe('KEY_NOT_USABLE')
    expect(stack.hsm.calls.length).toBe(before)
  })

  test('reads nothing below the minimum version, and says so before any decryption is tried', async () => {
    await using stack = await createPipelineStack()
    const { blob, key } = await setUp(stack)
    const before = stack.hsm.calls.length
    stack.ports.faults.view = (view) => {
      const byLid = view.keys.byLid.update(key, (record) => record && { ...record, minDecryptionVersion: 2 })
      return { ...view, keys: { ...view.keys, byLid } }
    }
    const sent = { ciphertext_blob: Uint8Array.from(blob), encryption_context: CONTEXT }
    expect(toCode(await stack.send('Decrypt', sent))).toBe('KEY_NOT_USABLE')
    expect(stack.hsm.calls.length).toBe(before)
  })
})

describe('ReEncrypt', () => {
  test('moves a plaintext to another key and context', async () => {
    await using stack = await createPipelineStack()
    const { blob, other } = await setUp(stack)
    const moved = await stack.succeed('ReEncrypt', {
      ciphertext_blob: Uint8Array.from(blob),
      source_encryption_context: CONTEXT,
      destination_key_id: other,
      destination_encryption_context: { purpose: 'moved' },
    })
    const opened = await stack.succeed('Decrypt', {
      ciphertext_blob: Uint8Array.from(moved.ciphertext_blob),
      encryption_context: { purpose: 'moved' },
    })
    expect(Buffer.from(opened.plaintext).toString()).toBe('hello')
    expect(opened.key_id).toBe(other)
  })

  test('is no oracle about its source, and open about its destination', async () => {
    await using stack = await createPipelineStack()
    const sealed = await setUp(stack)
    const { blob, other, signing } = sealed
    for (const [what, damage] of Object.entries(UNREADABLE)) {
      const { encryption_context: source_encryption_context = CONTEXT, ...rest } = {
        encryption_context: undefined,
        ...damage(sealed),
      }
      const body = copied({ source_encryption_context, destination_key_id: other, ...rest })
      expect([what, toCode(await stack.send('ReEncrypt', body))]).toEqual([what, 'INVALID_CIPHERTEXT'])
    }
    const to = async (destination_key_id: string) =>
      toCode(
        await stack.send(
          'ReEncrypt',
          copied({ ciphertext_blob: blob, source_encryption_context: CONTEXT, destination_key_id }),
        ),
      )
    expect(await to(lidOf(9))).toBe('KEY_NOT_FOUND')
    expect(await to(signing)).toBe('INVALID_REQUEST')
  })
})

describe('GenerateDataKey', () => {
  test.each([
    [{}, 32],
    [{ key_spec: 'AES_256' }, 32],
    [{ key_spec: 'AES_128' }, 16],
    [{ number_of_bytes: 1 }, 1],
    [{ number_of_bytes: 1024 }, 1024],
  ])('for %j gives the key in plain and sealed', async (wanted, bytes) => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey()
    const made = await stack.succeed('GenerateDataKey', { key_id, ...wanted })
    const opened = await stack.succeed('Decrypt', { ciphertext_blob: Uint8Array.from(made.encrypted_data_key) })
    expect(made.plaintext_data_key).toHaveLength(bytes)
    expect(Buffer.from(opened.plaintext).equals(Buffer.from(made.plaintext_data_key))).toBe(true)
    const sealed = await stack.succeed('GenerateDataKeyWithoutPlaintext', { key_id, ...wanted })
    expect((await stack.succeed('Decrypt', { ciphertext_blob: sealed.encrypted_data_key })).plaintext).toHaveLength(
      bytes,
    )
    expect(Object.keys(sealed)).not.toContain('plaintext_data_key')
  })

  test('takes a spec or a number of bytes, not both', async () => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey()
    const both = { key_id, key_spec: 'AES_256', number_of_bytes: 32 }
    expect(toCode(await stack.send('GenerateDataKey', both))).toBe('INVALID_REQUEST')
  })
})
