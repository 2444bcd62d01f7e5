import { Map as ImmutableMap, List } from 'immutable'
import Type from 'typebox'
import { EVENTS } from '../schemas/events.ts'
import { aliasesProjection } from './aliases.ts'
import { genesisProjection } from './genesis.ts'
import { hierarchyProjection } from './hierarchy.ts'
import { hsmConnectionsProjection } from './hsmConnections.ts'
import { type IdempotencyRecord, type IdempotencyState, idempotencyProjection } from './idempotency.ts'
import { importsProjection } from './imports.ts'
import { keysProjection } from './keyFolds.ts'
import { namespacesProjection } from './namespaces.ts'
import { ROTATION_JOBS_VERSION } from './rotationJobs.ts'
import {
  arrayOf,
  listOf,
  listsOf,
  type MemberCodec,
  type MemberReader,
  mapOf,
  setOf,
  setsOf,
  single,
  structOf,
} from './snapshotMembers.ts'
import {
  AliasPart,
  CountPart,
  GenesisPart,
  HsmConnectionPart,
  IdempotencyPart,
  ImportPart,
  KeyPart,
  LidPart,
  NamesChunk,
  NamespacePart,
  OpenRotationPart,
  RotationJobPart,
  TextPart,
} from './snapshotRecords.ts'
import { usageProjection } from './usage.ts'
import type { View } from './view.ts'

/** All projections of a view, without their position. */
export type Folded = Omit<View, 'at'>

/** Version of the rows below; what they hold also depends on the {@link listFolds folds}. */
export const SNAPSHOT_VERSION = 1

/**
 * What the state in a snapshot depends on: the version of each projection, and the events that this program knows. A
 * program that folds otherwise, or passes over other events, cannot go on from it.
 */
export const listFolds = (): readonly string[] => [
  ...[
    genesisProjection,
    keysProjection,
    hierarchyProjection,
    aliasesProjection,
    namespacesProjection,
    hsmConnectionsProjection,
    importsProjection,
    idempotencyProjection,
    usageProjection,
  ].map(({ name, version }) => `${name} ${version}`),
  `rotationJobs ${ROTATION_JOBS_VERSION}`,
  ...Object.entries(EVENTS)
    .map(([type, { version }]) => `${type} ${version}`)
    .sort(),
]

/** The slots and their order share their records, and must again: a slot ends with the very record that filled it. */
const idempotencyCodec: MemberCodec<IdempotencyState> = {
  toRows: ({ order }) => order,
  start: () => {
    const reader: MemberReader<List<IdempotencyRecord>> = listOf(IdempotencyPart).start()
    return {
      take: (row) => reader.take(row),
      finish() {
        const order = reader.finish() ?? List<IdempotencyRecord>()
        // Where one slot was filled twice the later success holds it, as in the fold.
        return { order, bySlot: ImmutableMap(order.map((record) => [record.slotHex, record] as const)) }
      },
    }
  },
}

const Names = Type.Array(NamesChunk)

/** Rows of all projections: a projection, or a member of one, that is missing here does not compile. */
const VIEW: MemberCodec<Folded> = structOf<Folded>({
  genesis: single(GenesisPart),
  keys: structOf<View['keys']>({
    byLid: mapOf(TextPart, KeyPart),
    order: listOf(LidPart),
    rotating: setsOf(CountPart, LidPart),
    doomed: setOf(LidPart),
    material: mapOf(TextPart, CountPart),
  }),
  hierarchy: structOf<View['hierarchy']>({ children: listsOf(TextPart, LidPart) }),
  aliases: structOf<View['aliases']>({
    byName: mapOf(TextPart, AliasPart),
    names: arrayOf(NamesChunk),
    byKey: mapOf(TextPart, Names),
  }),
  namespaces: structOf<View['namespaces']>({
    byName: mapOf(TextPart, NamespacePart),
    names: arrayOf(NamesChunk),
    registrations: single(CountPart),
  }),
  hsmConnections: structOf<View['hsmConnections']>({
    byName: mapOf(TextPart, HsmConnectionPart),
    names: arrayOf(NamesChunk),
    deleted: mapOf(TextPart, HsmConnectionPart),
  }),
  imports: structOf<View['imports']>({ byLid: mapOf(TextPart, ImportPart) }),
  idempotency: idempotencyCodec,
  usage: structOf<View['usage']>({
    encrypted: mapOf(TextPart, CountPart),
    busy: setsOf(CountPart, TextPart),
    warned: setOf(TextPart),
  }),
  rotationJobs: structOf<View['rotationJobs']>({
    byId: mapOf(TextPart, RotationJobPart),
    order: listOf(TextPart),
    dropped: single(CountPart),
    rotations: listOf(OpenRotationPart),
  }),
})

/** The state as rows for MessagePack. Lazy; the view never changes, so it may take its time. */
export const toSnapshotRows = (folded: Folded): Iterable<unknown> => VIEW.toRows(folded)

/** Reads what {@link toSnapshotRows} gave. */
export const startSnapshotReader = (): MemberReader<Folded> => VIEW.start()
