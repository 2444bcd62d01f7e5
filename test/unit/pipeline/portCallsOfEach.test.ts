import { describe, expect, test } from 'vitest'
import { OPERATION_NAMES, type OperationName } from '../../../schemas/registry.ts'
import { createRequests } from '../../fixtures/everyOperation.ts'
import { createPipelineStack } from '../../fixtures/pipelineStack.ts'

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
  ListLedgerEvents: [
    'pdp kms:ListLedgerEvents',
    'pdp kms:DescribeKey',
    'ledger list',
    'ledger LedgerEventsListed success',
  ],
  GetLedgerProof: ['pdp kms:GetLedgerProof', 'ledger prove', 'ledger LedgerProofRead success'],
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
})
