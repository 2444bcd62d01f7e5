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

<<<<<<< HEAD
const DESCRIBE_ALL = Array.from({ length: 16 }, () => 'pdp kms:DescribeKey')

/** Calls between authentication and reply, for every operation. */
const SUCCESSES: { readonly [N in OperationName]: readonly string[] } = {
  Batch: [
    'pdp kms:Batch',
    'pdp kms:Encrypt',
    'pdp kms:Decrypt',
    'hsm encrypt',
    'hsm decrypt',
    'ledger DataEncrypted success',
    'ledger DataDecrypted success',
    'ledger BatchExecuted success',
  ],
  CreateAlias: ['pdp kms:CreateAlias', 'pdp kms:AttachAlias', 'ledger AliasCreated success'],
  CreateKey: ['pdp kms:CreateKey', 'pdp kms:CreateChildKey', 'hsm generateKey', 'ledger KeyCreated success'],
  Decrypt: ['pdp kms:Decrypt', 'hsm decrypt', 'ledger DataDecrypted success'],
  DeleteAlias: ['pdp kms:DeleteAlias', 'pdp kms:DetachAlias', 'ledger AliasDeleted success'],
  DescribeKey: ['pdp kms:DescribeKey', 'ledger KeyDescribed success'],
  DisableKey: ['pdp kms:DisableKey', 'ledger KeyDisabled success'],
  UpdateKey: ['pdp kms:UpdateKey', 'ledger KeyUpdated success'],
  RotateKey: ['pdp kms:RotateKey', 'hsm generateKey', 'ledger KeyRotated success'],
  ReportKeyCompromise: ['pdp kms:ReportKeyCompromise', 'ledger KeyCompromised success'],
  ScheduleKeyDeletion: ['pdp kms:ScheduleKeyDeletion', 'ledger KeyDeletionScheduled success'],
  CancelKeyDeletion: ['pdp kms:CancelKeyDeletion', 'ledger KeyDeletionCancelled success'],
  // The key that is filtered for, and its two jobs.
  ListRotationJobs: [
    'pdp kms:ListRotationJobs',
    'pdp kms:DescribeKey',
    'pdp kms:DescribeKey',
    'pdp kms:DescribeKey',
    'ledger RotationJobsListed success',
  ],
  AcknowledgeRotationJob: ['pdp kms:AcknowledgeRotationJob', 'ledger RotationJobAcknowledged success'],
  CompleteRotationJob: ['pdp kms:CompleteRotationJob', 'ledger RotationJobCompleted success'],
  FailRotationJob: ['pdp kms:FailRotationJob', 'ledger RotationJobFailed success'],
  ListKeyVersions: ['pdp kms:ListKeyVersions', 'ledger KeyDescribed success'],
  GetKeyVersion: ['pdp kms:GetKeyVersion', 'ledger KeyDescribed success'],
  DestroyKeyVersion: [
    'pdp kms:DestroyKeyVersion',
    'ledger KeyVersionDestructionStarted success',
    'hsm destroyKey',
    'ledger KeyVersionDestroyed success',
  ],
  SetMinDecryptionVersion: ['pdp kms:SetMinDecryptionVersion', 'ledger MinDecryptionVersionSet success'],
  EnableKeyRotation: ['pdp kms:EnableKeyRotation', 'ledger RotationPolicySet success'],
  DisableKeyRotation: ['pdp kms:DisableKeyRotation', 'ledger RotationPolicySet success'],
  GetKeyRotationStatus: ['pdp kms:GetKeyRotationStatus', 'ledger KeyDescribed success'],
  GetKeyRotationHistory: ['pdp kms:GetKeyRotationHistory', 'ledger KeyDescribed success'],
  GetKeyRotationPolicy: ['pdp kms:GetKeyRotationPolicy', 'ledger KeyDescribed success'],
  SetKeyRotationPolicy: ['pdp kms:SetKeyRotationPolicy', 'ledger RotationPolicySet success'],
  EnableKey: ['pdp kms:EnableKey', 'ledger KeyEnabled success'],
  Encrypt: ['pdp kms:Encrypt', 'hsm encrypt', 'ledger DataEncrypted success'],
  GenerateDataKey: ['pdp kms:GenerateDataKey', 'hsm generateDataKey', 'ledger DataKeyGenerated success'],
  GenerateDataKeyWithoutPlaintext: [
    'pdp kms:GenerateDataKeyWithoutPlaintext',
    'hsm generateDataKey',
    'ledger DataKeyGenerated success',
  ],
  GenerateDataKeyPair: [
    'pdp kms:GenerateDataKeyPair',
    'hsm generateDataKeyPair',
    'ledger DataKeyPairGenerated success',
  ],
  GenerateDataKeyPairWithoutPlaintext: [
    'pdp kms:GenerateDataKeyPairWithoutPlaintext',
    'hsm generateDataKeyPair',
    'ledger DataKeyPairGenerated success',
  ],
  GetParametersForImport: [
    'pdp kms:GetParametersForImport',
    'hsm generateWrappingKey',
    'ledger ImportParametersIssued success',
  ],
  ImportKey: ['pdp kms:ImportKey', 'pdp kms:CreateChildKey', 'hsm importKey', 'ledger KeyImported success'],
  GetKeyMaterial: ['pdp kms:GetKeyMaterial', 'hsm exportKey', 'ledger KeyExported success'],
  MakeKeyExportable: ['pdp kms:MakeKeyExportable', 'ledger KeyExportabilitySet success'],
  RevokeKeyExportability: ['pdp kms:RevokeKeyExportability', 'ledger KeyExportabilitySet success'],
  GenerateRandom: ['pdp kms:GenerateRandom', 'hsm random', 'ledger RandomGenerated success'],
  GetKeyAncestors: ['pdp kms:GetKeyAncestors', 'pdp kms:DescribeKey', 'ledger AncestorsListed success'],
  GetKeyDependents: [
    'pdp kms:GetKeyDependents',
    'pdp kms:DescribeKey',
    'pdp kms:DescribeKey',
    'ledger DependentsListed success',
  ],
  CreateHsmConnection: ['pdp kms:CreateHsmConnection', 'hsm openBackend', 'ledger HsmConnectionCreated success'],
  GetHsmConnection: ['pdp kms:GetHsmConnection', 'ledger HsmConnectionRead success'],
  GetHsmConnectionStatus: ['pdp kms:GetHsmConnectionStatus', 'ledger HsmConnectionRead success'],
  ListHsmConnections: ['pdp kms:ListHsmConnections', 'ledger HsmConnectionsListed success'],
  DeleteHsmConnection: ['pdp kms:DeleteHsmConnection', 'ledger HsmConnectionDeleted success'],
  GetLedgerHead: ['pdp kms:GetLedgerHead', 'ledger LedgerHeadRead success'],
  GetPublicKey: ['pdp kms:GetPublicKey', 'ledger PublicKeyRead success'],
  ListKeys: ['pdp kms:ListKeys', ...DESCRIBE_ALL, 'ledger KeysListed success'],
  ListAliases: ['pdp kms:ListAliases', 'pdp kms:DescribeKey', 'pdp kms:DescribeKey', 'ledger AliasesListed success'],
  ReEncrypt: ['pdp kms:ReEncryptFrom', 'pdp kms:ReEncryptTo', 'hsm reEncrypt', 'ledger DataReEncrypted success'],
  Sign: ['pdp kms:Sign', 'hsm sign', 'ledger MessageSigned success'],
  TagResource: ['pdp kms:TagResource', 'ledger KeyTagged success'],
  UntagResource: ['pdp kms:UntagResource', 'ledger KeyUntagged success'],
  ListResourceTags: ['pdp kms:ListResourceTags', 'ledger TagsListed success'],
  UpdateAlias: ['pdp kms:UpdateAlias', 'pdp kms:DetachAlias', 'pdp kms:AttachAlias', 'ledger AliasUpdated success'],
  Verify: ['pdp kms:Verify', 'hsm verify', 'ledger SignatureVerified success'],
  GenerateMac: ['pdp kms:GenerateMac', 'hsm generateMac', 'ledger MacGenerated success'],
  RegisterNamespace: ['pdp kms:RegisterNamespace', 'pdp kms:AttachNamespace', 'ledger NamespaceRegistered success'],
  ListNamespaces: [
    'pdp kms:ListNamespaces',
    'pdp kms:DescribeNamespace',
    'pdp kms:DescribeNamespace',
    'ledger NamespacesListed success',
  ],
  DescribeNamespace: ['pdp kms:DescribeNamespace', 'ledger NamespaceDescribed success'],
  ExplainRouting: ['pdp kms:ExplainRouting', 'pdp kms:DescribeKey', 'ledger RoutingExplained success'],
  VerifyMac: ['pdp kms:VerifyMac', 'hsm verifyMac', 'ledger MacVerified success'],
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

=======
describe('the requests of a pipeline', () => {
>>>>>>> 533326b (Decide what the feed shows of imports and exports; keep the contract of imports and the port calls of each operation in files of their own)
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
