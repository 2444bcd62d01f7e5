import Type from 'typebox'
import { contract, Empty, Reply } from '../contract.ts'
import { EVENTS, type EventName } from '../events.ts'
import { LIMITS } from '../limits.ts'
import { Bytes, Fields, KeyId, OneOf, Page, Text, Timestamp } from '../primitives.ts'

const size = (description: string) => Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER, description })
const place = Type.Integer({ minimum: 0, maximum: LIMITS.commitEventsMax - 1 })
const Hash = Bytes(32, 32, 'SHA-256')
const Path = Type.Array(Hash, { maxItems: LIMITS.proofHashesMax })
const Note = Type.String({
  maxLength: LIMITS.noteBytesMax,
  description:
    'A checkpoint: a C2SP signed note of origin, size and root, by the root key of the ledger, with the cosignatures of witnesses',
})

export const GetLedgerHead = contract({
  name: 'GetLedgerHead',
  summary: 'Shows the head of the ledger as it was before this request, and its newest checkpoint',
  effect: 'read',
  idempotent: false,
  routes: [{ method: 'GET', path: '/ledger/head', status: 200 }],
  request: Empty,
  reply: Reply({
    origin: Type.String(),
    size: Type.Integer({ minimum: 1 }),
    hash: Type.String({ pattern: '^[0-9a-f]{64}$' }),
    epoch: Type.Integer({ minimum: 1 }),
    checkpoint: Type.Optional(Note),
  }),
  codes: [],
  example: { request: {} },
})

export const GetLedgerProof = contract({
  name: 'GetLedgerProof',
  summary:
    'Proves that a commit, and one of its events, stands in the ledger, and that an earlier tree is its beginning',
  effect: 'read',
  idempotent: false,
  routes: [{ method: 'GET', path: '/ledger/proof/:seq', status: 200 }],
  request: Fields({
    seq: size('Sequence of the commit, as in a receipt'),
    index: Type.Optional({ ...place, description: 'Place of an event in the commit, as in a receipt' }),
    tree_size: Type.Optional(size('Size of the tree; by default the newest checkpoint’s that covers seq')),
    from_size: Type.Optional(size('A smaller tree, of a checkpoint that you hold')),
  }),
  reply: Reply({
    origin: Type.String(),
    seq: Type.Integer({ minimum: 1 }),
    tree_size: Type.Integer({ minimum: 1 }),
    root: Hash,
    envelope: Bytes(1, LIMITS.envelopeBytesMax, 'Head, key id and signature of the commit'),
    path: Path,
    event: Type.Optional(Fields({ index: place, leaf_hash: Hash, path: Path })),
    consistency: Type.Optional(Fields({ from_size: Type.Integer({ minimum: 1 }), from_root: Hash, path: Path })),
    checkpoint: Type.Optional(Note),
  }),
  codes: ['NOT_FOUND'],
  example: { request: { seq: 1, index: 0 } },
})

const Moment = (description: string) =>
  Type.Optional(Type.String({ format: 'date-time', maxLength: LIMITS.timeCharsMax, description }))

const EVENT_NAMES = Object.keys(EVENTS).sort() as readonly EventName[]

export const ListLedgerEvents = contract({
  name: 'ListLedgerEvents',
  summary: 'Lists events of the ledger as it was before this request, oldest first, for auditors',
  effect: 'read',
  idempotent: false,
  routes: [{ method: 'GET', path: '/ledger/events', status: 200 }],
  request: Fields({
    types: Type.Optional(
      Type.Array(OneOf(EVENT_NAMES), { maxItems: LIMITS.eventTypesWantedMax, description: 'Types of events' }),
    ),
    key_id: Type.Optional({ ...KeyId, description: 'Events about this key' }),
    principal: Type.Optional(Text(1, LIMITS.principalIdBytesMax, 'Id of who asked')),
    action: Type.Optional(Text(1, LIMITS.policyIdCharsMax, 'What was asked, as in kms:Encrypt')),
    outcome: Type.Optional(OneOf(['success', 'denied', 'failed'])),
    request_id: Type.Optional(Text(1, LIMITS.requestIdCharsMax)),
    from_seq: Type.Optional(size('First sequence to look at')),
    to_seq: Type.Optional(size('Last sequence to look at')),
    from_time: Moment('Only commits of this time or later; RFC 3339, by the clock of their writer'),
    to_time: Moment('Only commits before this time'),
    ...Page,
  }),
  reply: Reply({
    items: Type.Array(
      Fields({
        seq: Type.Integer({ minimum: 1 }),
        index: place,
        hash: Type.String({ pattern: '^[0-9a-f]{64}$' }),
        time: Timestamp,
        event: Type.Unsafe<Readonly<Record<string, unknown>>>({
          type: 'object',
          description: 'As it was recorded, without identity tags; bytes are base64 text in every encoding',
        }),
      }),
    ),
    reached: Type.Optional(
      Fields(
        { seq: Type.Integer({ minimum: 1 }), hash: Type.String({ pattern: '^[0-9a-f]{64}$' }) },
        { description: 'The last commit that was looked at; absent if there was none' },
      ),
    ),
    next_cursor: Type.Optional(Type.String()),
  }),
  codes: ['KEY_NOT_FOUND', 'REVISION_CONFLICT'],
  example: { request: { types: ['KeyCreated', 'KeyDisabled'], max_results: 10 } },
})
