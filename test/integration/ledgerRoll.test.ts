import { rm } from 'node:fs/promises'
import { jetstreamManager } from '@nats-io/jetstream'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { must } from '../../src/core/result.ts'
import { dropStream, findDroppable } from '../../src/ledger/dropStream.ts'
import { createHeadFile, readHeadFile } from '../../src/ledger/headFile.ts'
import { readToEnd } from '../../src/ledger/readToEnd.ts'
import { endStream, moveOn, openEpochOffline } from '../../src/ledger/roll.ts'
import { appendRotation, planRotation } from '../../src/ledger/rotateRoot.ts'
import { createSnapshotStore } from '../../src/ledger/snapshots/store.ts'
import type { Tip } from '../../src/ledger/tip.ts'
import { createTreeKeeper, type TreeKeeper } from '../../src/ledger/treeKeeper.ts'
import { formatExportLine } from '../../src/verify/exportLine.ts'
import { systemTime } from '../fixtures/fakeLedger.ts'
import { createKey, disableKey, drawRandom, never, unwrap, useKey } from '../fixtures/ledgerEntries.ts'
import { type LedgerStack, startLedgerStack } from '../fixtures/ledgerStack.ts'
import { noteHead, readHeadMemory, toOffline, unwrapLedger } from '../fixtures/offlineStack.ts'
import { toPlain } from '../fixtures/plainView.ts'
import { judgeHere, judgeInPython } from '../fixtures/pythonVerifier.ts'

let stack: LedgerStack
beforeEach(async () => {
  stack = await startLedgerStack()
})
afterEach(() => stack[Symbol.asyncDispose]())

const SNAPSHOTS = { snapshots: { intervalMs: 3600_000, commitsMin: 1 } }

const options = () => toOffline(stack)
const readMemories = () => readHeadMemory(stack)
const openTree = (): TreeKeeper => createTreeKeeper(stack.files.tree, stack.pin.origin, stack.log)

/** Records, with a clean stop; the view that they make. */
const write = async (task: (append: (entry: ReturnType<typeof useKey>) => Promise<number>) => Promise<void>) => {
  const { ledger } = await stack.openWriter(SNAPSHOTS)
  await task(async (entry) => unwrap(await ledger.append(entry, never)).receipt.seq)
  await ledger.stop()
  return toPlain(ledger.view())
}

/** As the command does, but for the archive. `until` ends it early, as a crash would. */
const roll = async (until?: 'epoch' | 'end'): Promise<Tip> => {
  const tree = openTree()
  try {
    const onStep = (before: Tip, after: Tip) => void (after.tree !== before.tree && tree.put(after.tree))
    const goal = { memories: await readMemories(), tree: tree.file(), onStep }
    let tip = unwrapLedger(await readToEnd(await options(), goal, never))
    if (tip.chain.nextStream === undefined) {
      const opened = unwrapLedger(await openEpochOffline(await options(), tip, never))
      tree.put(opened.tip.tree)
      if (until === 'epoch') return opened.tip
      const store = createSnapshotStore(await stack.connect('kms-ledger'))
      tip = unwrapLedger(await endStream(await options(), { opened, store, tree: tree.file() }, never))
      tree.put(tip.tree)
    }
    await noteHead(stack, tip)
    if (until === 'end') return tip
    const { stream, nextStream, seq } = tip.chain
    must(stream !== undefined && nextStream !== undefined, 'the stream was ended')
    const move = { ended: stream, next: nextStream, seq, replicas: 1 }
    unwrapLedger(await moveOn(await stack.connect('provision'), move))
    return tip
  } finally {
    await tree.close()
  }
}

const findOldest = async () => {
  const tree = openTree()
  const goal = { memories: await readMemories(), tree: tree.file() }
  const found = await findDroppable(await options(), goal, never)
  await tree.close()
  return found
}
const drop = async (): Promise<string> => {
  const { name } = unwrapLedger(await findOldest())
  unwrapLedger(await dropStream(await stack.connect('provision'), name))
  return name
}
const streamInfo = async (name: string) => (await jetstreamManager(await stack.connect('provision'))).streams.info(name)

describe('a roll', () => {
  it('goes on in the next stream with sequence, chain, tree and view; both verifiers follow', async () => {
    await write(async (append) => {
      for (let n = 1; n <= 3; n += 1) await append(createKey(n))
      await append(disableKey(2))
    })
    const rolled = await roll()
    const { seq } = rolled.view.at
    expect(await streamInfo('KMS_LEDGER')).toMatchObject({ config: { sealed: true }, state: { last_seq: seq } })
    expect(await streamInfo('KMS_LEDGER_2')).toMatchObject({ state: { first_seq: seq + 1, last_seq: seq } })

    const { ledger } = await stack.openWriter(SNAPSHOTS)
    expect(stack.log.lines.filter(({ message }) => message === 'a snapshot is ignored')).toEqual([])
    expect(stack.log.lines.filter(({ message }) => message === 'the ledger was read').at(-1)?.fields['from']).toBe(
      seq + 1,
    )
    const receipt = unwrap(await ledger.append(useKey(1), never)).receipt
    expect(receipt.seq).toBe(seq + 2)
    for (const from of [1, seq, seq + 1])
      expect(unwrap(await ledger.prove({ seq: from, treeSize: seq + 2 }, never))).toMatchObject({ treeSize: seq + 2 })
    await ledger.stop()

    const head = unwrapLedger(await readHeadFile(stack.files.head))
    must(head !== undefined, 'the service left a head file')
    const messages = await stack.readAll()
    expect(messages.map(({ stream }) => stream)).toEqual([
      ...Array(seq).fill('KMS_LEDGER'),
      ...Array(messages.length - seq).fill('KMS_LEDGER_2'),
    ])
    const lines = messages.map((one) => `${formatExportLine({ stream: 'KMS_LEDGER', ...one })}\n`).join('')
    const given = { pin: stack.pin, anchors: [{ name: 'head file', size: head.size, hash: head.hash }], lines }
    const here = await judgeHere(given)
    expect(here).toMatchObject({ exit: 0, findings: [] })
    expect(await judgeInPython([given])).toEqual([here])
  })

  it.each(['epoch', 'end'] as const)('that was interrupted after the %s is finished by the next', async (step) => {
    await write(async (append) => void (await append(createKey(1))))
    const before = await roll(step)
    const refused = await stack.open(SNAPSHOTS)
    if (step === 'end') {
      // Nobody can write until the next stream is there; the old one is not sealed yet.
      const opened = unwrapLedger(refused)
      unwrapLedger(await opened.ledger.whenReady())
      expect(unwrapLedger({ ok: true, value: opened.ledger.status().role })).not.toBe('writer')
      await opened.ledger.stop()
    } else if (refused.ok) await refused.value.ledger.stop()
    const after = await roll()
    expect(after.view.at.seq).toBeGreaterThanOrEqual(before.view.at.seq)
    const view = await write(async (append) => void (await append(drawRandom())))
    expect(view).toMatchObject({ at: { seq: after.view.at.seq + 2 } })
  })

  it('makes streams that keep their messages when the server is restarted, killed or not', async () => {
    await write(async (append) => void (await append(createKey(1))))
    const { seq } = (await roll()).view.at
    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      const view = await write(async (append) => void (await append(drawRandom())))
      await stack.server.halt(signal)
      await stack.server.resume()
      // JetStream answers only once it has recovered its streams.
      const read = () => streamInfo('KMS_LEDGER_2').catch(() => undefined)
      await expect.poll(read, { timeout: 20_000 }).toMatchObject({ state: { first_seq: seq + 1 } })
      const { config, state } = await streamInfo('KMS_LEDGER_2')
      expect(config).not.toHaveProperty('first_seq')
      expect(view).toMatchObject({ at: { seq: state.last_seq } })
    }
  })

  it('is not gone on from while the next stream is missing, and says so', async () => {
    await write(async (append) => void (await append(createKey(1))))
    const rolled = await roll()
    const provision = await jetstreamManager(await stack.connect('provision'))
    await provision.streams.delete('KMS_LEDGER_2')
    const refused = await stack.open(SNAPSHOTS)
    expect(refused).toMatchObject({
      ok: false,
      error: { kind: 'stream_altered', message: expect.stringMatching(/run ledger roll again/) },
    })
    expect((await roll()).view.at.seq).toBe(rolled.view.at.seq)
    await write(async (append) => void (await append(drawRandom())))
  })

  it('can be repeated, after a rotation of the root too, and each old stream can go', async () => {
    await write(async (append) => {
      for (let n = 1; n <= 3; n += 1) await append(createKey(n))
    })
    await roll()
    await write(async (append) => void (await append(disableKey(2))))
    const tip = unwrapLedger(
      await planRotation(await options(), { memories: await readMemories(), tree: undefined }, never),
    ).tip
    await noteHead(stack, unwrapLedger(await appendRotation(await options(), tip, never)))
    await write(async (append) => void (await append(useKey(1))))
    await roll()
    const view = await write(async (append) => void (await append(useKey(3))))

    expect(await drop()).toBe('KMS_LEDGER')
    expect(await drop()).toBe('KMS_LEDGER_2')
    expect(await findOldest()).toMatchObject({ ok: false, error: { kind: 'bad_commit' } })
    const { ledger } = await stack.openWriter(SNAPSHOTS)
    expect(toPlain(ledger.view())).toMatchObject({ ...(view as object), at: expect.anything() })
    expect(ledger.roots()).toHaveLength(2)
    unwrap(await ledger.append(createKey(9), never))
    await ledger.stop()
  })
})

describe('without the streams that were deleted', () => {
  const rollAndDrop = async () => {
    await write(async (append) => void (await append(createKey(1))))
    await roll()
    const view = await write(async (append) => void (await append(createKey(2))))
    await drop()
    return view
  }

  it('a start that has no tree file, or no snapshot that holds, is refused and says what helps', async () => {
    await rollAndDrop()
    await rm(stack.files.tree)
    const first = unwrapLedger(await stack.open(SNAPSHOTS))
    expect(await first.ledger.whenReady()).toMatchObject({
      ok: false,
      error: { kind: 'begins_late', message: expect.stringMatching(/run ledger restore/) },
    })
    await first.ledger.stop()
    const store = createSnapshotStore(await stack.connect('kms-ledger'))
    for (const slot of [0, 1]) await store.putManifest(slot, '{}')
    const second = unwrapLedger(await stack.open(SNAPSHOTS))
    expect(await second.ledger.whenReady()).toMatchObject({ ok: false, error: { kind: 'begins_late' } })
    await second.ledger.stop()
  })

  it('nothing is dropped that a start needs: no snapshot after it, no drop', async () => {
    await write(async (append) => void (await append(createKey(1))))
    await roll()
    const store = createSnapshotStore(await stack.connect('kms-ledger'))
    for (const slot of [0, 1]) await store.putManifest(slot, '{}')
    expect(await findOldest()).toMatchObject({ ok: false, error: { kind: 'begins_late' } })
  })

  it('a head file that remembers another commit is still an objection', async () => {
    await rollAndDrop()
    const head = unwrapLedger(await readHeadFile(stack.files.head))
    must(head !== undefined, 'there is a head file')
    const wrong = createHeadFile(stack.files.head, { clock: systemTime, scheduler: systemTime, telemetry: stack.log })
    wrong.note({ ...head, hash: '0'.repeat(64) })
    await wrong.close()
    const opened = unwrapLedger(await stack.open(SNAPSHOTS))
    expect(await opened.ledger.whenReady()).toMatchObject({ ok: false })
    await opened.ledger.stop()
  })
})
