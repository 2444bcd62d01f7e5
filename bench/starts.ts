import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { jetstream } from '@nats-io/jetstream'
import { foldEvent } from '../projections/view.ts'
import { encodeCommit, encodeEvent, toSubject } from '../src/core/commit.ts'
import { createEventCheck } from '../src/core/eventCheck.ts'
import { createEpochOpener } from '../src/ledger/epoch.ts'
import { createSnapshotKeeper, type Snappable } from '../src/ledger/snapshots/keeper.ts'
import { createSnapshotStore } from '../src/ledger/snapshots/store.ts'
import { createVerifier, type Tip, toNextStream } from '../src/ledger/tip.ts'
import { openTreeFile } from '../src/ledger/treeFile.ts'
import { systemTime } from '../test/fixtures/fakeLedger.ts'
import { drawRandom, never, unwrap } from '../test/fixtures/ledgerEntries.ts'
import { type LedgerStack, startLedgerStack } from '../test/fixtures/ledgerStack.ts'
import { writeResults } from '../test/fixtures/results.ts'
import type { StartOrder } from './ledgerStart.ts'
import { runTimed } from './timedProcess.ts'

const TAIL = 1000
const COMMITS_WRITTEN = 1_000_000
const IN_FLIGHT = 2000
/** Questions about server, stream and anchors, pieces of the snapshot, and what is sent to say that nothing more comes. */
const OVERHEAD_MESSAGES = 200
const ROOT = fileURLToPath(new URL('../', import.meta.url))

/**
 * A stream of `commits` commits of one event each, a snapshot, and a tail of 1000 commits after it: what a fresh process needs
 * until its ledger is ready, reading the whole stream, and from the snapshot. Throws if it reads more than the tail there.
 */
export const benchStarts = async (commits: number): Promise<void> => {
  const dir = await mkdtemp(join(tmpdir(), 'chatelaine-bench-'))
  const configFile = join(dir, 'nats.conf')
  // A write to the disk for each of a million messages would measure nothing that this bench is about.
  const config = await readFile(join(ROOT, 'nats.conf'), 'utf8')
  await writeFile(configFile, config.replace('sync_interval: always', 'sync_interval: "1m"'))
  await using stack = await startLedgerStack({ configFile, sync: { monitorUrls: [], assumeSyncAlways: true } })
  try {
    await fill(stack, commits)
    const { url } = stack.server
    // Leaves its password where the measured process finds it.
    await stack.connect('kms-front')
    const { origin, rootPublicKey } = stack.pin
    const order = {
      url,
      dataDir: stack.dataDir,
      origin,
      rootKey: Buffer.from(rootPublicKey).toString('hex'),
    }
    const whole = await start({ ...order, treeFile: join(dir, 'tree'), usesSnapshot: false })
    const tail = await start({ ...order, treeFile: stack.files.tree, usesSnapshot: true })
    if (tail.messages > TAIL + OVERHEAD_MESSAGES)
      throw new Error(`a start from the snapshot read ${tail.messages} messages`)
    if (whole.messages < commits) throw new Error(`a start without snapshot read ${whole.messages} messages only`)
    if (tail.seq !== whole.seq) throw new Error('the two starts came to different ends')
    const rows = [
      ['the whole stream', whole],
      ['the snapshot and the tail', tail],
    ] as const
    const lines = [
      `${whole.seq} commits of one event each in a real stream, the last ${TAIL} of them after the snapshot. A fresh process each, its`,
      `own start included; ${availableParallelism()} cores; time and memory by /usr/bin/time -v.`,
      '',
      '| read at start | messages from the server | seconds | seconds of CPU | max RSS, MiB |',
      '|---|---:|---:|---:|---:|',
      ...rows.map(
        ([what, { messages, cost }]) =>
          `| ${what} | ${messages} | ${cost.wallSeconds.toFixed(1)} | ${cost.cpuSeconds.toFixed(1)} | ${Math.round(cost.rssMib)} |`,
      ),
    ]
    console.log(lines.join('\n'))
    // Short runs are for trying it out.
    if (commits >= COMMITS_WRITTEN)
      await writeResults('bench-start', 'Starting on a long ledger', lines, 'npm run bench -- start')
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

const start = async (order: StartOrder) => {
  const script = join(ROOT, 'bench/ledgerStart.ts')
  const cost = await runTimed(['--import', 'tsx', script, JSON.stringify(order)], 0)
  const { seq, messages }: { readonly seq: number; readonly messages: number } = JSON.parse(cost.stdout)
  return { seq, messages, cost }
}

/** A writer's work without its waiting: commits of one event, many in flight; then a snapshot, then the tail. */
const fill = async (stack: LedgerStack, commits: number): Promise<void> => {
  const connection = await stack.connect('kms-ledger')
  const publish = createPublisher(jetstream(connection))
  const verifier = createVerifier(stack.pin, createEventCheck())
  const tree = openTreeFile(stack.files.tree, stack.pin.origin)
  let tip: Tip = verifier.start
  const move = (next: Tip): void => {
    tip = next
    tree.put(next.tree)
  }
  for (const message of await stack.readAll()) move(unwrap(verifier.advance(tip, message)))
  const opener = createEpochOpener({ hsm: stack.root, backend: 'main', writer: 'bench', clock: systemTime })
  const { epoch, commit: opening, subject } = unwrap(await opener.open(tip, never))
  await publish(subject, opening.message)
  const place = { seq: opening.seq, subject, ...toNextStream(tip) }
  move(unwrap(verifier.advance(tip, { ...place, payload: opening.message })))
  const append = async (): Promise<void> => {
    const events = drawRandom().events
    const timeMs = Date.now()
    const { seq, hash: prev, events: first, origin } = tip.chain
    const usage = toSubject(events.map(({ type }) => type))
    const head = { origin, epoch: epoch.number, seq: seq + 1, subject: usage, first, timeMs, prev }
    const commit = encodeCommit({ ...head, events: events.map(encodeEvent), kid: epoch.kid, sign: epoch.sign })
    const meta = { seq: commit.seq, epoch: epoch.number, timeMs }
    const view = events.reduce((before, event) => foldEvent(before, event, meta), tip.view)
    move(verifier.extend(tip, commit, { view, timeMs }))
    await publish(usage, commit.message)
  }
  while (tip.chain.seq < commits - TAIL) await append()
  await publish.settle()
  await storeSnapshot(stack, { tip, epoch }, () => tree.flush())
  for (let left = TAIL; left > 0; left--) await append()
  await publish.settle()
  await tree.close()
}

const storeSnapshot = async (stack: LedgerStack, now: Snappable, flushTree: () => Promise<void>): Promise<void> => {
  const store = createSnapshotStore(await stack.connect('kms-ledger'))
  const time = { clock: systemTime, scheduler: systemTime, telemetry: stack.log }
  const keeper = createSnapshotKeeper({
    store,
    intervalMs: 3_600_000,
    commitsMin: 1,
    now: () => now,
    flushTree,
    ...time,
  })
  await keeper.stop()
  await keeper.finish(now)
  if (keeper.newest()?.seq !== now.tip.chain.seq) throw new Error('the snapshot was not stored')
}

/** Publishes in order without waiting for each acknowledgement, with a bound on those that are due. */
const createPublisher = (client: ReturnType<typeof jetstream>) => {
  let due: Promise<unknown>[] = []
  const settle = async (): Promise<void> => {
    await Promise.all(due)
    due = []
  }
  const publish = async (subject: string, payload: Uint8Array): Promise<void> => {
    due.push(client.publish(subject, payload, { timeout: 60_000 }))
    if (due.length >= IN_FLIGHT) await settle()
  }
  return Object.assign(publish, { settle })
}
