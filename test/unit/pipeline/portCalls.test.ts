import { describe, expect, test } from 'vitest'
import { fail } from '../../../src/core/result.ts'
import { encrypt, hello, type Row, reEncrypt, timedOut } from '../../fixtures/outcomes.ts'
import { createPipelineStack, type PipelineStack, type Trace, toCode } from '../../fixtures/pipelineStack.ts'

const UNKNOWN = `lid_${'0'.repeat(64)}`

const ENDED_BEFORE_THE_PDP: readonly Row[] = [
  ['no credential', (stack) => stack.trace('GetLedgerHead', {}, { token: undefined }), 'UNAUTHENTICATED', ['authn']],
  [
    'a wrong credential',
    (stack) => stack.trace('GetLedgerHead', {}, { token: 'mallory' }),
    'UNAUTHENTICATED',
    ['authn'],
  ],
  [
    'a body that cannot be decoded',
    (stack) => stack.trace('GetLedgerHead', {}, { decode: () => fail('INVALID_REQUEST', 'not JSON') }),
    'INVALID_REQUEST',
    ['authn', 'ledger RequestRefused failed INVALID_REQUEST'],
  ],
  [
    'a body that is too large',
    (stack) => stack.trace('GetLedgerHead', {}, { decode: () => fail('TOO_LARGE', 'too large') }),
    'TOO_LARGE',
    ['authn', 'ledger RequestRefused failed TOO_LARGE'],
  ],
  [
    'decoding that throws',
    (stack) =>
      stack.trace(
        'GetLedgerHead',
        {},
        {
          decode: () => {
            throw new Error('a bug')
          },
        },
      ),
    'INTERNAL',
    ['authn', 'ledger OperationFailed failed INTERNAL'],
  ],
  [
    'a request that breaks its schema',
    (stack) => stack.trace('GetLedgerHead', { extra: 1 }),
    'INVALID_REQUEST',
    ['authn', 'ledger RequestRefused failed INVALID_REQUEST'],
  ],
  [
    'an idempotency key where none is taken',
    (stack) => stack.trace('GetLedgerHead', {}, { idempotencyKey: 'k' }),
    'INVALID_REQUEST',
    ['authn', 'ledger RequestRefused failed INVALID_REQUEST'],
  ],
  [
    'a malformed idempotency key',
    (stack) => stack.trace('CreateKey', { key_spec: 'AES_256' }, { idempotencyKey: 'two words' }),
    'INVALID_REQUEST',
    ['authn', 'ledger RequestRefused failed INVALID_REQUEST'],
  ],
  [
    'a ciphertext that no service wrote',
    (stack) => stack.trace('Decrypt', { ciphertext_blob: hello() }),
    'INVALID_CIPHERTEXT',
    ['authn', 'ledger RequestRefused failed INVALID_CIPHERTEXT'],
  ],
  [
    'the eleventh refusal of a principal within a second',
    async (stack) => {
      for (let n = 0; n < 10; n += 1) await stack.send('GetLedgerHead', { extra: n })
      return stack.trace('GetLedgerHead', { extra: 10 })
    },
    'INVALID_REQUEST',
    ['authn'],
  ],
  [
    'an instance that is not the writer',
    (stack) =>
      encrypt(stack, () => {
        stack.ports.faults.role = 'follower'
      }),
    'LEDGER_UNAVAILABLE',
    ['authn'],
  ],
  [
    'a new key while a commit is overdue',
    (stack) => {
      stack.ports.faults.overdue = true
      return stack.trace('CreateKey', { key_spec: 'AES_256' })
    },
    'LEDGER_UNAVAILABLE',
    ['authn'],
  ],
  [
    'a new key while the epoch key is past its bound',
    (stack) => {
      stack.ports.faults.expired = true
      return stack.trace('CreateKey', { key_spec: 'AES_256' })
    },
    'LEDGER_UNAVAILABLE',
    ['authn'],
  ],
  [
    'a caller that was gone before authorization',
    async (stack) => {
      const signal = AbortSignal.abort()
      return stack.trace('GenerateRandom', { number_of_bytes: 1 }, { signal })
    },
    'CANCELLED',
    ['authn', 'ledger OperationFailed failed CANCELLED'],
  ],
  [
    'a deadline that passed before authorization',
    (stack) => stack.trace('GenerateRandom', { number_of_bytes: 1 }, { signal: AbortSignal.abort(timedOut()) }),
    'TIMEOUT',
    ['authn', 'ledger OperationFailed failed TIMEOUT'],
  ],
]

const withPdp =
  (answer: Parameters<PipelineStack['pdp']['script']>[0]) =>
  (stack: PipelineStack): Promise<Trace> =>
    encrypt(stack, () => stack.pdp.script(answer))

const ENDED_BY_THE_PDP: readonly Row[] = [
  ...(['throw', 'hang', 'garbage'] as const).map(
    (answer): Row => [
      `a PDP that answers: ${answer}`,
      withPdp(answer),
      'PDP_UNAVAILABLE',
      ['authn', 'pdp kms:Encrypt', 'ledger AccessDenied denied PDP_UNAVAILABLE'],
    ],
  ),
  [
    'denied',
    withPdp('deny'),
    'ACCESS_DENIED',
    ['authn', 'pdp kms:Encrypt', 'ledger AccessDenied denied ACCESS_DENIED'],
  ],
  [
    'denied on a key that does not exist',
    (stack) => {
      stack.pdp.script('deny')
      return stack.trace('Encrypt', { key_id: UNKNOWN, plaintext: hello() })
    },
    'ACCESS_DENIED',
    ['authn', 'pdp kms:Encrypt', 'ledger AccessDenied denied ACCESS_DENIED'],
  ],
  [
    'permitted on a key that does not exist',
    (stack) => stack.trace('Encrypt', { key_id: UNKNOWN, plaintext: hello() }),
    'KEY_NOT_FOUND',
    ['authn', 'pdp kms:Encrypt', 'ledger OperationFailed failed KEY_NOT_FOUND'],
  ],
  [
    'denied on the first of two keys',
    (stack) => {
      stack.pdp.script(({ action }) => (action === 'kms:ReEncryptFrom' ? 'deny' : 'permit'))
      return reEncrypt(stack)
    },
    'ACCESS_DENIED',
    ['authn', 'pdp kms:ReEncryptFrom', 'ledger AccessDenied denied ACCESS_DENIED'],
  ],
  [
    'denied on the second of two keys',
    (stack) => {
      stack.pdp.script(({ action }) => (action === 'kms:ReEncryptTo' ? 'deny' : 'permit'))
      return reEncrypt(stack)
    },
    'ACCESS_DENIED',
    ['authn', 'pdp kms:ReEncryptFrom', 'pdp kms:ReEncryptTo', 'ledger AccessDenied denied ACCESS_DENIED'],
  ],
  [
    'denied on the parent of a new key',
    async (stack) => {
      const parent_key_id = await stack.createKey()
      stack.pdp.script(({ action }) => (action === 'kms:CreateChildKey' ? 'deny' : 'permit'))
      return stack.trace('CreateKey', { key_spec: 'AES_256', parent_key_id })
    },
    'ACCESS_DENIED',
    ['authn', 'pdp kms:CreateKey', 'pdp kms:CreateChildKey', 'ledger AccessDenied denied ACCESS_DENIED'],
  ],
  [
    'a caller that went away during authorization',
    async (stack) => {
      const key_id = await stack.createKey()
      const caller = new AbortController()
      stack.pdp.script(() => {
        caller.abort()
        return 'hang'
      })
      return stack.trace('Encrypt', { key_id, plaintext: hello() }, { signal: caller.signal })
    },
    'CANCELLED',
    ['authn', 'pdp kms:Encrypt', 'ledger OperationFailed failed CANCELLED'],
  ],
  [
    'a PDP that falls silent in the middle of a list',
    async (stack) => {
      await stack.createKey()
      stack.pdp.script(({ action }) => (action === 'kms:DescribeKey' ? 'throw' : 'permit'))
      return stack.trace('ListKeys')
    },
    'PDP_UNAVAILABLE',
    ['authn', 'pdp kms:ListKeys', 'pdp kms:DescribeKey', 'ledger AccessDenied denied PDP_UNAVAILABLE'],
  ],
]

describe.each([
  ['before the PDP', ENDED_BEFORE_THE_PDP],
  ['by the PDP', ENDED_BY_THE_PDP],
] as const)('port calls of a request that ends %s', (_where, rows) => {
  test.each(rows)('%s', async (_name, outcome, code, calls) => {
    await using stack = await createPipelineStack()
    expect(await outcome(stack)).toEqual({ code, calls })
  })
})

describe('the requests of a pipeline', () => {
  test('are counted for telemetry by their code', async () => {
    await using stack = await createPipelineStack()
    const codes = [
      toCode(await stack.send('GetLedgerHead')),
      toCode(await stack.send('GetLedgerHead', {}, { token: undefined })),
      toCode(await stack.send('GetLedgerHead', { extra: 1 })),
    ]
    expect(codes).toEqual(['OK', 'UNAUTHENTICATED', 'INVALID_REQUEST'])
    expect(stack.counted).toEqual(codes)
  })
})
