import Type, { type TSchema } from 'typebox'
import {
  KeySpec,
  KeyState,
  KeyUsage,
  ROTATION_CAUSES,
  ROTATION_JOB_STATES,
  WRAPPING_ALGORITHMS,
} from '../schemas/keys.ts'
import { LIMITS } from '../schemas/limits.ts'
import { AttributeSet, Bytes, Fields, LID_PATTERN, OneOf } from '../schemas/primitives.ts'
import { RoutingEntries } from '../schemas/routing.ts'
import type { Lid } from '../src/core/instruction.ts'
import type { AliasRecord } from './aliases.ts'
import type { GenesisState } from './genesis.ts'
import type { HsmConnectionRecord } from './hsmConnections.ts'
import type { IdempotencyRecord } from './idempotency.ts'
import type { ImportRecord } from './imports.ts'
import type { KeyRecord, KeyVersionRecord } from './keys.ts'
import type { NamespaceRecord } from './namespaces.ts'
import type { RotationJob, RotationJobsState } from './rotationJobs.ts'

/** A schema for each member of a record, optional ones too: one that is added there and not here does not compile. */
type Members<T> = { readonly [M in keyof T]-?: TSchema }

/** No longer than any text that an event can bring. */
export const TextPart = Type.String({ maxLength: LIMITS.eventBytesMax })
const BytesPart = Bytes(0, LIMITS.eventBytesMax)
export const CountPart = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })
export const LidPart = Type.Unsafe<Lid>(Type.String({ pattern: LID_PATTERN }))
const Flag = Type.Boolean()

/** A chunk of names in order (`names.ts`). */
export const NamesChunk = Type.Array(TextPart)

export const GenesisPart = Fields({
  rootPublicKey: Type.Optional(BytesPart),
  sealedContextKey: Type.Optional(BytesPart),
} satisfies Members<GenesisState>)

const VersionPart = Fields({
  version: CountPart,
  createdAtMs: CountPart,
  state: OneOf(['enabled', 'destroying', 'destroyed']),
  backend: TextPart,
  sealedHandle: BytesPart,
  publicKey: Type.Optional(BytesPart),
  extractable: Flag,
  imported: Type.Optional(Type.Literal(true)),
  cause: Type.Optional(OneOf(ROTATION_CAUSES)),
} satisfies Members<KeyVersionRecord>)

export const KeyPart = Fields({
  lid: LidPart,
  spec: KeySpec,
  usage: KeyUsage,
  origin: OneOf(['KMS', 'EXTERNAL']),
  description: TextPart,
  userTags: Type.Array(Fields({ key: TextPart, value: TextPart })),
  identityTags: AttributeSet,
  parent: Type.Optional(LidPart),
  namespace: Type.Optional(TextPart),
  exportable: Flag,
  createdExportable: Flag,
  firstExportedAtMs: Type.Optional(CountPart),
  state: KeyState,
  versions: Type.Array(VersionPart),
  currentVersion: CountPart,
  minDecryptionVersion: CountPart,
  rotation: Fields({ enabled: Flag, intervalDays: Type.Optional(CountPart) }),
  deletion: Type.Optional(
    Fields({ atMs: CountPart, cascade: Flag, from: OneOf(['enabled', 'disabled', 'compromised']) }),
  ),
  createdAtMs: CountPart,
  updatedAtMs: CountPart,
  revision: CountPart,
  ordinal: CountPart,
} satisfies Members<KeyRecord>)

export const AliasPart = Fields({
  name: TextPart,
  lid: LidPart,
  createdAtMs: CountPart,
  updatedAtMs: CountPart,
} satisfies Members<AliasRecord>)

export const NamespacePart = Fields({
  name: TextPart,
  revision: CountPart,
  rules: RoutingEntries,
  createdAtMs: CountPart,
  updatedAtMs: CountPart,
} satisfies Members<NamespaceRecord>)

export const HsmConnectionPart = Fields({
  name: TextPart,
  libPath: TextPart,
  tokenLabel: TextPart,
  pinRef: TextPart,
  scopeOwner: Type.Optional(TextPart),
  createdAtMs: CountPart,
} satisfies Members<HsmConnectionRecord>)

export const ImportPart = Fields({
  lid: LidPart,
  spec: KeySpec,
  algorithm: OneOf(WRAPPING_ALGORITHMS),
  backend: TextPart,
  sealedHandle: BytesPart,
  publicKey: BytesPart,
  tokenHash: BytesPart,
  expiresAtMs: CountPart,
  principal: Fields({ id: TextPart, type: TextPart }),
  state: OneOf(['open', 'used', 'expired']),
} satisfies Members<ImportRecord>)

export const IdempotencyPart = Fields({
  slotHex: TextPart,
  bodyHex: TextPart,
  timeMs: CountPart,
  lid: Type.Optional(LidPart),
  name: Type.Optional(TextPart),
  jobId: Type.Optional(TextPart),
  version: Type.Optional(CountPart),
  deletionAtMs: Type.Optional(CountPart),
  affected: Type.Optional(CountPart),
} satisfies Members<IdempotencyRecord>)

export const RotationJobPart = Fields({
  id: TextPart,
  lid: LidPart,
  rotated: LidPart,
  version: CountPart,
  state: OneOf(ROTATION_JOB_STATES),
  openedAtMs: CountPart,
  expiresAtMs: CountPart,
  updatedAtMs: CountPart,
  reason: Type.Optional(TextPart),
  ordinal: CountPart,
} satisfies Members<RotationJob>)

type OpenRotation = RotationJobsState['rotations'] extends Iterable<infer R> ? R : never

export const OpenRotationPart = Fields({
  lid: LidPart,
  version: CountPart,
  expiresAtMs: CountPart,
  jobs: Type.Array(TextPart),
} satisfies Members<OpenRotation>)
