import { describe, expect, test } from 'vitest'
import { LIMITS } from '../../../schemas/limits.ts'
import type { ReplyBody } from '../../../schemas/registry.ts'
import { isZero } from '../../fixtures/everyOperation.ts'
import { failure } from '../../fixtures/outcomes.ts'
import { createPipelineStack, type PipelineStack, toCode } from '../../fixtures/pipelineStack.ts'

type Reply = ReplyBody<'Batch'>
type Fields = Readonly<Record<string, unknown>>

const encrypt = (key_id: string, text = 'hello') => ({
  operation: 'Encrypt',
  request: { key_id, plaintext: Buffer.from(text) },
})
const random = (number_of_bytes = 16) => ({ operation: 'GenerateRandom', request: { number_of_bytes } })
const repeat = <T>(count: number, make: (index: number) => T): T[] => Array.from({ length: count }, (_, at) => make(at))

const codesOf = ({ results }: Reply): string[] => results.map((result) => (result.ok ? 'OK' : result.error.code))
const receiptsOf = ({ results }: Reply) => results.flatMap((result) => (result.ok ? [result.reply.receipt] : []))
const bytesIn = (value: unknown): Uint8Array[] => {
  if (value instanceof Uint8Array) return [value]
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(bytesIn) : []
}

const run = async (stack: PipelineStack, operations: readonly unknown[]) => stack.succeed('Batch', { operations })

describe('a batch', () => {
  test('answers in the order of its items, each with a reply and a receipt of its own', async () => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey()
    const { ciphertext_blob } = await stack.succeed('Encrypt', { key_id, plaintext: Buffer.from('sealed') })
    const reply = await run(stack, [
      random(8),
      encrypt(key_id),
      { operation: 'Decrypt', request: { ciphertext_blob } },
      random(24),
    ])
    expect(reply.results.map((result) => (result.ok ? result.operation : result.error))).toEqual([
      'GenerateRandom',
      'Encrypt',
      'Decrypt',
      'GenerateRandom',
    ])
    const [first, , third, last] = reply.results
    expect(first?.ok && 'random_bytes' in first.reply && first.reply.random_bytes.length).toBe(8)
    expect(third?.ok && 'plaintext' in third.reply && Buffer.from(third.reply.plaintext).toString()).toBe('sealed')
    expect(last?.ok && 'random_bytes' in last.reply && last.reply.random_bytes.length).toBe(24)
    expect(new Set(receiptsOf(reply).map(({ seq, index }) => `${seq}/${index}`)).size).toBe(4)
  })

  test('of 100 encrypts is recorded in two commits: one for all items in their order, one for the batch', async () => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey()
    const reply = await run(
      stack,
      repeat(100, () => encrypt(key_id)),
    )
    const receipts = receiptsOf(reply)
    expect(receipts.map(({ index }) => index)).toEqual(repeat(100, (at) => at))
    expect([...new Set(receipts.map(({ seq }) => seq))]).toEqual([reply.receipt.seq - 1])
  })

  test('of the most items that it may hold is carried out, at most so many at once', async () => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey()
    let inside = 0
    let most = 0
    stack.ports.faults.hsm = async () => {
      inside += 1
      most = Math.max(most, inside)
      await new Promise((resolve) => setImmediate(resolve))
      inside -= 1
      return undefined
    }
    const reply = await run(
      stack,
      repeat(LIMITS.batchItemsMax, () => encrypt(key_id)),
    )
    expect(new Set(codesOf(reply))).toEqual(new Set(['OK']))
    expect(new Set(receiptsOf(reply).map(({ seq }) => seq)).size).toBe(1)
    expect(most).toBe(LIMITS.batchConcurrencyMax)
  })

  test.each([
    ['none', []],
    ['too many', repeat(LIMITS.batchItemsMax + 1, () => random())],
    ['what is no item', [random(), 'GenerateRandom']],
    ['an item with a field too many', [{ ...random(), colour: 'red' }]],
    ['an item whose request is no map', [{ operation: 'GenerateRandom', request: 'now' }]],
  ])('with %s is refused as a whole', async (_name, operations) => {
    await using stack = await createPipelineStack()
    const trace = await stack.trace('Batch', { operations })
    expect(trace).toEqual({ code: 'INVALID_REQUEST', calls: ['authn', 'ledger RequestRefused failed INVALID_REQUEST'] })
  })

  test('that is denied carries out nothing', async () => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey()
    stack.pdp.script(({ action }) => (action === 'kms:Batch' ? 'deny' : 'permit'))
    expect(await stack.trace('Batch', { operations: [encrypt(key_id)] })).toEqual({
      code: 'ACCESS_DENIED',
      calls: ['authn', 'pdp kms:Batch', 'ledger AccessDenied denied ACCESS_DENIED'],
    })
  })
})

describe('a bad item', () => {
  test('spoils no other: each is validated, authorized and recorded on its own', async () => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey()
    const forbidden = await stack.createKey()
    const signing = await stack.createKey({ key_spec: 'ED25519' })
    stack.pdp.script(({ resource }) => (resource.id === forbidden ? 'deny' : 'permit'))
    const from = stack.ports.events.length
    const reply = await run(stack, [
      encrypt(key_id),
      { operation: 'Encrypt', request: { key_id } },
      { operation: 'Encrypt', request: { key_id, plaintext: 'text' } },
      { operation: 'Batch', request: { operations: [random()] } },
      { operation: 'CreateKey', request: { key_spec: 'AES_256' } },
      { operation: 'Nothing', request: {} },
      encrypt(forbidden),
      encrypt(signing),
      encrypt(`lid_${'0'.repeat(64)}`),
      { operation: 'Decrypt', request: { ciphertext_blob: Buffer.alloc(200) } },
      random(),
    ])
    const codes = [
      'OK',
      ...repeat(5, () => 'INVALID_REQUEST'),
      'ACCESS_DENIED',
      'INVALID_REQUEST',
      'KEY_NOT_FOUND',
      'INVALID_CIPHERTEXT',
      'OK',
    ]
    expect(codesOf(reply)).toEqual(codes)
    const events = stack.ports.events.slice(from)
    expect(events.map(({ type, action, code }) => [type, action, code ?? 'OK'])).toEqual([
      ['DataEncrypted', 'kms:Encrypt', 'OK'],
      ['RequestRefused', 'kms:Encrypt', 'INVALID_REQUEST'],
      ['RequestRefused', 'kms:Encrypt', 'INVALID_REQUEST'],
      ['RequestRefused', 'kms:Batch', 'INVALID_REQUEST'],
      ['RequestRefused', 'kms:Batch', 'INVALID_REQUEST'],
      ['RequestRefused', 'kms:Batch', 'INVALID_REQUEST'],
      ['AccessDenied', 'kms:Encrypt', 'ACCESS_DENIED'],
      ['OperationFailed', 'kms:Encrypt', 'INVALID_REQUEST'],
      ['OperationFailed', 'kms:Encrypt', 'KEY_NOT_FOUND'],
      ['RequestRefused', 'kms:Decrypt', 'INVALID_CIPHERTEXT'],
      ['RandomGenerated', 'kms:GenerateRandom', 'OK'],
      ['BatchExecuted', 'kms:Batch', 'OK'],
    ])
    expect(new Set(events.map(({ request_id }) => request_id)).size).toBe(1)
    expect(events.at(-1)?.data).toEqual({ items: 11, failed: 9 })
    expect(reply.results[3]).toMatchObject({ ok: false, error: { retryable: false } })
  })

  test('that is one of very many is counted, not recorded, and still answered', async () => {
    await using stack = await createPipelineStack()
    const bad = { operation: 'GenerateRandom', request: { number_of_bytes: 0 } }
    const reply = await run(stack, [...repeat(40, () => bad), random()])
    expect(codesOf(reply)).toEqual([...repeat(40, () => 'INVALID_REQUEST'), 'OK'])
    const refused = stack.ports.events.filter(({ type }) => type === 'RequestRefused')
    expect(refused.length).toBe(LIMITS.refusalsRecordedPerPrincipalPerSecond)
  })

  test('whose HSM call fails or throws, or whose record the ledger refuses, leaves the others', async () => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey()
    let at = 0
    stack.ports.faults.hsm = () => {
      at += 1
      if (at === 2) throw new Error('a bug')
      return at === 1 ? failure('HSM_UNAVAILABLE') : undefined
    }
    stack.ports.faults.append = ({ events: [event] }) =>
      event?.type === 'RandomGenerated' ? failure('LEDGER_UNAVAILABLE') : undefined
    const reply = await run(stack, [encrypt(key_id), encrypt(key_id), encrypt(key_id), random()])
    expect(codesOf(reply)).toEqual(['HSM_UNAVAILABLE', 'INTERNAL', 'OK', 'LEDGER_UNAVAILABLE'])
  })

  test('that hangs holds the records of the others back for so long at most', async () => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey()
    let letGo: (none: undefined) => void = () => undefined
    const held = new Promise<undefined>((resolve) => {
      letGo = resolve
    })
    stack.ports.faults.hsm = ({ kind }) => (kind === 'random' ? held : undefined)
    const sent = run(stack, [encrypt(key_id), random(), encrypt(key_id)])
    const recorded = () => stack.ports.events.filter(({ type }) => type === 'DataEncrypted').length
    await expect.poll(() => stack.ports.calls.filter((call) => call.startsWith('hsm')).length).toBe(4)
    await stack.time.advance(LIMITS.batchGatherMs - 1)
    expect(recorded()).toBe(0)
    await stack.time.advance(1)
    expect(recorded()).toBe(2)
    letGo(undefined)
    const reply = await sent
    expect(codesOf(reply)).toEqual(['OK', 'OK', 'OK'])
    const [first, second, third] = receiptsOf(reply)
    expect(first?.seq).toBe(third?.seq)
    expect(second?.seq).toBeGreaterThan(first?.seq ?? 0)
  })
})

describe('the secrets of a batch', () => {
  const createSecrets = async (stack: PipelineStack): Promise<() => Fields> => {
    const key_id = await stack.createKey()
    const { ciphertext_blob } = await stack.succeed('Encrypt', { key_id, plaintext: Buffer.from('planted') })
    const sealed = Uint8Array.from(ciphertext_blob)
    return () => ({
      operations: [
        encrypt(key_id),
        { operation: 'Decrypt', request: { ciphertext_blob: Uint8Array.from(sealed) } },
        { operation: 'GenerateDataKey', request: { key_id } },
        random(),
        { operation: 'Encrypt', request: { key_id, plaintext: Buffer.from('x'), unknown: Buffer.from('planted') } },
      ],
    })
  }

  test('are zero once the transport has disposed of the reply', async () => {
    await using stack = await createPipelineStack()
    const body = (await createSecrets(stack))()
    const outgoing = await stack.send('Batch', body)
    if (!outgoing.ok) throw new Error(outgoing.error.code)
    const bytes = bytesIn(outgoing.body)
    expect(bytes.length).toBe(5)
    for (const each of bytes) expect(isZero(each)).toBe(false)
    outgoing.dispose()
    for (const each of bytes) expect(isZero(each)).toBe(true)
  })

  test.each(['LEDGER_UNAVAILABLE', 'throws'])(
    'are zero, as is the request, when the record of the batch %s',
    async (how) => {
      await using stack = await createPipelineStack()
      const body = (await createSecrets(stack))()
      const from = stack.ports.outputs.length
      stack.ports.faults.append = ({ events: [event] }) => {
        if (event?.action !== 'kms:Batch') return undefined
        if (how === 'throws') throw new Error('a bug')
        return failure('LEDGER_UNAVAILABLE')
      }
      expect((await stack.send('Batch', body)).ok).toBe(false)
      const computed = stack.ports.outputs.slice(from)
      expect(computed.length).toBeGreaterThanOrEqual(5)
      for (const { bytes } of computed) expect(isZero(bytes)).toBe(true)
      for (const bytes of bytesIn(body)) expect(isZero(bytes)).toBe(true)
    },
  )

  test('are zero when the caller goes away while the records are gathered; what was tried is recorded', async () => {
    await using stack = await createPipelineStack()
    const body = (await createSecrets(stack))()
    const caller = new AbortController()
    const from = [stack.ports.outputs.length, stack.ports.events.length] as const
    stack.ports.faults.hsm = ({ kind }) => (kind === 'random' ? void caller.abort() : undefined)
    expect(toCode(await stack.send('Batch', body, { signal: caller.signal }))).toBe('CANCELLED')
    for (const { bytes } of stack.ports.outputs.slice(from[0])) expect(isZero(bytes)).toBe(true)
    const recorded = stack.ports.events.slice(from[1]).filter(({ code }) => code === 'CANCELLED')
    expect(recorded.map(({ action }) => action).sort()).toEqual([
      'kms:Batch',
      'kms:Decrypt',
      'kms:Encrypt',
      'kms:GenerateDataKey',
      'kms:GenerateRandom',
    ])
  })
})

describe('the reply of a batch', () => {
  test('has room for so many bytes: what does not fit is an error of its item, and zeroed with the rest', async () => {
    await using stack = await createPipelineStack()
    const key_id = await stack.createKey()
    const operations = repeat(15, () => encrypt(key_id, 'x'.repeat(LIMITS.plaintextBytesMax)))
    const from = stack.ports.outputs.length
    const outgoing = await stack.send('Batch', { operations: [...operations, random()] })
    if (!outgoing.ok) throw new Error(outgoing.error.code)
    const codes = codesOf(outgoing.body as Reply)
    expect(codes.filter((code) => code === 'TOO_LARGE').length).toBeGreaterThan(0)
    // A small one that comes later still fits.
    expect(codes.at(-1)).toBe('OK')
    const text = JSON.stringify(outgoing.body, (_name, value) =>
      value?.type === 'Buffer' ? Buffer.from(value.data).toString('base64') : value,
    )
    expect(text.length).toBeLessThan(LIMITS.batchReplyBytesMax)
    outgoing.dispose()
    for (const { bytes } of stack.ports.outputs.slice(from)) expect(isZero(bytes)).toBe(true)
  })
})
