import type { OperationName } from '../../schemas/registry.ts'
import { createAlias, deleteAlias, updateAlias } from './aliases.ts'
import { batch } from './batch.ts'
import { createKey } from './createKey.ts'
import { decrypt } from './decrypt.ts'
import { describeKey } from './describeKey.ts'
import { encrypt } from './encrypt.ts'
import { explainRouting } from './explainRouting.ts'
import { getKeyMaterial, makeKeyExportable, revokeKeyExportability } from './exports.ts'
import { generateDataKey, generateDataKeyWithoutPlaintext } from './generateDataKey.ts'
import { generateDataKeyPair, generateDataKeyPairWithoutPlaintext } from './generateDataKeyPair.ts'
import { generateRandom } from './generateRandom.ts'
import { getLedgerHead } from './getLedgerHead.ts'
import { getLedgerProof } from './getLedgerProof.ts'
import { getPublicKey } from './getPublicKey.ts'
import { createHsmConnection, deleteHsmConnection, getHsmConnection, getHsmConnectionStatus } from './hsmConnections.ts'
import { getParametersForImport, importKey } from './imports.ts'
import { listAliases } from './listAliases.ts'
import { listHsmConnections } from './listHsmConnections.ts'
import { listKeys } from './listKeys.ts'
import { listLedgerEvents } from './listLedgerEvents.ts'
import { generateMac, verifyMac } from './mac.ts'
import { describeNamespace, listNamespaces, registerNamespace } from './namespaces.ts'
import type { Operation } from './operation.ts'
import { reEncrypt } from './reEncrypt.ts'
import { getKeyAncestors, getKeyDependents } from './relatives.ts'
import { rotateKey } from './rotateKey.ts'
import { acknowledgeRotationJob, completeRotationJob, failRotationJob, listRotationJobs } from './rotationJobs.ts'
import {
  disableKeyRotation,
  enableKeyRotation,
  getKeyRotationHistory,
  getKeyRotationPolicy,
  getKeyRotationStatus,
  setKeyRotationPolicy,
  setMinDecryptionVersion,
} from './rotationPolicy.ts'
import { sign, verify } from './sign.ts'
import { listResourceTags, tagResource, untagResource } from './tagResource.ts'
import { cancelKeyDeletion, disableKey, enableKey, reportKeyCompromise, scheduleKeyDeletion } from './transitions.ts'
import { updateKey } from './updateKey.ts'
import { destroyKeyVersion, getKeyVersion, listKeyVersions } from './versions.ts'

/** Every operation, by contract name: one that is missing does not compile. */
export const OPERATIONS: { readonly [N in OperationName]: Operation<N> } = {
  Batch: batch,
  CreateAlias: createAlias,
  CreateHsmConnection: createHsmConnection,
  GetHsmConnection: getHsmConnection,
  ListHsmConnections: listHsmConnections,
  DeleteHsmConnection: deleteHsmConnection,
  GetHsmConnectionStatus: getHsmConnectionStatus,
  CreateKey: createKey,
  Decrypt: decrypt,
  DeleteAlias: deleteAlias,
  DescribeKey: describeKey,
  DisableKey: disableKey,
  EnableKey: enableKey,
  Encrypt: encrypt,
  GenerateDataKey: generateDataKey,
  GenerateDataKeyWithoutPlaintext: generateDataKeyWithoutPlaintext,
  GenerateDataKeyPair: generateDataKeyPair,
  GenerateDataKeyPairWithoutPlaintext: generateDataKeyPairWithoutPlaintext,
  GetParametersForImport: getParametersForImport,
  ImportKey: importKey,
  GetKeyMaterial: getKeyMaterial,
  MakeKeyExportable: makeKeyExportable,
  RevokeKeyExportability: revokeKeyExportability,
  GenerateRandom: generateRandom,
  GetKeyAncestors: getKeyAncestors,
  GetKeyDependents: getKeyDependents,
  GetLedgerHead: getLedgerHead,
  GetLedgerProof: getLedgerProof,
  GetPublicKey: getPublicKey,
  ListAliases: listAliases,
  ListKeys: listKeys,
  ListLedgerEvents: listLedgerEvents,
  ListResourceTags: listResourceTags,
  ReEncrypt: reEncrypt,
  Sign: sign,
  TagResource: tagResource,
  UntagResource: untagResource,
  UpdateAlias: updateAlias,
  Verify: verify,
  GenerateMac: generateMac,
  VerifyMac: verifyMac,
  UpdateKey: updateKey,
  ListRotationJobs: listRotationJobs,
  AcknowledgeRotationJob: acknowledgeRotationJob,
  CompleteRotationJob: completeRotationJob,
  FailRotationJob: failRotationJob,
  RegisterNamespace: registerNamespace,
  ListNamespaces: listNamespaces,
  DescribeNamespace: describeNamespace,
  ExplainRouting: explainRouting,
  ListKeyVersions: listKeyVersions,
  GetKeyVersion: getKeyVersion,
  DestroyKeyVersion: destroyKeyVersion,
  SetMinDecryptionVersion: setMinDecryptionVersion,
  EnableKeyRotation: enableKeyRotation,
  DisableKeyRotation: disableKeyRotation,
  GetKeyRotationStatus: getKeyRotationStatus,
  GetKeyRotationHistory: getKeyRotationHistory,
  GetKeyRotationPolicy: getKeyRotationPolicy,
  SetKeyRotationPolicy: setKeyRotationPolicy,
  RotateKey: rotateKey,
  ReportKeyCompromise: reportKeyCompromise,
  ScheduleKeyDeletion: scheduleKeyDeletion,
  CancelKeyDeletion: cancelKeyDeletion,
}
