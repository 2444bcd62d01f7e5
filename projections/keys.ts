import type { Map as ImmutableMap, Set as ImmutableSet, List } from 'immutable'
import type { KeySpecName, KeyStateName, KeyUsageName, RotationCause, VersionStateName } from '../schemas/keys.ts'
import type { AttributeValue } from '../schemas/primitives.ts'
import type { Lid } from '../src/core/instruction.ts'
import type { MaterialCounts } from './material.ts'

export interface KeyVersionRecord {
  readonly version: number
  readonly createdAtMs: number
  readonly state: Exclude<VersionStateName, 'material_missing'>
  readonly backend: string
  readonly sealedHandle: Uint8Array
  readonly publicKey?: Uint8Array
  /** Whether the HSM would let it out; nothing makes it so later (PKCS#11's CKA_EXTRACTABLE). */
  readonly extractable: boolean
  /** Made elsewhere. */
  readonly imported?: true
  /** Why it was added; absent for the first. */
  readonly cause?: RotationCause
}

/** When the key gets a new version by itself. */
export interface RotationPolicy {
  readonly enabled: boolean
  /** Kept while the policy is off, so that turning it on again needs no number. */
  readonly intervalDays?: number
}

/** A deletion that waits for its day. With `cascade` it takes the living descendants along. */
export interface PendingDeletion {
  readonly atMs: number
  readonly cascade: boolean
  /** The state before, which decides where a cancel returns to. */
  readonly from: Extract<KeyStateName, 'enabled' | 'disabled' | 'compromised'>
}

/** Everything the ledger says of one key. Identity tags are in here, and leave only in PDP questions. */
export interface KeyRecord {
  readonly lid: Lid
  readonly spec: KeySpecName
  readonly usage: KeyUsageName
  readonly origin: 'KMS' | 'EXTERNAL'
  readonly description: string
  readonly userTags: readonly { readonly key: string; readonly value: string }[]
  readonly identityTags: Readonly<Record<string, AttributeValue>>
  readonly parent?: Lid
  /** The namespace that chose its place. Later rules do not: a parent is for ever. */
  readonly namespace?: string
  /** Whether it may leave the HSM now. */
  readonly exportable: boolean
  /** Whether it could from the start; without that, never. */
  readonly createdExportable: boolean
  /** Set by the first export, for ever. */
  readonly firstExportedAtMs?: number
  /** The key's own state; its effective state also depends on its ancestors (`projections/hierarchy.ts`). */
  readonly state: KeyStateName
  readonly versions: readonly KeyVersionRecord[]
  readonly currentVersion: number
  readonly minDecryptionVersion: number
  readonly rotation: RotationPolicy
  /** Set from the schedule on, until a cancel. */
  readonly deletion?: PendingDeletion
  readonly createdAtMs: number
  readonly updatedAtMs: number
  /** Counts the key's changes, from 1. */
  readonly revision: number
  /** Its place among all keys in order of creation, from 0: list order and cursor. */
  readonly ordinal: number
}

/** Keys by the day of their next rotation, counted from 1970 in UTC: what is due is found without looking at every key. */
export type RotationDays = ImmutableMap<number, ImmutableSet<Lid>>

export interface KeysState {
  readonly byLid: ImmutableMap<string, KeyRecord>
  /** In order of creation; `ordinal` is the index. */
  readonly order: List<Lid>
  /** Keys with a rotation policy in force, whatever their state, by the day on which it wants the next version. */
  readonly rotating: RotationDays
  /** Keys whose own state is on the way out (`pending_deletion`, `destroying`) or with a version that is. */
  readonly doomed: ImmutableSet<Lid>
  /** What stands in the way of closing a backend. */
  readonly material: MaterialCounts
}
