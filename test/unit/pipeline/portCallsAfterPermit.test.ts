import { describe, expect, test } from 'vitest'
import type { Failure } from '../../../src/core/result.ts'
import { eventOf } from '../../fixtures/history.ts'
import { encrypt, failure, hello, type Row, seal, timedOut } from '../../fixtures/outcomes.ts'
import { createPipelineStack, type PipelineStack, type Trace } from '../../fixtures/pipelineStack.ts'

/** The other half of the table in `portCalls.test.ts`: requests that were permitted and still failed, or were repeated. */
/** What another request did between this one's plan and its record. */
const disableBeforeRecord = (stack: PipelineStack, lid: string) => {
  stack.ports.faults.append = async () => {
    stack.ports.faults.append = undefined
    const event = eventOf('KeyDisabled', { lid, affected: 0 })
    await stack.ledger.append({ events: [event], guards: [], toFailed: () => event }, new AbortController().signal)
    return undefined
  }
}

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
  ['by plan or HSM', ENDED_BY_THE_HSM],
  ['by the ledger', ENDED_BY_THE_LEDGER],
  ['by a replay', REPLAYED],
] as const)('port calls of a request that ends %s', (_where, rows) => {
  test.each(rows)('%s', async (_name, outcome, code, calls) => {
    await using stack = await createPipelineStack()
    expect(await outcome(stack)).toEqual({ code, calls })
  })
})
