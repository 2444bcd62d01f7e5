import { createHash } from 'node:crypto'
import { encodeCanonical } from '../../src/core/canonical.ts'
import { encodeContext, encodeHeader } from '../../src/core/ciphertext.ts'
import { decodeCommit, toSignedBytes } from '../../src/core/commit.ts'
import { toKid } from '../../src/core/ed25519.ts'
import { encodeMsgpack } from '../../src/core/encodeMsgpack.ts'
import { createKeyedHashes, encodeSorted } from '../../src/core/keyedHash.ts'
import { toEpochAttestation, toRootAttestation } from '../../src/core/ledgerEvents.ts'
import { deriveIdentity, hashCanonical, toLid } from '../../src/core/lid.ts'
import { toInclusionPath, toLeafHash, toMerkleRoot } from '../../src/core/merkle.ts'
import { must, type Result } from '../../src/core/result.ts'
import { Sensitive } from '../../src/core/sensitive.ts'
import { toSnapshotSigned } from '../../src/core/snapshot.ts'
import { toContextKeyAad, toHandleAad } from '../../src/hsm/material.ts'
import { formatVkey } from '../../src/verify/vkey.ts'
import {
  createHistory,
  createSampleHistory,
  createSigner,
  type History,
  LID,
  ORIGIN,
  toEncrypted,
} from '../fixtures/ledgerHistory.ts'
import { toCheckpoints } from './checkpoints.ts'
import { toExports } from './exports.ts'

/**
 * The test vectors of docs/LEDGER.md: path under this folder → text. Everything follows from fixed names (a key's private
 * seed is SHA-256 of its name), so the text never changes unless the format does.
 */
export const toVectors = (): ReadonlyMap<string, string> =>
  new Map([
    ['keys.json', toJson(toKeys())],
    ['commits.json', toJson(toCommits())],
    ['attestations.json', toJson(toAttestations())],
    ['merkle.json', toJson(toMerkle())],
    ['checkpoints.json', toJson(toCheckpoints(createTour()))],
    ['msgpack.json', toJson(toMsgpack())],
    ['keyedHashes.json', toJson(toKeyedHashes())],
    ['identity.json', toJson(toIdentities())],
    ['ciphertext.json', toJson(toCiphertext())],
    ['sealing.json', toJson(toSealing())],
    ...toExports(),
  ])

const toJson = (value: unknown): string => `${JSON.stringify(value, undefined, 2)}\n`
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
const unwrap = <T>(result: Result<T, unknown>): T => {
  must(result.ok, 'a vector cannot be made')
  return result.value
}

const KEY_NAMES = ['root', 'root 2', 'epoch-1', 'epoch-2'] as const

const toKeys = () => ({
  origin: ORIGIN,
  vkey: formatVkey(createHistory().pin),
  keys: KEY_NAMES.map((name) => {
    const { publicKey, kid } = createSigner(name)
    return { name, seed: createHash('sha256').update(name).digest('hex'), public_key: hex(publicKey), kid }
  }),
  refused_public_keys: [
    { why: 'the identity', public_key: '01'.padEnd(64, '0') },
    { why: 'of order 8', public_key: '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05' },
    { why: 'not a point', public_key: '02'.padEnd(64, '0') },
  ],
})

/** Genesis, epoch, a state commit, a usage commit, a root rotation, an epoch of the new root, a recovery of two sequences. */
const createTour = (): History => {
  const history = createSampleHistory(3)
  history.rotated('root 2')
  history.opened('epoch-3')
  history.append([toEncrypted(500)])
  history.appendRaw(Buffer.from('not a commit'))
  history.skip()
  history.recovered({ lost: [{ size: 11, hash: 'ab'.repeat(32) }] })
  history.opened('epoch-4')
  return history
}

const toCommits = () =>
  createTour().messages.map(({ seq, subject, payload }) => {
    const commit = decodeCommit(payload)
    if (!commit.ok) return { seq, subject, message: hex(payload), invalid: commit.error }
    const { headBytes, kid, signature, hash, events, head } = commit.value
    return {
      seq,
      subject,
      message: hex(payload),
      head: hex(headBytes),
      signed_bytes: hex(toSignedBytes(headBytes)),
      kid,
      signature: hex(signature),
      events: events.map(({ type, bytes }) => ({ type, bytes: hex(bytes), leaf_hash: hex(toLeafHash(bytes)) })),
      prev: hex(head.prev),
      events_root: hex(head.eventsRoot),
      first: head.first,
      hash: hex(hash),
    }
  })

const toAttestations = () => {
  const prev = createHash('sha256').update('prev').digest()
  const { publicKey } = createSigner('epoch-1')
  const epoch = { origin: ORIGIN, epoch: 1, seq: 2, prev, kid: toKid(publicKey), publicKey }
  const late = { ...epoch, epoch: 300, seq: 2 ** 40 }
  const next = createSigner('root 2')
  const root = { origin: ORIGIN, seq: 70000, prev, publicKey: next.publicKey }
  const by = createSigner('root')
  const shown = (name: string, input: object, bytes: Uint8Array, signer = by) => ({
    name,
    input,
    bytes: hex(bytes),
    signature: hex(signer.sign(bytes)),
  })
  const snapshot = toSnapshotSigned({
    ...{ origin: ORIGIN, name: 'keys', version: 1, seq: 9, hash: hex(prev) },
    state_sha256: createHash('sha256').update('state').digest('hex'),
  })
  const toInput = ({ publicKey: key, prev: before, ...rest }: typeof epoch) => ({
    ...rest,
    prev: hex(before),
    public_key: hex(key),
  })
  return [
    shown('epoch', toInput(epoch), toEpochAttestation(epoch)),
    shown('epoch with wide ints', toInput(late), toEpochAttestation(late)),
    shown(
      'root rotation, signed by the new root',
      { origin: ORIGIN, seq: root.seq, prev: hex(prev), public_key: hex(root.publicKey) },
      toRootAttestation(root),
      next,
    ),
    shown(
      'snapshot, signed by an epoch key',
      { origin: ORIGIN, name: 'keys', version: 1, seq: 9, hash: hex(prev), state_sha256: 'SHA-256("state")' },
      snapshot,
      createSigner('epoch-1'),
    ),
  ]
}

const toMerkle = () =>
  [1, 2, 3, 5, 8].map((size) => {
    const leaves = Array.from({ length: size }, (_, index) => Buffer.from(`leaf ${index}`))
    return {
      leaves: leaves.map((leaf) => leaf.toString('utf8')),
      root: hex(toMerkleRoot(leaves)),
      paths: leaves.map((_, index) => toInclusionPath(leaves, index).map(hex)),
    }
  })

const toMsgpack = () => ({
  written: [0, 127, 128, 255, 256, 65535, 65536, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1, -1, -32, -33, -128, -129]
    .map((value: unknown) => ({ value, bytes: hex(encodeMsgpack(value)) }))
    .concat(
      ['', 'ä', 'x'.repeat(31), 'x'.repeat(32), true, ['a', 1], { b: 1, a: 'x', absent: undefined }].map((value) => ({
        value,
        bytes: hex(encodeMsgpack(value)),
      })),
    ),
  refused_anywhere: [
    { why: 'a duplicate key', bytes: '82a16101a16102' },
    { why: 'a key that is not a string', bytes: '810101' },
    { why: 'a surrogate in UTF-8', bytes: 'a3eda080' },
    { why: 'an overlong form', bytes: 'a2c080' },
    { why: '2^53', bytes: 'cf0020000000000000' },
    { why: 'an extension type', bytes: 'd40000' },
    { why: 'trailing bytes', bytes: '0101' },
    { why: 'cut off', bytes: 'a261' },
  ],
})

const CONTEXT_KEY = createHash('sha256').update('context key').digest()

const toKeyedHashes = () => {
  using key = new Sensitive(Buffer.from(CONTEXT_KEY))
  const hashes = createKeyedHashes(key)
  const contexts = [{}, { tenant: 'acme' }, { b: '2', a: '1', ä: 'ö' }]
  const bodies = [
    { key_spec: 'AES_256', tags: [{ value: 'v', key: 'k' }] },
    { b: 2 ** 40, a: true, '10': 'x', '9': 'y' },
  ]
  return {
    context_key: hex(CONTEXT_KEY),
    contexts: contexts.map((context) => {
      const encoded = unwrap(encodeContext(context))
      const hash = hashes.hashContext(encoded)
      return { context, encoded: hex(encoded), context_hash: hash === undefined ? null : hex(hash) }
    }),
    bodies: bodies.map((body) => ({
      body,
      encoded: hex(encodeSorted(body)),
      idempotency_hash: hex(hashes.hashIdempotency(body)),
    })),
  }
}

const toIdentities = () => ({
  canonical: [
    {},
    { tenant: 'acme' },
    { b: true, a: -1, list: ['x', ''], record: { inner: 'é' } },
    { 'e\u0301': 'decomposed key', n: Number.MAX_SAFE_INTEGER },
  ].map((attributes) => {
    const canonical = unwrap(encodeCanonical(attributes))
    return { attributes, canonical: hex(canonical), lid: hashCanonical(canonical) }
  }),
  derived: [{ tenant: 'acme' }].map((attributes) => {
    const key_id = '0197f2a0-0000-7000-8000-000000000001'
    return { attributes, key_id, lid: unwrap(deriveIdentity(attributes, key_id)).lid }
  }),
})

const toCiphertext = () => {
  const lid = toLid(Buffer.alloc(32, 0x5a))
  const blobs = [
    { spec: 'AES_256', version: 1, context: {} },
    { spec: 'AES_256', version: 7, context: { tenant: 'acme' } },
    { spec: 'AES_128', version: 2, context: { tenant: 'acme' } },
  ] as const
  return blobs.map(({ spec, version, context }) => {
    const header = encodeHeader({ spec, lid, version })
    const encoded = unwrap(encodeContext(context))
    return { spec, lid, version, context, header: hex(header), aad: hex(Buffer.concat([header, encoded])) }
  })
}

const toSealing = () => ({
  handle: {
    ...{ origin: ORIGIN, backend: 'default', lid: LID, version: 3 },
    aad: hex(toHandleAad(ORIGIN, 'default', LID, 3)),
  },
  context_key: { origin: ORIGIN, backend: 'default', aad: hex(toContextKeyAad(ORIGIN, 'default')) },
})
