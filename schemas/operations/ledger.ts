import Type from 'typebox'
import { contract, Empty, Reply } from '../contract.ts'
import { LIMITS } from '../limits.ts'
import { Bytes, Fields } from '../primitives.ts'

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
