import { createHash } from 'node:crypto'
import { unlink } from 'node:fs/promises'
import type { NatsConnection } from '@nats-io/transport-node'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { formatSnapshotManifest, type SnapshotManifest, toSnapshotSigned } from '../../src/core/snapshot.ts'
import { createSnapshotStore, type SnapshotStore } from '../../src/ledger/snapshots/store.ts'
import { createKey, disableKey, drawRandom, never, unwrap, useKey } from '../fixtures/ledgerEntries.ts'
import { createSigner } from '../fixtures/ledgerHistory.ts'
import { type LedgerStack, startLedgerStack, until } from '../fixtures/ledgerStack.ts'
import { toPlain } from '../fixtures/plainView.ts'

let stack: LedgerStack
let store: SnapshotStore
let connection: NatsConnection
beforeEach(async () => {
  stack = await startLedgerStack()
  connection = await stack.connect('kms-ledger')
  store = createSnapshotStore(connection)
})
afterEach(() => stack[Symbol.asyncDispose]())

const OFTEN = { snapshots: { intervalMs: 50, commitsMin: 1 } }
const NEVER = { snapshots: { intervalMs: 3600_000, commitsMin: Number.MAX_SAFE_INTEGER } }
const AT_STOP = { snapshots: { intervalMs: 3600_000, commitsMin: 3 } }

const readManifest = async (slot: number): Promise<SnapshotManifest | undefined> => {
  const text = await store.manifest(slot)
  return text && JSON.parse(Buffer.from(text).toString())
}
const newestManifest = async (): Promise<SnapshotManifest> => {
  const found = [await readManifest(0), await readManifest(1)].filter((one) => one !== undefined)
  const newest = found.sort((a, b) => b.seq - a.seq)[0]
  if (newest === undefined) throw new Error('there is no snapshot')
  return newest
}

/** Some keys, one of them disabled, and a snapshot of all that; then commits after it, and a clean stop. */
const writeWithSnapshot = async (
  tail = 3,
): Promise<{ readonly snapshot: SnapshotManifest; readonly view: unknown; readonly seq: number }> => {
  const first = await stack.openWriter(OFTEN)
  for (let n = 1; n <= 5; n += 1) unwrap(await first.ledger.append(createKey(n), never))
  const { seq } = unwrap(await first.ledger.append(disableKey(3), never)).receipt
  await until(async () => (await readManifest(0))?.seq === seq || (await readManifest(1))?.seq === seq)
  await first.ledger.stop()
  const second = await stack.openWriter(NEVER)
  for (let n = 0; n < tail; n += 1) unwrap(await second.ledger.append(useKey(1), never))
  await second.ledger.stop()
  return { snapshot: await newestManifest(), view: toPlain(second.ledger.view()), seq: second.ledger.status().seq }
}

/** Lines of the log since `from` that are about snapshots and reading. */
const told = (from: number, message: string) =>
  stack.log.lines
    .slice(from)
    .filter((line) => line.message === message)
    .map(({ fields }) => fields)

/** A start: where reading began, what the view is, and why snapshots were ignored. */
const start = async (options = {}) => {
  const from = stack.log.lines.length
  const opened = unwrap(await stack.open({ ...NEVER, ...options }))
  const ready = await opened.ledger.whenReady()
  const view = toPlain(opened.ledger.view())
  const messages = opened.connection.stats().inMsgs
  await opened.ledger.stop()
  return {
    ready,
    view,
    messages,
    readFrom: told(from, 'the ledger was read')[0]?.['from'],
    ignored: told(from, 'a snapshot is ignored').map(({ why }) => why),
  }
}

/** Stores a state and a manifest for it, signed by whom the test wants. */
const plant = async (
  slot: number,
  state: Uint8Array,
  manifest: SnapshotManifest,
  sign?: (message: Uint8Array) => Uint8Array,
): Promise<void> => {
  await store.putPiece(slot, 0, state)
  const claim = {
    ...manifest,
    bytes: state.length,
    pieces: 1,
    state_sha256: createHash('sha256').update(state).digest('hex'),
  }
  const signature = sign ? Buffer.from(sign(toSnapshotSigned(claim))).toString('hex') : manifest.signature
  await store.putManifest(slot, formatSnapshotManifest({ ...claim, signature }))
}

const slotOf = async ({ seq }: SnapshotManifest): Promise<number> => ((await readManifest(0))?.seq === seq ? 0 : 1)

/** So that only the newest is there to be believed. */
const spoilOther = async (manifest: SnapshotManifest): Promise<void> =>
  store.putManifest(1 - (await slotOf(manifest)), '{}')

const readState = async (manifest: SnapshotManifest): Promise<Buffer> => {
  const slot = await slotOf(manifest)
  const pieces: Uint8Array[] = []
  for (let index = 0; index < manifest.pieces; index += 1)
    pieces.push((await store.piece(slot, index)) ?? Buffer.alloc(0))
  return Buffer.concat(pieces)
}

describe('a start with a snapshot', () => {
  it('reads only what came after it, and has the view of the whole ledger', async () => {
    const { snapshot, view, seq } = await writeWithSnapshot()
    const { ready, readFrom, ...rest } = await start()
    expect(ready.ok).toBe(true)
    expect(readFrom).toBe(snapshot.seq + 1)
    expect(rest).toMatchObject({ view, ignored: [] })
    expect((await start({ snapshots: undefined })).view).toEqual(view)
    const { ledger } = await stack.openWriter(NEVER)
    expect(unwrap(await ledger.append(drawRandom(), never)).receipt.seq).toBeGreaterThan(seq)
  })

  it('gets no more messages than its tail and some questions, however long the ledger is', async () => {
    const writer = await stack.openWriter({ snapshots: { intervalMs: 300, commitsMin: 1 } })
    const commits = 1500
    for (let n = 0; n < commits; n += 1) unwrap(await writer.ledger.append(drawRandom(), never))
    const { seq } = writer.ledger.status()
    await until(async () => (await readManifest(0))?.seq === seq || (await readManifest(1))?.seq === seq)
    await writer.ledger.stop()
    const { messages, readFrom } = await start()
    expect(readFrom).toBe(seq + 1)
    expect(messages).toBeLessThan(100)
    const whole = await start({ snapshots: undefined })
    expect(whole.messages).toBeGreaterThan(commits)
  }, 60_000)

  it('goes on from one after the other, over changes of the writer and a renewal of the epoch key', async () => {
    const epoch = { commitsRenew: 4, commitsMax: 100, ageRenewMs: 3600_000, ageMaxMs: 7200_000 }
    let last = 0
    for (let round = 0; round < 3; round += 1) {
      const { ledger } = await stack.openWriter({ ...OFTEN, bounds: { epoch } })
      for (let n = 0; n < 7; n += 1) last = unwrap(await ledger.append(drawRandom(), never)).receipt.seq
      await until(async () => (await newestManifest().catch(() => undefined))?.seq === last)
      await ledger.stop()
      const { readFrom, ignored } = await start()
      expect([readFrom, ignored]).toEqual([last + 1, []])
    }
  })
})

describe('a clean stop', () => {
  it('writes a snapshot of all there is, from which the next start has nothing to read', async () => {
    const first = await stack.openWriter(AT_STOP)
    for (let n = 1; n <= 5; n += 1) unwrap(await first.ledger.append(createKey(n), never))
    // In the queue when the stop comes: what is still written belongs to the snapshot.
    const last = first.ledger.append(disableKey(3), never)
    await first.ledger.stop()
    const { seq } = unwrap(await last).receipt
    expect((await newestManifest()).seq).toBe(seq)
    const { readFrom, view, ignored } = await start()
    expect([readFrom, ignored]).toEqual([seq + 1, []])
    expect(view).toEqual(toPlain(first.ledger.view()))
  })

  it('writes none for fewer new commits than the bound since the snapshot that it started from', async () => {
    const first = await stack.openWriter(AT_STOP)
    for (let n = 1; n <= 5; n += 1) unwrap(await first.ledger.append(createKey(n), never))
    expect(first.ledger.status().snapshot).toBeUndefined()
    await first.ledger.stop()
    const before = await newestManifest()
    const second = await stack.openWriter(AT_STOP)
    expect(second.ledger.status().snapshot).toMatchObject({ seq: before.seq })
    // With the opening of its epoch, two.
    unwrap(await second.ledger.append(drawRandom(), never))
    await second.ledger.stop()
    expect(await newestManifest()).toEqual(before)
  })
})

describe('a snapshot that does not hold is ignored, said so, and the ledger is read from its beginning:', () => {
  const expectIgnored = async (view: unknown, why: RegExp): Promise<void> => {
    const started = await start()
    expect(started.ready.ok).toBe(true)
    expect(started.readFrom).toBe(1)
    expect(started.view).toEqual(view)
    expect(started.ignored.join('; ')).toMatch(why)
  }

  it('a changed state', async () => {
    const { snapshot, view } = await writeWithSnapshot()
    await spoilOther(snapshot)
    const state = await readState(snapshot)
    const at = state.indexOf('disabled')
    expect(at).toBeGreaterThan(0)
    state.write('enabled!', at)
    await store.putPiece(await slotOf(snapshot), 0, state)
    await expectIgnored(view, /not the one that was signed/)
  })

  it('a changed state with the right digest, and the old signature or one by another key', async () => {
    const { snapshot, view } = await writeWithSnapshot()
    await spoilOther(snapshot)
    const state = await readState(snapshot)
    state.write('enabled!', state.indexOf('disabled'))
    await plant(await slotOf(snapshot), state, snapshot)
    await expectIgnored(view, /not signed by the key of its epoch/)
    const stranger = createSigner('stranger')
    await plant(await slotOf(snapshot), state, snapshot, stranger.sign)
    await expectIgnored(view, /not signed by the key of its epoch/)
    await plant(await slotOf(snapshot), state, { ...snapshot, kid: stranger.kid }, stranger.sign)
    await expectIgnored(view, /does not open the epoch of its key/)
  })

  it('a state that was cut', async () => {
    const { snapshot, view } = await writeWithSnapshot()
    await spoilOther(snapshot)
    await store.putPiece(await slotOf(snapshot), 0, (await readState(snapshot)).subarray(0, -1))
    await expectIgnored(view, /not the one that was signed/)
  })

  it('another version, another name, another ledger, a manifest that is none', async () => {
    const { snapshot, view } = await writeWithSnapshot()
    await spoilOther(snapshot)
    const slot = await slotOf(snapshot)
    for (const [change, why] of [
      [{ version: 999 }, /of version 999, not ours/],
      [{ name: 'keys' }, /it is keys of version/],
      [{ origin: 'other/0123456789abcdef' }, /of another ledger/],
      [{ seq: snapshot.seq - 1 }, /another commit at its sequence/],
      [{ seq: 1_000_000 }, /the ledger ends at/],
      [{ opened: 3 }, /commit 3/],
      [{ rotated: [2] }, /not in order/],
    ] as const) {
      await store.putManifest(slot, formatSnapshotManifest({ ...snapshot, ...change }))
      await expectIgnored(view, why)
    }
    await store.putManifest(slot, 'no manifest')
    await expectIgnored(view, /its manifest is none/)
  })

  it('one that an anchor does not fit', async () => {
    const { snapshot, view } = await writeWithSnapshot()
    await spoilOther(snapshot)
    const memory = { name: 'an anchor', size: 3, hash: 'ab'.repeat(32) }
    const anchor = {
      name: memory.name,
      recall: async () => ({ kind: 'remembers' as const, what: memory }),
      keep: async () => ({ kind: 'unanswered' as const, why: 'a test' }),
    }
    const checkpoints = {
      file: stack.files.checkpoint,
      treeFile: stack.files.tree,
      anchors: [anchor],
      required: 1,
      requiredWitnesses: 0,
      intervalMs: 100,
      witnessIntervalMs: 100,
    }
    const { ready, ignored, readFrom } = await start({ checkpoints })
    expect(ready).toMatchObject({ ok: false, error: { kind: 'anchor_disagrees' } })
    expect(readFrom).toBe(1)
    expect(ignored).toContain('an anchor remembers something else')
    expect((await start()).view).toEqual(view)
  })

  it('one that the tree file of this machine does not reach', async () => {
    const { view } = await writeWithSnapshot()
    await unlink(stack.files.tree)
    await expectIgnored(view, /tree file/)
    expect((await start()).readFrom).not.toBe(1)
  })

  it('all of them, when they are gone', async () => {
    const { view } = await writeWithSnapshot()
    for (const slot of [0, 1]) await store.putManifest(slot, '')
    await expectIgnored(view, /its manifest is none/)
  })
})
