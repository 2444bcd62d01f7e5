import { expect, test } from 'vitest'
import { createValidate } from '../../../src/pipeline/validate.ts'
import { createCodecs } from '../../../src/transport/codec.ts'
import { createMalformedRequests } from '../../fixtures/malformed.ts'

const keyId = `lid_${'a'.repeat(64)}`
const validate = createValidate()
const codec = createCodecs().get('Encrypt')

test('each of 1,000 malformed requests is refused with the code and at the step that it is made for', () => {
  const wrong = createMalformedRequests(1_000, { keyId }).filter(({ contentType, body, code, refusedBy }) => {
    const decoded = codec?.decode({ contentType, bytes: body })
    if (decoded === undefined) return true
    if (refusedBy === 'decoding') return decoded.ok || decoded.error.code !== code
    if (!decoded.ok) return true
    const validated = validate('Encrypt', decoded.value)
    return validated.ok || validated.error.code !== code
  })
  expect(wrong.map(({ title, body }) => `${title}: ${Buffer.from(body.subarray(0, 120)).toString()}`)).toEqual([])
})

test('the same requests without their malformation are taken', () => {
  const body = Buffer.from(JSON.stringify({ key_id: keyId, plaintext: 'aGVsbG8=', encryption_context: { a: 'ü' } }))
  const decoded = codec?.decode({ contentType: 'application/json', bytes: body })
  expect(decoded).toMatchObject({ ok: true })
  if (decoded?.ok) expect(validate('Encrypt', decoded.value)).toMatchObject({ ok: true })
})

test('no message of a refusal quotes the request', () => {
  const marker = 'MARKERMARKER'
  const bodies = [
    `{"key_id":"${marker}","${marker}":1,"${marker}":2}`,
    `{"encryption_context":{"${marker}":"\\ud800"}}`,
    `{"plaintext":"${marker}!"}`,
    `{"${marker}":1.5}`,
    `{"${marker}`,
    marker,
  ]
  for (const text of bodies) {
    const decoded = codec?.decode({ contentType: undefined, bytes: Buffer.from(text) })
    expect(decoded?.ok).toBe(false)
    expect(JSON.stringify(decoded)).not.toContain(marker)
  }
})
