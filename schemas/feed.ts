import type { Static } from 'typebox'
import type { EventData, EventName, EventTypes } from './events.ts'
import type { Receipt } from './primitives.ts'

type StateEventName = { [N in EventName]: EventTypes[N]['state'] extends true ? N : never }[EventName]

/**
 * Members of event data that no feed message may have: identity tags, and routing rules, which name their values; what
 * stands for key material; what an import token could be tried against; what is derived from an idempotency key; how an
 * HSM is reached and whose it is, which is the operators' own. A member of another name that must not be seen is added
 * here, and the compiler then keeps it out.
 */
export const NEVER_IN_FEED = [
  'identity_tags',
  'routing',
  'rules',
  'material',
  'token_hash',
  'idempotency',
  'lib_path',
  'token_label',
  'pin_ref',
  'handle_key',
  'scope_owner',
] as const

type Showable<N extends EventName> = Exclude<keyof EventData<N>, (typeof NEVER_IN_FEED)[number] | 'lid'>

/** The ledger's own commits are for those who verify it, and are not announced. */
const WITHHELD = 'withheld'

/**
 * What the live feed shows of each state event beside its `lid`: an allow-list. An event type that is not decided here
 * does not compile; a member that is neither here nor in {@link NEVER_IN_FEED} fails a test.
 */
export const FEED = {
  LedgerCreated: WITHHELD,
  EpochOpened: WITHHELD,
  RootRotated: WITHHELD,
  LedgerRecovered: WITHHELD,
  LedgerRolled: WITHHELD,
  PolicySetLoaded: ['sha256', 'policies'],
  SweepStarted: ['backend', 'objects'],
  SweepFinished: ['backend', 'objects', 'destroyed'],
  KeyCreated: [
    'version',
    'spec',
    'usage',
    'description',
    'user_tags',
    'canonicalization_version',
    'parent',
    'exportable',
  ],
  KeyImported: [
    'version',
    'spec',
    'usage',
    'description',
    'user_tags',
    'canonicalization_version',
    'parent',
    'exportable',
    'import',
  ],
  KeyExported: ['version', 'algorithm', 'wrapping_key_sha256'],
  KeyExportabilitySet: ['exportable'],
  ImportParametersIssued: ['spec', 'algorithm', 'expires_at'],
  ImportParametersExpired: [],
  ImportWrappingKeyDestroyed: ['confirmed'],
  KeyUpdated: ['description'],
  KeyEnabled: ['affected'],
  KeyDisabled: ['affected'],
  KeyCompromised: ['affected', 'reason'],
  KeyTagged: ['tags'],
  KeyUntagged: ['tag_keys'],
  KeyRotated: ['version', 'cause'],
  RotationPolicySet: ['enabled', 'interval_days'],
  MinDecryptionVersionSet: ['version'],
  KeyVersionDestructionStarted: ['version'],
  KeyVersionDestroyed: ['version', 'confirmed'],
  BudgetWarned: ['version', 'count'],
  KeyDeletionScheduled: ['deletion_at', 'cascade', 'affected'],
  KeyDeletionCancelled: ['affected'],
  KeyDestructionStarted: [],
  KeyDestroyed: ['confirmed'],
  AliasCreated: ['name'],
  AliasUpdated: ['name'],
  AliasDeleted: ['name'],
  NamespaceRegistered: ['name', 'version'],
  HsmConnectionCreated: ['name'],
  HsmConnectionDeleted: ['name'],
  RotationJobAcknowledged: ['job_id'],
  RotationJobCompleted: ['job_id'],
  RotationJobFailed: ['job_id', 'reason'],
  RotationJobsExpired: ['version', 'expired'],
} as const satisfies { readonly [N in StateEventName]: readonly Showable<N>[] | typeof WITHHELD }

/** The event types that are announced. */
export type FeedName = {
  [N in keyof typeof FEED]: (typeof FEED)[N] extends typeof WITHHELD ? never : N
}[keyof typeof FEED]

type Shown<N extends FeedName> = Extract<(typeof FEED)[N][number], keyof EventData<N>>

/** One announced event, as it is on the wire but for bytes, which are base64 there. */
export type FeedMessageOf<N extends FeedName> = {
  /** The event's UUID. */
  readonly id: string
  readonly type: N
  /** Version of the event's schema. */
  readonly v: number
  /** Of the commit, RFC 3339. */
  readonly time: string
  /** The key it is about; absent for what concerns the service as a whole. */
  readonly key_id?: string
  readonly data: Pick<EventData<N>, Shown<N>>
  /** Where the event stands in the ledger: what to believe, and from where to read on. */
  readonly receipt: Static<typeof Receipt>
}

export type FeedMessage = { [N in FeedName]: FeedMessageOf<N> }[FeedName]

export const isFeedName = (type: string): type is FeedName =>
  Object.hasOwn(FEED, type) && FEED[type as keyof typeof FEED] !== WITHHELD

/** `kms.feed.<type>.<lid>`; `service` stands for the LID of what is not about a key, `*` for any. */
export const toFeedSubject = (type: FeedName | '*', keyId: string): string => `kms.feed.${type}.${keyId}`

export const FEED_SERVICE = 'service'
