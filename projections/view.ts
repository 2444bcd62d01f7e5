import type { Event } from '../schemas/events.ts'
import { type AliasesState, aliasesProjection } from './aliases.ts'
import { type GenesisState, genesisProjection } from './genesis.ts'
import { type HierarchyState, hierarchyProjection } from './hierarchy.ts'
import { type HsmConnectionsState, hsmConnectionsProjection } from './hsmConnections.ts'
import { type IdempotencyState, idempotencyProjection } from './idempotency.ts'
import { type ImportsState, importsProjection } from './imports.ts'
import { keysProjection } from './keyFolds.ts'
import type { KeysState } from './keys.ts'
import { type NamespacesState, namespacesProjection } from './namespaces.ts'
import type { EventMeta } from './projection.ts'
import { evolveRotationJobs, NO_ROTATION_JOBS, type RotationJobsState } from './rotationJobs.ts'
import { type UsageState, usageProjection } from './usage.ts'

/** Where in the ledger a view stands. */
export interface Position {
  readonly origin: string
  readonly epoch: number
  readonly seq: number
  /** Hex BLAKE3 hash of the commit at `seq`; 64 zeros before genesis. */
  readonly hash: string
  readonly timeMs: number
}

/** All projections at one position: an immutable value, so a plan sees one consistent state and a fold can be dropped. */
export interface View {
  readonly at: Position
  readonly genesis: GenesisState
  readonly keys: KeysState
  readonly hierarchy: HierarchyState
  readonly aliases: AliasesState
  readonly namespaces: NamespacesState
  readonly hsmConnections: HsmConnectionsState
  readonly imports: ImportsState
  readonly idempotency: IdempotencyState
  readonly usage: UsageState
  readonly rotationJobs: RotationJobsState
}

export const createEmptyView = (origin: string): View => ({
  at: { origin, epoch: 0, seq: 0, hash: '0'.repeat(64), timeMs: 0 },
  genesis: genesisProjection.initial,
  keys: keysProjection.initial,
  hierarchy: hierarchyProjection.initial,
  aliases: aliasesProjection.initial,
  namespaces: namespacesProjection.initial,
  hsmConnections: hsmConnectionsProjection.initial,
  imports: importsProjection.initial,
  idempotency: idempotencyProjection.initial,
  usage: usageProjection.initial,
  rotationJobs: NO_ROTATION_JOBS,
})

/** Folds one event of a commit into every projection; the position stays. */
export const foldEvent = (view: View, event: Event, meta: EventMeta): View => ({
  at: view.at,
  genesis: genesisProjection.evolve(view.genesis, event, meta),
  keys: keysProjection.evolve(view.keys, event, meta),
  hierarchy: hierarchyProjection.evolve(view.hierarchy, event, meta),
  aliases: aliasesProjection.evolve(view.aliases, event, meta),
  namespaces: namespacesProjection.evolve(view.namespaces, event, meta),
  hsmConnections: hsmConnectionsProjection.evolve(view.hsmConnections, event, meta),
  imports: importsProjection.evolve(view.imports, event, meta),
  idempotency: idempotencyProjection.evolve(view.idempotency, event, meta),
  usage: usageProjection.evolve(view.usage, event, meta),
  rotationJobs: evolveRotationJobs(view.rotationJobs, event, meta, view),
})

/** The same state at the position of a commit whose events have all been folded. */
export const moveTo = (view: View, at: Position): View => ({ ...view, at })
