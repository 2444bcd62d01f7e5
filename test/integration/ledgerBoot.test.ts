import { readFile, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DiscardPolicy, jetstreamManager } from '@nats-io/jetstream'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Event } from '../../schemas/events.ts'
import { STREAM_LEDGER } from '../../schemas/streams.ts'
import { encodeCommit, encodeEvent, toSubject } from '../../src/core/commit.ts'
import { createEventCheck } from '../../src/core/eventCheck.ts'
import { createEpochOpener } from '../../src/ledger/epoch.ts'
import { createNatsStream } from '../../src/ledger/natsStream.ts'
import { createVerifier, type Tip } from '../../src/ledger/tip.ts'
import { systemTime } from '../fixtures/fakeLedger.ts'
import { eventOf, keyCreated, lidOf } from '../fixtures/history.ts'
import { createKey, disableKey, drawRandom, never, unwrap, useKey } from '../fixtures/ledgerEntries.ts'
import { type LedgerStack, type StackLedgerOptions, startLedgerStack, until } from '../fixtures/ledgerStack.ts'
import { createMemoryRoot } from '../fixtures/memoryRoot.ts'
import { startNatsServer } from '../fixtures/natsServer.ts'
import { toPlain } from '../fixtures/plainView.ts'

let stack: LedgerStack
beforeEach(async () => {
  stack = await startLedgerStack()
})
afterEach(() => stack[Symbol.asyncDispose]())

const readHead = async (): Promise<{ v: number; origin: string; size: number; hash: string }> =>
  JSON.parse(await readFile(stack.files.head, 'utf8'))
const writeHead = (head: unknown) => writeFile(stack.files.head, JSON.stringify(head))

/** Three commits more, then a clean stop. */
const writeSome = async (): Promise<void> => {
  const { ledger } = await stack.openWriter()
  unwrap(await ledger.append(createKey(1), never))
  unwrap(await ledger.append(useKey(1), never))
  unwrap(await ledger.append(drawRandom(), never))
  await ledger.stop()
}

/** What stopped a start: at once, or while reading. */
const refusalOf = async (options?: StackLedgerOptions): Promise<{ kind: string; message: string } | undefined> => {
  const opened = await stack.open(options)
  if (!opened.ok) return opened.error
  const ready = await opened.value.ledger.whenReady()
  if (!ready.ok) await until(() => opened.value.ledger.status().role === 'stopped')
  await opened.value.ledger.stop()
  return ready.ok ? undefined : ready.error
}

const provisioned = async () => jetstreamManager(await stack.connect('provision'), { checkAPI: false })

describe('a start on an untouched ledger', () => {
  it('rebuilds the view it had before, and reports ready only then', async () => {
    const first = await stack.openWriter()
    for (let n = 1; n <= 30; n += 1) unwrap(await first.ledger.append(createKey(n), never))
    await Promise.all(Array.from({ length: 300 }, (_, n) => first.ledger.append(useKey(1 + (n % 30)), never)))
    unwrap(await first.ledger.append(disableKey(7), never))
    await first.ledger.stop()
    const before = first.ledger.view()
    const second = await stack.open()
    if (!second.ok) throw new Error(second.error.message)
    expect(second.value.ledger.status()).toMatchObject({ role: 'starting', seq: 0 })
    expect((await second.value.ledger.whenReady()).ok).toBe(true)
    expect(toPlain(second.value.ledger.view())).toEqual(toPlain(before))
    expect(second.value.ledger.view().keys.byLid.get(lidOf(7))?.state).toBe('disabled')
  })

  it('keeps the head file at most a second behind, and exact after a stop', async () => {
    const { ledger } = await stack.openWriter()
    const { receipt } = unwrap(await ledger.append(drawRandom(), never))
    await until(async () => (await readHead()).size === receipt.seq)
    expect(await readHead()).toEqual({ v: 1, origin: stack.pin.origin, size: receipt.seq, hash: receipt.hash })
    const last = unwrap(await ledger.append(drawRandom(), never)).receipt
    await ledger.stop()
    expect(await readHead()).toMatchObject({ size: last.seq, hash: last.hash })
  })

  it('writes what waits before it stops, and refuses what comes after', async () => {
    const { ledger } = await stack.openWriter()
    const waiting = Array.from({ length: 20 }, () => ledger.append(drawRandom(), never))
    const stopped = ledger.stop()
    expect(await ledger.append(drawRandom(), never)).toMatchObject({ error: { code: 'LEDGER_UNAVAILABLE' } })
    for (const each of waiting) unwrap(await each)
    await stopped
    expect(ledger.status().role).toBe('stopped')
  })
})

describe('a start is refused', () => {
  beforeEach(() => writeSome())

  it('when the stream is shorter than the head file', async () => {
    const head = await readHead()
    await writeHead({ ...head, size: head.size + 2 })
    const refusal = await refusalOf()
    expect(refusal).toMatchObject({ kind: 'shorter_than_anchor' })
    expect(refusal?.message).toContain(`commits ${head.size + 1} to ${head.size + 2} are missing`)
  })

  it('when the hash at the head file’s size is another', async () => {
    const head = await readHead()
    await writeHead({ ...head, size: head.size - 1, hash: 'ab'.repeat(32) })
    const refusal = await refusalOf()
    expect(refusal).toMatchObject({ kind: 'anchor_disagrees' })
    expect(refusal?.message).toContain(`commit ${head.size - 1}`)
  })

  it('when the head file is missing, unless the operator trusts what is there', async () => {
    await unlink(stack.files.head)
    const refusal = await refusalOf()
    expect(refusal).toMatchObject({ kind: 'head_file_missing' })
    expect(refusal?.message).toContain('--trust-on-first-use')
    expect(await refusalOf({ trustOnFirstUse: true })).toBeUndefined()
  })

  it.each([
    ['not JSON', 'x'],
    ['of another version', JSON.stringify({ v: 2, origin: 'a/b', size: 1, hash: 'ab'.repeat(32) })],
    ['without a hash', JSON.stringify({ v: 1, origin: 'a/b', size: 1 })],
  ])('when the head file is %s', async (_what, text) => {
    await writeFile(stack.files.head, text)
    expect(await refusalOf({ trustOnFirstUse: true })).toMatchObject({ kind: 'head_file_unreadable' })
  })

  it('when the head file is of another ledger', async () => {
    await writeHead({ ...(await readHead()), origin: 'older/0123456789abcdef' })
    expect(await refusalOf()).toMatchObject({ kind: 'wrong_origin' })
  })

  it('when the stream holds a ledger of another origin or root than the pinned one', async () => {
    const other = { ...stack.pin, origin: 'older/0123456789abcdef' }
    await unlink(stack.files.head)
    await unlink(stack.files.checkpoint)
    const byOrigin = await refusalOf({ pin: other, trustOnFirstUse: true })
    expect(byOrigin).toMatchObject({ kind: 'bad_commit' })
    expect(byOrigin?.message).toContain('sequence 1')
    const stranger = unwrap(await createMemoryRoot().createGenesis('main', never))
    const byRoot = { ...stack.pin, rootPublicKey: stranger.rootPublicKey }
    expect(await refusalOf({ pin: byRoot, trustOnFirstUse: true })).toMatchObject({ kind: 'bad_commit' })
  })

  it.each([
    ['max_msgs', { max_msgs: 1_000_000 }],
    ['max_bytes', { max_bytes: 1_000_000_000 }],
    ['max_age', { max_age: 86_400_000_000_000 }],
    ['max_msgs_per_subject', { max_msgs_per_subject: 1_000_000 }],
    ['max_msg_size', { max_msg_size: 600_000 }],
    ['discard', { discard: DiscardPolicy.Old }],
    ['subjects', { subjects: ['kms.ledger.>'] }],
    ['republish', { republish: { src: 'kms.ledger.>', dest: 'copy.>' } }],
    ['subject_transform', { subject_transform: { src: 'kms.ledger.state', dest: 'kms.ledger.usage' } }],
    ['allow_rollup_hdrs', { allow_rollup_hdrs: true, deny_purge: false }],
  ])('when the stream’s %s was changed', async (setting, change) => {
    const manager = await provisioned()
    const updated = await manager.streams.update(STREAM_LEDGER, change).catch((error: unknown) => error)
    // Rollup cannot be had while deny_purge stands, and deny_purge cannot be taken back: the server says no.
    if (setting === 'allow_rollup_hdrs') return expect(updated).toBeInstanceOf(Error)
    const refusal = await refusalOf()
    expect(refusal).toMatchObject({ kind: 'stream_altered' })
    expect(refusal?.message).toContain(setting)
  })

  it('when history was erased by an update and the setting was put back', async () => {
    const manager = await provisioned()
    await manager.streams.update(STREAM_LEDGER, { max_msgs: 1, discard: DiscardPolicy.Old })
    await manager.streams.update(STREAM_LEDGER, { max_msgs: -1, discard: DiscardPolicy.New })
    expect(await refusalOf()).toMatchObject({ kind: 'stream_altered' })
  })

  it('when more replicas are configured than the stream has', async () => {
    expect(await refusalOf({ replicas: 3 })).toMatchObject({ kind: 'stream_altered' })
  })

  it('when nothing tells whether the server fsyncs, unless the operator vouches for it', async () => {
    const unknown = { monitorUrls: [], assumeSyncAlways: false }
    expect(await refusalOf({ sync: unknown })).toMatchObject({ kind: 'sync_not_always' })
    expect(await refusalOf({ sync: { ...unknown, assumeSyncAlways: true } })).toBeUndefined()
  })

  it('when the server acknowledges before it fsyncs', async () => {
    const configFile = join(stack.dataDir, 'lazy.conf')
    const conf = await readFile('nats.conf', 'utf8')
    await writeFile(configFile, conf.replace('sync_interval: always', 'sync_interval: "2m"'))
    await using lazy = await startNatsServer({ configFile })
    const sync = { monitorUrls: [stack.server.monitorUrl, lazy.monitorUrl], assumeSyncAlways: false }
    const refusal = await refusalOf({ sync })
    expect(refusal).toMatchObject({ kind: 'sync_not_always' })
    expect(refusal?.message).toContain(lazy.monitorUrl)
  })

  it('when the ledger holds a message that is not a commit', async () => {
    const connection = await stack.connect('kms-ledger')
    await connection.request('kms.ledger.usage', 'junk', { timeout: 2_000 })
    const refusal = await refusalOf()
    expect(refusal).toMatchObject({ kind: 'bad_commit' })
    expect(refusal?.message).toContain('sequence 6')
  })

  it('when a valid commit cannot be folded, naming its sequence, event and type', async () => {
    await publishCommit([eventOf('LedgerHeadRead', {}), keyCreated(1)])
    const refusal = await refusalOf()
    expect(refusal).toMatchObject({ kind: 'cannot_fold' })
    expect(refusal?.message).toContain('event 1 (KeyCreated) of commit 7')
  })

  it('when an event of a known type has data that do not fit', async () => {
    await publishCommit([eventOf('RandomGenerated', { bytes: -1 })])
    expect((await refusalOf())?.message).toContain('event 0 (RandomGenerated) of commit 7')
  })
})

/** A commit of another writer that holds the root, past every check of our own committer. */
const publishCommit = async (events: readonly Event[]): Promise<void> => {
  const verifier = createVerifier(stack.pin, createEventCheck())
  let tip: Tip = verifier.start
  for (const message of await stack.readAll()) {
    const next = verifier.advance(tip, message)
    if (!next.ok) throw new Error(next.error.message)
    tip = next.value
  }
  const epochs = createEpochOpener({ hsm: stack.root, backend: 'main', writer: 'other', clock: systemTime })
  const { commit, subject, epoch } = unwrap(await epochs.open(tip, never))
  const stream = createNatsStream(await stack.connect('kms-ledger'))
  const opened = { seq: commit.seq, subject, payload: commit.message }
  expect(await stream.publish({ ...opened, messageId: 'opened' })).toMatchObject({ kind: 'acked' })
  const next = verifier.advance(tip, opened)
  if (!next.ok) throw new Error(next.error.message)
  const { chain } = next.value
  const encoded = encodeCommit({
    origin: chain.origin,
    epoch: chain.epoch,
    seq: chain.seq + 1,
    first: chain.events,
    prev: chain.hash,
    timeMs: Date.now(),
    subject: toSubject(events.map(({ type }) => type)),
    events: events.map(encodeEvent),
    kid: epoch.kid,
    sign: epoch.sign,
  })
  const message = { seq: encoded.seq, subject: toSubject(events.map(({ type }) => type)), payload: encoded.message }
  expect(await stream.publish({ ...message, messageId: 'commit' })).toMatchObject({ kind: 'acked' })
}
