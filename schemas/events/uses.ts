import Type from 'typebox'
import { DATA_KEY_PAIR_SPECS } from '../keys.ts'
import { BackendId, Fields, Lid, OneOf, Text } from '../primitives.ts'
import { NamespaceName, ROUTING_OUTCOMES } from '../routing.ts'
import { count, none, one, raw32, usage, version } from './eventType.ts'

/** Uses and queries: recorded, and counted where a budget depends on them. */
export const USE_EVENTS = {
  DataEncrypted: usage(one),
  DataDecrypted: usage(one),
  DataReEncrypted: usage(
    Fields({
      source: one,
      destination: one,
      source_context_hash: Type.Optional(raw32),
      destination_context_hash: Type.Optional(raw32),
    }),
  ),
  DataKeyGenerated: usage(Fields({ lid: Lid, version, bytes: count, plaintext_returned: Type.Boolean() })),
  DataKeyPairGenerated: usage(
    Fields({ lid: Lid, version, pair_spec: OneOf(DATA_KEY_PAIR_SPECS), plaintext_returned: Type.Boolean() }),
  ),
  RandomGenerated: usage(Fields({ bytes: count })),
  MessageSigned: usage(Fields({ lid: Lid, version, algorithm: Text(1, 64) })),
  SignatureVerified: usage(Fields({ lid: Lid, version, algorithm: Text(1, 64), valid: Type.Boolean() })),
  MacGenerated: usage(Fields({ lid: Lid, version, algorithm: Text(1, 64) })),
  MacVerified: usage(Fields({ lid: Lid, version, algorithm: Text(1, 64), valid: Type.Boolean() })),
  KeyDescribed: usage(one),
  KeysListed: usage(Fields({ items: count })),
  RotationJobsListed: usage(Fields({ items: count })),
  DependentsListed: usage(Fields({ lid: Lid, items: count })),
  AncestorsListed: usage(Fields({ lid: Lid, items: count })),
  /** `lid`: the key whose names were asked for, if only those were. */
  AliasesListed: usage(Fields({ lid: Type.Optional(Lid), items: count })),
  NamespacesListed: usage(Fields({ items: count })),
  NamespaceDescribed: usage(Fields({ name: NamespaceName, version })),
  /** `namespace`: the one asked first. Says nothing of the attributes. */
  RoutingExplained: usage(Fields({ namespace: Type.Optional(NamespaceName), outcome: OneOf(ROUTING_OUTCOMES) })),
  TagsListed: usage(Fields({ lid: Lid, items: count })),
  HsmConnectionRead: usage(Fields({ name: BackendId })),
  HsmConnectionsListed: usage(Fields({ items: count })),
  PublicKeyRead: usage(one),
  LedgerHeadRead: usage(none),
  LedgerProofRead: usage(Fields({ seq: version })),
  /** The range that was looked at; without `to_seq` there was nothing. `lid`: the key whose events were asked for. */
  LedgerEventsListed: usage(
    Fields({ lid: Type.Optional(Lid), from_seq: version, to_seq: Type.Optional(version), items: count }),
  ),
  /** `lid`: the key that the first request changed, if it was about one. */
  RequestReplayed: usage(Fields({ lid: Type.Optional(Lid), slot: raw32 })),
  /** A batch as a whole; each of its items has a record of its own. */
  BatchExecuted: usage(Fields({ items: version, failed: count })),
  // What did not succeed
  AccessDenied: usage(none),
  OperationFailed: usage(none),
  RequestRefused: usage(Fields({ count: version })),
  AuthenticationRefused: usage(
    Fields({ count: version, reasons: Type.Array(Fields({ reason: Text(1, 64), count: version }), { maxItems: 16 }) }),
  ),
} as const
