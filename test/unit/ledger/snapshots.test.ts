import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { LIMITS } from '../../../schemas/limits.ts'
import { createEventCheck } from '../../../src/core/eventCheck.ts'
import {
  formatSnapshotManifest,
  parseSnapshotManifest,
  type SnapshotManifest,
  toSnapshotSigned,
} from '../../../src/core/snapshot.ts'
import { createAnchorWatch, type NamedMemory } from '../../../src/ledger/anchors/watch.ts'
import type { Epoch } from '../../../src/ledger/epoch.ts'
import { createSnapshotKeeper, type Snappable } from '../../../src/ledger/snapshots/keeper.ts'
import { restoreTip } from '../../../src/ledger/snapshots/restore.ts'
import type { SnapshotStore } from '../../../src/ledger/snapshots/store.ts'
import { createVerifier, type Tip } from '../../../src/ledger/tip.ts'
import { openTreeFile, type TreeFile } from '../../../src/ledger/treeFile.ts'
import { countOf } from '../../fixtures/counts.ts'
import { createFakeTime } from '../../fixtures/fakeTime.ts'
import { createHistory, createSigner, type History, toEncrypted, toKeyCreated } from '../../fixtures/ledgerHistory.ts'
import { createMemoryStream, type MemoryStream } from '../../fixtures/memoryStream.ts'
import { toPlain } from '../../fixtures/plainView.ts'
import { createTelemetryLog } from '../../fixtures/telemetryLog.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kms-snapshots-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const INTERVAL_MS = 1000
const never = new AbortController().signal

/** Slots in memory, with a count of what was read. */
const createMemoryStore = (): SnapshotStore & { readonly slots: Map<string, Uint8Array>; fails: boolean } => {
  const slots = new Map<string, Uint8Array>()
  const put = async (name: string, bytes: Uint8Array): Promise<void> => {
    if (store.fails) throw new Error('the storage is away')
    slots.set(name, Uint8Array.from(bytes))
  }
  const store = {
    slots,
    fails: false,
    manifest: async (slot: number) => slots.get(`${slot}`),
    piece: async (slot: number, index: number) => slots.get(`${slot}.${index}`),
    putPiece: (slot: number, index: number, piece: Uint8Array) => put(`${slot}.${index}`, piece),
    putManifest: (slot: number, manifest: string) => put(`${slot}`, Buffer.from(manifest)),
  }
  return store
}

/** A ledger by hand in a stream of its own, read to its end, with its tree in a file. */
const readHistory = async (history: History, name = 'tree') => {
  const stream = createMemoryStream()
  const verifier = createVerifier(history.pin, createEventCheck())
  const path = join(folder, name)
  const file = openTreeFile(path, history.pin.origin)
  let tip = verifier.start
  const tips: Tip[] = [tip]
  for (const { seq, subject, payload } of history.messages) {
    stream.messages.push({ seq, subject, payload })
    const next = verifier.advance(tip, { seq, subject, payload })
    if (!next.ok) throw new Error(next.error.message)
    tip = next.value
    tips.push(tip)
    file.put(tip.tree)
  }
  await file.close()
  return { history, stream, path, tip, tips }
}
type Read = Awaited<ReturnType<typeof readHistory>>

const toEpoch = (name: string, openedAtSeq: number): Epoch => ({
  number: 1,
  ...createSigner(name),
  openedAtMs: 0,
  openedAtSeq,
})

/** Two epochs with a new root between them: 1 created, 2 opened, 3 and 4, 5 rotated, 6 opened, 7 to 9. */
const createRotated = (): History => {
  const history = createHistory()
  history.created()
  history.opened('epoch-1')
  history.append([toKeyCreated(1)])
  history.append([toEncrypted(2)])
  history.rotated('root-2')
  history.opened('epoch-2')
  for (const n of [3, 4, 5]) history.append([toEncrypted(n)])
  return history
}

/** What a writer would store when its timer goes off. */
const write = async (store: SnapshotStore, now: Snappable | (() => Snappable | undefined)) => {
  const [time, log] = [createFakeTime(), createTelemetryLog()]
  const keeper = createSnapshotKeeper({
    store,
    intervalMs: INTERVAL_MS,
    commitsMin: 1,
    now: typeof now === 'function' ? now : () => now,
    flushTree: async () => undefined,
    clock: time,
    scheduler: time,
    telemetry: log,
  })
  await time.advance(INTERVAL_MS)
  await keeper.stop()
  return log
}

/** What the keeper of a writer that stops does with its last tip, after it started from `from`. */
const finish = async (store: SnapshotStore, last: Snappable, from?: Tip, lateAfter = Number.POSITIVE_INFINITY) => {
  const [time, log] = [createFakeTime(), createTelemetryLog()]
  let puts = 0
  const keeper = createSnapshotKeeper({
    store: {
      ...store,
      putPiece(...args) {
        puts += 1
        if (puts > lateAfter) void time.jump(LIMITS.snapshotStopMs)
        return store.putPiece(...args)
      },
    },
    intervalMs: INTERVAL_MS,
    commitsMin: 2,
    now: () => undefined,
    flushTree: async () => undefined,
    clock: time,
    scheduler: time,
    telemetry: log,
  })
  if (from !== undefined) keeper.startedFrom(from)
  await keeper.stop()
  await keeper.finish(last)
  expect(time.timersPending).toBe(0)
  return { newest: keeper.newest(), log: log.lines.map(({ message }) => message), now: time.now() }
}

const restore = async (
  read: Read,
  store: SnapshotStore,
  more: { readonly memories?: readonly NamedMemory[]; readonly stream?: MemoryStream; readonly path?: string } = {},
) => {
  const log = createTelemetryLog()
  const tree: TreeFile = openTreeFile(more.path ?? read.path, read.history.pin.origin)
  let reads = 0
  const stream = more.stream ?? read.stream
  const counted = {
    ...stream,
    readBack: (seq: number) => {
      reads += 1
      return stream.readBack(seq)
    },
  }
  const tip = await restoreTip(
    {
      store,
      stream: counted,
      pin: read.history.pin,
      head: stream.messages.length,
      firstSeq: 1,
      watch: createAnchorWatch(more.memories ?? []),
      tree,
      telemetry: log,
    },
    never,
  )
  await tree.close()
  return { tip, reads, why: log.lines.map(({ fields }) => fields['why']) }
}

const manifestOf = (store: ReturnType<typeof createMemoryStore>, slot = 0): SnapshotManifest => {
  const parsed = parseSnapshotManifest(store.slots.get(`${slot}`) ?? Buffer.alloc(0))
  if (!parsed.ok) throw new Error(parsed.error)
  return parsed.value
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')

describe('a snapshot', () => {
  it('gives back the tip it was made of: chain, view, tree and root keys', async () => {
    const read = await readHistory(createRotated())
    const store = createMemoryStore()
    await write(store, { tip: read.tip, epoch: toEpoch('epoch-2', 6) })
    const { tip, why } = await restore(read, store)
    expect(why).toEqual([])
    expect(toPlain(tip?.view)).toEqual(toPlain(read.tip.view))
    const { chain, tree, roots, lost } = read.tip
    const plain = ({ root, epochKey, ...rest }: Tip['chain']) => toPlain({ ...rest, kids: [root.kid, epochKey?.kid] })
    expect(tip && plain(tip.chain)).toEqual(plain(chain))
    expect(tip?.tree.range.hashes.map(hex)).toEqual(tree.range.hashes.map(hex))
    expect(tip?.roots.map(({ fromSize, key }) => [fromSize, key.kid])).toEqual(
      roots.map(({ fromSize, key }) => [fromSize, key.kid]),
    )
    expect(tip?.lost).toEqual(lost)
  })

  it('is asked for again while the storage does not answer, a bounded number of times', async () => {
    const read = await readHistory(createRotated())
    const store = createMemoryStore()
    await write(store, { tip: read.tip, epoch: toEpoch('epoch-2', 6) })
    const failing = (times: number): SnapshotStore => ({
      ...store,
      async manifest(slot) {
        times -= 1
        if (times >= 0) throw new Error('timeout')
        return store.manifest(slot)
      },
    })
    const late = await restore(read, failing(LIMITS.snapshotReadAttemptsMax - 1))
    expect(toPlain(late.tip?.view)).toEqual(toPlain(read.tip.view))
    const never = await restore(read, failing(Number.POSITIVE_INFINITY))
    expect(never.tip).toBeUndefined()
    expect(never.why).toEqual(Array(LIMITS.snapshotReadAttemptsMax).fill('timeout'))
  })

  it('of a ledger with thousands of commits is gone on from after a handful of reads', async () => {
    const history = createHistory()
    history.created()
    history.opened('epoch-1')
    history.append([toKeyCreated(1)])
    for (let n = 0; n < countOf('snapshotCommits'); n += 1) history.append([toEncrypted(n)])
    const read = await readHistory(history)
    const store = createMemoryStore()
    await write(store, { tip: read.tip, epoch: toEpoch('epoch-1', 2) })
    const memories = [
      { name: 'head file', size: 2345, hash: read.tips[2345]?.view.at.hash ?? '' },
      { name: 'witness', size: 2346 },
    ]
    const { tip, reads } = await restore(read, store, { memories })
    expect(tip?.view.at).toEqual(read.tip.view.at)
    expect(reads).toBeLessThan(5)
  }, 120_000)

  it('is written at a stop, if enough commits are new since the one that the start was from', async () => {
    const { tips, tip } = await readHistory(createRotated())
    const [store, last] = [createMemoryStore(), { tip, epoch: toEpoch('epoch-2', 6) }]
    const first = await finish(store, last)
    expect(first).toMatchObject({ newest: { seq: 9, atMs: first.now }, log: ['a snapshot was written'] })
    expect(manifestOf(store).seq).toBe(9)
    expect((await finish(store, last, tips[7])).newest?.seq).toBe(9)
    const few = await finish(createMemoryStore(), last, tips[8])
    expect(few).toMatchObject({ newest: { seq: 8, atMs: tips[8]?.view.at.timeMs }, log: [] })
  })

  it('is given up at a stop when it takes too long, and leaves no manifest', async () => {
    const { tip } = await readHistory(createRotated())
    const store = createMemoryStore()
    const { newest, log } = await finish(store, { tip, epoch: toEpoch('epoch-2', 6) }, undefined, 0)
    expect(newest).toBeUndefined()
    expect(log).toEqual(['there was no time for a last snapshot'])
    expect(store.slots.has('0') || store.slots.has('1')).toBe(false)
  })

  it('is written over the older one, so that one always holds', async () => {
    const read = await readHistory(createRotated())
    const store = createMemoryStore()
    for (const seq of [7, 8, 9]) {
      const tip = read.tips[seq]
      if (tip) await write(store, { tip, epoch: toEpoch('epoch-2', 6) })
    }
    expect([0, 1].map((slot) => manifestOf(store, slot).seq)).toEqual([9, 8])
    store.slots.set('0.0', Buffer.from('torn'))
    const { tip, why } = await restore(read, store)
    expect(tip?.view.at.seq).toBe(8)
    expect(why).toEqual([expect.stringMatching(/not the one that was signed/)])
  })

  it('is given up, and leaves nothing that holds, when the process stops to be the writer meanwhile', async () => {
    const read = await readHistory(createRotated())
    const store = createMemoryStore()
    let asked = 0
    await write(store, () => {
      asked += 1
      return asked === 1 ? { tip: read.tip, epoch: toEpoch('epoch-2', 6) } : undefined
    })
    expect(asked).toBeGreaterThan(1)
    expect((await restore(read, store)).tip).toBeUndefined()
  })

  it('that cannot be stored is told of and costs nothing else', async () => {
    const read = await readHistory(createRotated())
    const store = createMemoryStore()
    store.fails = true
    const log = await write(store, { tip: read.tip, epoch: toEpoch('epoch-2', 6) })
    expect(log.lines).toMatchObject([{ level: 'warn', message: 'no snapshot was written' }])
  })
})

describe('a snapshot is not gone on from', () => {
  const expectRefused = async (read: Read, store: SnapshotStore, why: RegExp, more = {}): Promise<void> => {
    const restored = await restore(read, store, more)
    expect(restored.tip).toBeUndefined()
    expect(restored.why).toEqual([expect.stringMatching(why)])
  }

  it('when the key of an earlier epoch signed it, attested though it is', async () => {
    const read = await readHistory(createRotated())
    const store = createMemoryStore()
    await write(store, { tip: read.tip, epoch: toEpoch('epoch-1', 2) })
    const manifest = manifestOf(store)
    await store.putManifest(0, formatSnapshotManifest({ ...manifest, rotated: [] }))
    await expectRefused(read, store, /commit 9/)
  })

  it('when it leaves out that the root was rotated, or names a rotation that is none', async () => {
    const read = await readHistory(createRotated())
    const store = createMemoryStore()
    await write(store, { tip: read.tip, epoch: toEpoch('epoch-2', 6) })
    const manifest = manifestOf(store)
    await store.putManifest(0, formatSnapshotManifest({ ...manifest, rotated: [] }))
    await expectRefused(read, store, /commit 6 is not what it should be/)
    await store.putManifest(0, formatSnapshotManifest({ ...manifest, rotated: [4] }))
    await expectRefused(read, store, /commit 4/)
  })

  it('when whoever holds the old root planted an epoch that is not in the ledger', async () => {
    const read = await readHistory(createRotated())
    // The same ledger up to 5; from there on a root that was rotated away goes on in the stream, and not in the tree.
    const forged = createHistory()
    forged.created()
    forged.opened('epoch-1')
    forged.append([toKeyCreated(1)])
    forged.append([toEncrypted(2)])
    forged.opened('epoch-forged')
    for (const n of [6, 7, 8, 9]) forged.append([toEncrypted(n)])
    const other = await readHistory(forged, 'other')
    const store = createMemoryStore()
    await write(store, { tip: other.tip, epoch: toEpoch('epoch-forged', 5) })
    expect((await restore(other, store)).tip?.view.at.seq).toBe(9)
    await expectRefused(read, store, /tree file/, { stream: other.stream })
  })

  it('when the stream has another commit at its sequence', async () => {
    const read = await readHistory(createRotated())
    const store = createMemoryStore()
    await write(store, { tip: read.tip, epoch: toEpoch('epoch-2', 6) })
    const stream = createMemoryStream()
    stream.messages.push(...read.stream.messages.slice(0, 8), ...read.stream.messages.slice(7, 8))
    await expectRefused(read, store, /commit 9 is not what it should be/, { stream })
  })

  it.each<[string, (read: Read) => NamedMemory]>([
    ['hash', () => ({ name: 'x', size: 4, hash: 'ab'.repeat(32) })],
    ['root', () => ({ name: 'x', size: 4, root: Buffer.alloc(32) })],
    ['root at its own size', () => ({ name: 'x', size: 9, root: Buffer.alloc(32) })],
  ])('when an anchor remembers another %s', async (_what, toMemory) => {
    const read = await readHistory(createRotated())
    const store = createMemoryStore()
    await write(store, { tip: read.tip, epoch: toEpoch('epoch-2', 6) })
    await expectRefused(read, store, /an anchor remembers something else/, { memories: [toMemory(read)] })
  })

  it('when the key of its epoch signed the state of another place', async () => {
    const read = await readHistory(createRotated())
    const store = createMemoryStore()
    const [earlier, epoch] = [read.tips[8], toEpoch('epoch-2', 6)]
    if (earlier) await write(store, { tip: earlier, epoch })
    const manifest = manifestOf(store)
    const claim = { ...manifest, seq: 9, hash: read.tip.view.at.hash }
    const signature = hex(epoch.sign(toSnapshotSigned(claim)))
    await store.putManifest(0, formatSnapshotManifest({ ...claim, signature }))
    await expectRefused(read, store, /not that of its commit/)
  })
})
