import { describe, expect, test } from 'vitest'
import { OPERATION_NAMES } from '../../../schemas/registry.ts'
import { createClient, toMethodName } from '../../../src/client/client.ts'
import type { Call, ClientTransport } from '../../../src/client/clientTransport.ts'
import { KmsError, toKmsError } from '../../../src/client/kmsError.ts'
import { toPauseMs } from '../../../src/client/retry.ts'
import { LID } from '../../fixtures/scriptedDispatch.ts'

const RECEIPT = { seq: 1, index: 0, hash: '0'.repeat(64) }

/** A transport that fails with the given codes, one a call, then answers. */
const createFailing = (...codes: readonly string[]) => {
  const calls: Call[] = []
  const transport: ClientTransport = {
    send: async (call) => {
      const code = codes[calls.length]
      calls.push(call)
      if (code === undefined) return { receipt: RECEIPT }
      throw toKmsError({ error: { code, message: 'm', request_id: 'r', retryable: true } })
    },
    close: async () => undefined,
  }
  return { transport, calls }
}

describe('the client', () => {
  test('has a method for each operation', () => {
    const client = createClient({ transport: createFailing().transport, token: 't' })
    expect(Object.keys(client).sort()).toEqual([...OPERATION_NAMES.map(toMethodName), 'close'].sort())
  })

  test('retries what is retryable, with the same request and a fresh token', async () => {
    const { transport, calls } = createFailing('OVERLOADED', 'HSM_UNAVAILABLE')
    let tokens = 0
    const client = createClient({ transport, token: () => `t${tokens++}` })
    await client.encrypt({ key_id: LID, plaintext: new Uint8Array(1) })
    expect(calls.map(({ token }) => token)).toEqual(['t0', 't1', 't2'])
    expect(new Set(calls.map(({ request }) => JSON.stringify(request))).size).toBe(1)
  })

  test('gives up after its attempts, with the last error', async () => {
    const { transport, calls } = createFailing('OVERLOADED', 'OVERLOADED', 'OVERLOADED', 'OVERLOADED')
    const client = createClient({ transport, token: 't', attemptsMax: 2 })
    await expect(client.getLedgerHead()).rejects.toMatchObject({ code: 'OVERLOADED', requestId: 'r' })
    expect(calls).toHaveLength(2)
  })

  test('does not retry what is final', async () => {
    const { transport, calls } = createFailing('ACCESS_DENIED')
    await expect(createClient({ transport, token: 't' }).getLedgerHead()).rejects.toMatchObject({
      code: 'ACCESS_DENIED',
    })
    expect(calls).toHaveLength(1)
  })

  test('retries a change only with an idempotency key', async () => {
    const without = createFailing('LEDGER_UNAVAILABLE')
    await expect(
      createClient({ transport: without.transport, token: 't' }).createKey({ key_spec: 'AES_256' }),
    ).rejects.toMatchObject({ code: 'LEDGER_UNAVAILABLE' })
    expect(without.calls).toHaveLength(1)
    const keyed = createFailing('LEDGER_UNAVAILABLE')
    await createClient({ transport: keyed.transport, token: 't' }).createKey(
      { key_spec: 'AES_256' },
      { idempotencyKey: 'i' },
    )
    expect(keyed.calls.map(({ idempotencyKey }) => idempotencyKey)).toEqual(['i', 'i'])
  })

  test('ends at its deadline with TIMEOUT, and when its caller cancels with CANCELLED', async () => {
    const transport: ClientTransport = {
      send: ({ signal }) =>
        new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(new Error('aborted')))),
      close: async () => undefined,
    }
    const client = createClient({ transport, token: 't', timeoutMs: 20 })
    await expect(client.getLedgerHead()).rejects.toMatchObject({ code: 'TIMEOUT' })
    const controller = new AbortController()
    const cancelled = client.getLedgerHead({}, { signal: controller.signal, timeoutMs: 10_000 })
    controller.abort()
    await expect(cancelled).rejects.toMatchObject({ code: 'CANCELLED' })
  })

  test('refuses more calls in flight than its bound', async () => {
    let release = () => {}
    const held = new Promise<void>((resolve) => {
      release = resolve
    })
    const transport: ClientTransport = {
      send: async () => {
        await held
        return { receipt: RECEIPT }
      },
      close: async () => undefined,
    }
    const client = createClient({ transport, token: 't', inFlightMax: 1 })
    const first = client.getLedgerHead()
    await expect(client.getLedgerHead()).rejects.toMatchObject({ code: 'OVERLOADED' })
    release()
    await first
  })

  test('takes a reply without a receipt for no reply of this service', async () => {
    const transport: ClientTransport = { send: async () => ({}), close: async () => undefined }
    await expect(createClient({ transport, token: 't' }).getLedgerHead()).rejects.toMatchObject({
      code: 'MALFORMED_REPLY',
    })
  })
})

test('pauses double up to a bound and are random below it', () => {
  expect([1, 2, 3, 20].map((made) => toPauseMs(made, () => 1))).toEqual([50, 100, 200, 2_000])
  expect(toPauseMs(1, () => 0)).toBe(0)
})

test('an error body of another shape is MALFORMED_REPLY', () => {
  for (const body of [undefined, {}, { error: {} }, { error: { code: 'toString' } }, []]) {
    expect(toKmsError(body)).toBeInstanceOf(KmsError)
    expect(toKmsError(body).code).toBe('MALFORMED_REPLY')
  }
})
