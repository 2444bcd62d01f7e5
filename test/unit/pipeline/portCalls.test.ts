import { describe, expect, test } from 'vitest'
import { OPERATION_NAMES, type OperationName } from '../../../schemas/registry.ts'
import type { Failure } from '../../../src/core/result.ts'
import { fail } from '../../../src/core/result.ts'
import { createRequests } from '../../fixtures/everyOperation.ts'
import { eventOf } from '../../fixtures/history.ts'
import { createPipelineStack, type PipelineStack, type Trace, toCode } from '../../fixtures/pipelineStack.ts'

/** The security argument: for every way a request can end, the calls it made of every port, in order, and its code. */
type Row = readonly [
  name: string,
  outcome: (stack: PipelineStack) => Promise<Trace>,
  code: string,
  calls: readonly string[],
]

const hello = () => Buffer.from('hello')
const failure = (code: Failure['code']): Failure => ({ code, message: 'told to fail' })

const encrypt = async (stack: PipelineStack, prepare?: (key: string) => void | Promise<void>): Promise<Trace> => {
  const key_id = await stack.createKey()
  await prepare?.(key_id)
  return stack.trace('Encrypt', { key_id, plaintext: hello() })
}

const seal = async (stack: PipelineStack) => {
  const key_id = await stack.createKey()
  return stack.succeed('Encrypt', { key_id, plaintext: hello() })
}

const reEncrypt = async (stack: PipelineStack): Promise<Trace> => {
  const { ciphertext_blob } = await seal(stack)
  const destination_key_id = await stack.createKey()
  return stack.trace('ReEncrypt', { ciphertext_blob, destination_key_id })
}

/** What another request did between this one's plan and its record. */
const disableBeforeRecord = (stack: PipelineStack, lid: string) => {
  stack.ports.faults.append = async () => {
    stack.ports.faults.append = undefined
    const event = eventOf('KeyDisabled', { lid, affected: 0 })
    await stack.ledger.append({ events: [event], guards: [], toFailed: () => event }, new AbortController().signal)
    return undefined
  }
}

const UNKNOWN = `lid_${'0'.repeat(64)}`
const timedOut = () => new DOMException('too late', 'TimeoutError')

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

const withHsm =
  (code: Failure['code']) =>
  (stack: PipelineStack): Promise<Trace> =>
    encrypt(stack, () => {
      stack.ports.faults.hsm = () => failure(code)
    })

const ASKED = ['authn', 'pdp kms:Encrypt'] as const

const ENDED_BY_THE_HSM: readonly Row[] = [
  [
    'a plan that is refused',
    async (stack) => {
      const key_id = await stack.createKey()
      await stack.succeed('DisableKey', { key_id })
      return stack.trace('Encrypt', { key_id, plaintext: hello() })
    },
    'KEY_NOT_USABLE',
    [...ASKED, 'ledger OperationFailed failed KEY_NOT_USABLE'],
  ],
  ...(['HSM_UNAVAILABLE', 'KEY_NOT_USABLE', 'OVERLOADED', 'TIMEOUT', 'CANCELLED'] as const).map(
    (code): Row => [
      `an HSM that answers ${code}`,
      withHsm(code),
      code,
      [...ASKED, 'hsm encrypt', `ledger OperationFailed failed ${code}`],
    ],
  ),
  [
    'an HSM that answers INVALID_CIPHERTEXT',
    async (stack) => {
      const { ciphertext_blob } = await seal(stack)
      stack.ports.faults.hsm = () => failure('INVALID_CIPHERTEXT')
      return stack.trace('Decrypt', { ciphertext_blob })
    },
    'INVALID_CIPHERTEXT',
    ['authn', 'pdp kms:Decrypt', 'hsm decrypt', 'ledger OperationFailed failed INVALID_CIPHERTEXT'],
  ],
  [
    'an HSM that answers UNSUPPORTED_BY_HSM',
    (stack) => {
      stack.ports.faults.hsm = () => failure('UNSUPPORTED_BY_HSM')
      return stack.trace('CreateKey', { key_spec: 'AES_256' })
    },
    'UNSUPPORTED_BY_HSM',
    ['authn', 'pdp kms:CreateKey', 'hsm generateKey', 'ledger OperationFailed failed UNSUPPORTED_BY_HSM'],
  ],
  [
    'an HSM that throws',
    (stack) => encrypt(stack, () => stack.hsm.throwNext(new Error('a bug'))),
    'INTERNAL',
    [...ASKED, 'hsm encrypt', 'ledger OperationFailed failed INTERNAL'],
  ],
  [
    'a caller that went away before the HSM',
    async (stack) => {
      const key_id = await stack.createKey()
      const caller = new AbortController()
      stack.ports.faults.hsm = () => void caller.abort()
      return stack.trace('Encrypt', { key_id, plaintext: hello() }, { signal: caller.signal })
    },
    'CANCELLED',
    [...ASKED, 'hsm encrypt', 'ledger OperationFailed failed CANCELLED'],
  ],
  [
    'an output that the record cannot be made of',
    async (stack) => {
      const key_id = await stack.createKey()
      stack.ports.faults.afterHsm = (output) => void Reflect.deleteProperty(output, 'plaintext')
      return stack.trace('GenerateDataKey', { key_id })
    },
    'INTERNAL',
    ['authn', 'pdp kms:GenerateDataKey', 'hsm generateDataKey', 'ledger OperationFailed failed INTERNAL'],
  ],
]

const withAppend =
  (code: Failure['code']) =>
  (stack: PipelineStack): Promise<Trace> =>
    encrypt(stack, () => {
      stack.ports.faults.append = ({ events: [event] }) => (event?.type === 'DataEncrypted' ? failure(code) : undefined)
    })

const createWithAppend =
  (code: Failure['code']) =>
  (stack: PipelineStack): Promise<Trace> => {
    stack.ports.faults.append = ({ events: [event] }) => (event?.type === 'KeyCreated' ? failure(code) : undefined)
    return stack.trace('CreateKey', { key_spec: 'AES_256' })
  }

const CREATED = ['authn', 'pdp kms:CreateKey', 'hsm generateKey'] as const

const ENDED_BY_THE_LEDGER: readonly Row[] = [
  [
    'a key that was disabled before the record',
    (stack) => encrypt(stack, (key) => disableBeforeRecord(stack, key)),
    'KEY_NOT_USABLE',
    [...ASKED, 'hsm encrypt', 'ledger DataEncrypted success → OperationFailed failed KEY_NOT_USABLE'],
  ],
  [
    'a new key whose parent was disabled before the record: its material is destroyed',
    async (stack) => {
      const parent_key_id = await stack.createKey()
      disableBeforeRecord(stack, parent_key_id)
      return stack.trace('CreateKey', { key_spec: 'AES_256', parent_key_id })
    },
    'PARENT_NOT_USABLE',
    [
      'authn',
      'pdp kms:CreateKey',
      'pdp kms:CreateChildKey',
      'hsm generateKey',
      'ledger KeyCreated success → OperationFailed failed PARENT_NOT_USABLE',
      'hsm destroyKey',
    ],
  ],
  [
    'a ledger that did not confirm the record',
    withAppend('LEDGER_UNAVAILABLE'),
    'LEDGER_UNAVAILABLE',
    [...ASKED, 'hsm encrypt', 'ledger DataEncrypted success ✗ LEDGER_UNAVAILABLE'],
  ],
  [
    'a new key whose record is in doubt: its material is kept',
    createWithAppend('LEDGER_UNAVAILABLE'),
    'LEDGER_UNAVAILABLE',
    [...CREATED, 'ledger KeyCreated success ✗ LEDGER_UNAVAILABLE'],
  ],
  [
    'a ledger that is overloaded',
    withAppend('OVERLOADED'),
    'OVERLOADED',
    [...ASKED, 'hsm encrypt', 'ledger DataEncrypted success ✗ OVERLOADED'],
  ],
  [
    'a new key when the ledger is overloaded: its material is destroyed',
    createWithAppend('OVERLOADED'),
    'OVERLOADED',
    [...CREATED, 'ledger KeyCreated success ✗ OVERLOADED', 'hsm destroyKey'],
  ],
  [
    'a record that the ledger cannot write',
    createWithAppend('INTERNAL'),
    'INTERNAL',
    [...CREATED, 'ledger KeyCreated success ✗ INTERNAL', 'hsm destroyKey', 'ledger OperationFailed failed INTERNAL'],
  ],
  [
    'a caller that went away after the HSM',
    async (stack) => {
      const key_id = await stack.createKey()
      const caller = new AbortController()
      stack.ports.faults.afterHsm = () => caller.abort()
      return stack.trace('Encrypt', { key_id, plaintext: hello() }, { signal: caller.signal })
    },
    'CANCELLED',
    [...ASKED, 'hsm encrypt', 'ledger DataEncrypted success ✗ CANCELLED', 'ledger OperationFailed failed CANCELLED'],
  ],
  [
    'a deadline that passed after the HSM had made a key',
    (stack) => {
      const caller = new AbortController()
      stack.ports.faults.afterHsm = () => caller.abort(timedOut())
      return stack.trace('CreateKey', { key_spec: 'AES_256' }, { signal: caller.signal })
    },
    'TIMEOUT',
    [...CREATED, 'ledger KeyCreated success ✗ TIMEOUT', 'hsm destroyKey', 'ledger OperationFailed failed TIMEOUT'],
  ],
  [
    'a ledger that throws',
    (stack) =>
      encrypt(stack, () => {
        stack.ports.faults.append = ({ events: [event] }) => {
          if (event?.type === 'DataEncrypted') throw new Error('a bug')
          return undefined
        }
      }),
    'INTERNAL',
    [...ASKED, 'hsm encrypt', 'ledger DataEncrypted success', 'ledger OperationFailed failed INTERNAL'],
  ],
  [
    'a denial that cannot be recorded',
    (stack) =>
      encrypt(stack, () => {
        stack.pdp.script('deny')
        stack.ports.faults.append = () => failure('LEDGER_UNAVAILABLE')
      }),
    'LEDGER_UNAVAILABLE',
    [...ASKED, 'ledger AccessDenied denied ACCESS_DENIED ✗ LEDGER_UNAVAILABLE'],
  ],
]

const REPLAYED: readonly Row[] = [
  [
    'a repeated change',
    async (stack) => {
      const sending = { idempotencyKey: 'k' }
      await stack.succeed('CreateKey', { key_spec: 'AES_256' }, sending)
      return stack.trace('CreateKey', { key_spec: 'AES_256' }, sending)
    },
    'OK',
    ['authn', 'pdp kms:CreateKey', 'ledger RequestReplayed success'],
  ],
  [
    'a repeated change with another body',
    async (stack) => {
      const sending = { idempotencyKey: 'k' }
      await stack.succeed('CreateKey', { key_spec: 'AES_256' }, sending)
      return stack.trace('CreateKey', { key_spec: 'ED25519' }, sending)
    },
    'IDEMPOTENCY_CONFLICT',
    ['authn', 'pdp kms:CreateKey', 'ledger OperationFailed failed IDEMPOTENCY_CONFLICT'],
  ],
  [
    'a repeated change that is not permitted any more',
    async (stack) => {
      const sending = { idempotencyKey: 'k' }
      await stack.succeed('CreateKey', { key_spec: 'AES_256' }, sending)
      stack.pdp.script('deny')
      return stack.trace('CreateKey', { key_spec: 'AES_256' }, sending)
    },
    'ACCESS_DENIED',
    ['authn', 'pdp kms:CreateKey', 'ledger AccessDenied denied ACCESS_DENIED'],
  ],
]

describe.each([
  ['before the PDP', ENDED_BEFORE_THE_PDP],
  ['by the PDP', ENDED_BY_THE_PDP],
  ['by plan or HSM', ENDED_BY_THE_HSM],
  ['by the ledger', ENDED_BY_THE_LEDGER],
  ['by a replay', REPLAYED],
] as const)('port calls of a request that ends %s', (_where, rows) => {
  test.each(rows)('%s', async (_name, outcome, code, calls) => {
    await using stack = await createPipelineStack()
    expect(await outcome(stack)).toEqual({ code, calls })
  })
})

const DESCRIBE_SIX = Array.from({ length: 6 }, () => 'pdp kms:DescribeKey')

/** Calls between authentication and reply, for every operation. */
const SUCCESSES: { readonly [N in OperationName]: readonly string[] } = {
  CreateKey: ['pdp kms:CreateKey', 'pdp kms:CreateChildKey', 'hsm generateKey', 'ledger KeyCreated success'],
  Decrypt: ['pdp kms:Decrypt', 'hsm decrypt', 'ledger DataDecrypted success'],
  DescribeKey: ['pdp kms:DescribeKey', 'ledger KeyDescribed success'],
  DisableKey: ['pdp kms:DisableKey', 'ledger KeyDisabled success'],
  EnableKey: ['pdp kms:EnableKey', 'ledger KeyEnabled success'],
  Encrypt: ['pdp kms:Encrypt', 'hsm encrypt', 'ledger DataEncrypted success'],
  GenerateDataKey: ['pdp kms:GenerateDataKey', 'hsm generateDataKey', 'ledger DataKeyGenerated success'],
  GenerateDataKeyWithoutPlaintext: [
    'pdp kms:GenerateDataKeyWithoutPlaintext',
    'hsm generateDataKey',
    'ledger DataKeyGenerated success',
  ],
  GenerateRandom: ['pdp kms:GenerateRandom', 'hsm random', 'ledger RandomGenerated success'],
  GetKeyAncestors: ['pdp kms:GetKeyAncestors', 'pdp kms:DescribeKey', 'ledger AncestorsListed success'],
  GetKeyDependents: [
    'pdp kms:GetKeyDependents',
    'pdp kms:DescribeKey',
    'pdp kms:DescribeKey',
    'ledger DependentsListed success',
  ],
  GetLedgerHead: ['pdp kms:GetLedgerHead', 'ledger LedgerHeadRead success'],
  GetPublicKey: ['pdp kms:GetPublicKey', 'ledger PublicKeyRead success'],
  ListKeys: ['pdp kms:ListKeys', ...DESCRIBE_SIX, 'ledger KeysListed success'],
  ReEncrypt: ['pdp kms:ReEncryptFrom', 'pdp kms:ReEncryptTo', 'hsm reEncrypt', 'ledger DataReEncrypted success'],
  Sign: ['pdp kms:Sign', 'hsm sign', 'ledger MessageSigned success'],
  Verify: ['pdp kms:Verify', 'hsm verify', 'ledger SignatureVerified success'],
}

describe('port calls of a request that succeeds', () => {
  test('are one authentication, at least one question, at most one instruction and one record', async () => {
    await using stack = await createPipelineStack()
    const requests = await createRequests(stack)
    const seen: Record<string, readonly string[]> = {}
    for (const name of OPERATION_NAMES) {
      const { code, calls } = await stack.trace(name, requests[name]())
      expect([name, code, calls[0]]).toEqual([name, 'OK', 'authn'])
      seen[name] = calls.slice(1)
    }
    expect(seen).toEqual(SUCCESSES)
  })

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
