import { describe, expect, test } from 'vitest'
import { CONTRACTS, isBatchable, OPERATION_NAMES } from '../../../schemas/registry.ts'
import { findByteFields, readByteFields, writeByteFields } from '../../../src/core/byteFields.ts'
import { encodeMsgpack } from '../../../src/core/encodeMsgpack.ts'
import { decodeBody, encodeBody } from '../../../src/core/wire.ts'
import { createCodecs } from '../../../src/transport/codec.ts'

const codec = createCodecs().get('Batch')
const decode = (contentType: string, bytes: Uint8Array) => {
  const decoded = codec?.decode({ contentType, bytes })
  if (!decoded?.ok) throw new Error(decoded?.error.message)
  return decoded.value
}
const BYTES = Buffer.from('hello')
const operations = [
  { operation: 'Encrypt', request: { key_id: 'alias/a', plaintext: BYTES, encryption_context: { a: 'b' } } },
  { operation: 'Verify', request: { key_id: 'alias/a', message: BYTES, signature: BYTES } },
]

describe('bytes in the items of a batch', () => {
  test('are base64 in JSON and raw in MessagePack, by the contract of each item', () => {
    const request = findByteFields(CONTRACTS.Batch.request)
    const json = encodeBody({ operations }, { format: 'json', byteFields: request })
    expect(JSON.parse(json.toString()).operations[0].request.plaintext).toBe('aGVsbG8=')
    const plain = (value: unknown) => JSON.parse(JSON.stringify(value))
    expect(plain(decode('application/json', json))).toEqual(plain({ operations }))
    expect(plain(decode('application/msgpack', encodeMsgpack({ operations })))).toEqual(plain({ operations }))
  })

  test('stay text where they are not base64, and spoil neither their item nor another', () => {
    const text = JSON.stringify({
      operations: [
        { operation: 'Encrypt', request: { key_id: 'alias/a', plaintext: '*' } },
        { operation: 'Nothing', request: { plaintext: 'aGVsbG8=' } },
        { operation: 7, request: 8 },
        9,
        { operation: 'Encrypt', request: { key_id: 'alias/a', plaintext: 'aGVsbG8=' } },
      ],
    })
    expect(decode('application/json', Buffer.from(text))).toEqual({
      operations: [
        { operation: 'Encrypt', request: { key_id: 'alias/a', plaintext: '*' } },
        { operation: 'Nothing', request: { plaintext: 'aGVsbG8=' } },
        { operation: 7, request: 8 },
        9,
        { operation: 'Encrypt', request: { key_id: 'alias/a', plaintext: BYTES } },
      ],
    })
  })

  test('of a reply survive JSON, and only a result that names its operation has any', () => {
    const fields = findByteFields(CONTRACTS.Batch.reply)
    if (fields === undefined) throw new Error('the reply of a batch has bytes')
    const receipt = { seq: 1, index: 0, hash: '0'.repeat(64) }
    const results = [
      { ok: true, operation: 'GenerateRandom', reply: { random_bytes: BYTES, receipt } },
      { ok: false, error: { code: 'KEY_NOT_FOUND', message: 'there is no such key', retryable: false } },
    ]
    const text = JSON.stringify(writeByteFields(fields, { results, receipt }))
    expect(text).toContain('"random_bytes":"aGVsbG8="')
    const decoded = decodeBody(Buffer.from(text), { format: 'json', byteFields: fields, names: new Set() })
    expect(decoded.ok && readByteFields(fields, {}).ok && decoded.value['results']).toEqual(results)
  })

  test('can be of each operation that uses a key, and of no other', () => {
    const batchable = OPERATION_NAMES.filter(isBatchable)
    expect(batchable).toEqual(OPERATION_NAMES.filter((name) => CONTRACTS[name].effect === 'use' && name !== 'Batch'))
    expect(isBatchable('Batch')).toBe(false)
    expect(batchable).toContain('GenerateDataKeyWithoutPlaintext')
  })
})
