import { cp, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { STREAM_LEDGER } from '../../schemas/streams.ts'
import { openLedgerReader } from '../../src/client/ledgerReader.ts'
import { openStoredLedger } from '../../src/client/storedLedger.ts'
import type { LedgerMessage } from '../../src/core/chainState.ts'
import { initLedger } from '../../src/ledger/genesis.ts'
import { parseHeadFile } from '../../src/verify/anchors.ts'
import type { Report } from '../../src/verify/report.ts'
import { createVerifier } from '../../src/verify/verifier.ts'
import { formatVkey, parseVkey } from '../../src/verify/vkey.ts'
import { systemTime } from '../fixtures/fakeLedger.ts'
import { drawRandom, never, unwrap } from '../fixtures/ledgerEntries.ts'
import { type LedgerStack, startLedgerStack, until } from '../fixtures/ledgerStack.ts'
import { cutStoreAt, deleteMessages, flipBitOf, toStreamDir } from '../fixtures/natsStore.ts'

/** What somebody with the storage, but without the HSM and the head file, can do to it (docs/THREAT_MODEL.md). */

let stack: LedgerStack
let spare: string
beforeEach(async () => {
  stack = await startLedgerStack()
  spare = await mkdtemp(join(tmpdir(), 'kms-spare-'))
})
afterEach(async () => {
  await stack[Symbol.asyncDispose]()
  await rm(spare, { recursive: true, force: true })
})

const streamDir = () => toStreamDir(stack.server.storeDir, STREAM_LEDGER)
const readHead = async () => unwrap(parseHeadFile(await readFile(stack.files.head, 'utf8'), stack.pin.origin))

/** Appends `count` commits and stops; gives the last sequence. */
const write = async (count: number): Promise<number> => {
  const { ledger } = await stack.openWriter()
  let last = 0
  for (let n = 0; n < count; n += 1) last = unwrap(await ledger.append(drawRandom(1 + n), never)).receipt.seq
  await ledger.stop()
  return last
}

/** What stopped a start, at once or while reading; nothing if it writes. */
const refusalOf = async (): Promise<string | undefined> => {
  const opened = await stack.open()
  if (!opened.ok) return opened.error.kind
  const { ledger } = opened.value
  const ready = await ledger.whenReady()
  if (ready.ok) await until(() => ledger.status().role === 'writer')
  await ledger.stop()
  return ready.ok ? undefined : ready.error.kind
}

const provision = async () => jetstreamManager(await stack.connect('provision'), { checkAPI: false })

/** On a connection of its own: an older one may not have noticed yet that the server is another process. */
const readStored = async (): Promise<{ readonly lastSeq: number; readonly messages: readonly LedgerMessage[] }> => {
  const stored = await openStoredLedger(await stack.connect('auditor'), { timeoutMs: 10_000 })
  const messages: LedgerMessage[] = []
  for await (const message of stored.messages(1, AbortSignal.timeout(10_000))) messages.push(message)
  return { lastSeq: stored.lastSeq, messages }
}

/** As an auditor does it who has the head file: what the stream holds now, and how long it says it is. */
const verify = async (): Promise<Report> => {
  const verifier = createVerifier({ pin: stack.pin, anchors: [await readHead()] })
  const { lastSeq, messages } = await readStored()
  for (const message of messages) verifier.add(message)
  return verifier.finish(lastSeq)
}

interface Damage {
  readonly what: string
  /** To the files, while the server is down. */
  toFiles?(last: number): Promise<void>
  /** Through the server, by its operator. */
  toStream?(): Promise<void>
  /** How the service refuses to start; one of these. */
  readonly refusals: readonly string[]
  /** The first commit that is bad. */
  firstBad(last: number): number
}

const update = async (change: object): Promise<void> => {
  const { streams } = await provision()
  const { config } = await streams.info(STREAM_LEDGER)
  await streams.update(STREAM_LEDGER, { ...config, ...change })
}

const DAMAGES: readonly Damage[] = [
  {
    what: 'the tail is cut off',
    toFiles: (last) => cutStoreAt(streamDir(), last - 2),
    refusals: ['shorter_than_anchor'],
    firstBad: (last) => last - 2,
  },
  {
    what: 'one bit of an old commit is flipped',
    toFiles: (last) => flipBitOf(streamDir(), last - 4),
    refusals: ['bad_commit', 'shorter_than_anchor'],
    firstBad: (last) => last - 4,
  },
  {
    what: 'one bit of the last commit is flipped',
    toFiles: (last) => flipBitOf(streamDir(), last),
    refusals: ['bad_commit', 'shorter_than_anchor'],
    firstBad: (last) => last,
  },
  {
    what: 'the files of the messages are deleted',
    toFiles: () => deleteMessages(streamDir()),
    refusals: ['bad_commit', 'stream_empty', 'shorter_than_anchor', 'stream_altered'],
    firstBad: () => 1,
  },
  {
    what: 'the stream is deleted and made again',
    async toFiles() {
      await cp(streamDir(), join(spare, 'old'), { recursive: true })
      await rm(streamDir(), { recursive: true })
    },
    async toStream() {
      const { streams } = await provision()
      await streams.add({
        name: STREAM_LEDGER,
        subjects: ['kms.ledger.state', 'kms.ledger.usage'],
        storage: 'file',
        discard: 'new',
        deny_delete: true,
        deny_purge: true,
      })
    },
    refusals: ['stream_empty', 'shorter_than_anchor', 'stream_altered'],
    firstBad: () => 1,
  },
  {
    what: 'all but the last message go by max_msgs: 1',
    toStream: () => update({ max_msgs: 1, discard: 'old' }),
    refusals: ['stream_altered'],
    firstBad: () => 1,
  },
  {
    what: 'messages go by max_age',
    async toStream() {
      await update({ max_age: 200_000_000, duplicate_window: 100_000_000 })
      const { streams } = await provision()
      await until(async () => (await streams.info(STREAM_LEDGER)).state.messages === 0)
    },
    refusals: ['stream_altered'],
    firstBad: () => 1,
  },
]

describe('a store without damage', () => {
  it('is the same ledger after a restart, with or without the index of the server', async () => {
    const last = await write(4)
    await stack.server.halt()
    await rm(join(streamDir(), 'msgs', 'index.db'), { force: true })
    await stack.server.resume()
    expect(await verify()).toMatchObject({ verdict: 0, lastSeq: last, findings: [] })
    expect(await refusalOf()).toBeUndefined()
  })
})

describe('a start on a damaged store is refused, and the verifier names the first bad commit', () => {
  it.each(DAMAGES)('when $what', async ({ toFiles, toStream, refusals, firstBad }) => {
    const last = await write(8)
    expect((await verify()).verdict).toBe(0)
    if (toFiles !== undefined) {
      await stack.server.halt()
      await toFiles(last)
      await stack.server.resume()
    }
    await toStream?.()
    const refusal = await refusalOf()
    expect(refusals).toContain(refusal)
    const { verdict, findings } = await verify()
    expect([verdict, findings[0]?.seq]).toEqual([2, firstBad(last)])
  })

  it('and `init` makes no second ledger where the keys of a lost one are', async () => {
    await write(2)
    await stack.server.halt()
    await rm(streamDir(), { recursive: true })
    await stack.server.resume()
    expect(await refusalOf()).toBe('stream_missing')
    // The token of a real HSM holds the keys of the ledger that was lost.
    stack.root.others = 1
    const made = await initLedger(
      {
        dataDir: stack.dataDir,
        origin: stack.pin.origin,
        provision: await stack.connect('provision'),
        connection: await stack.connect('kms-ledger'),
        replicas: 1,
        keepsCheckpoints: true,
        sync: { monitorUrls: [stack.server.monitorUrl], assumeSyncAlways: false },
        hsm: stack.root,
        backend: 'main',
        clock: systemTime,
        scheduler: systemTime,
        telemetry: stack.log,
        formatVkey,
        parseVkey,
      },
      AbortSignal.timeout(10_000),
    )
    expect(made).toMatchObject({ ok: false, error: { kind: 'genesis_refused' } })
    expect(await refusalOf()).toBe('shorter_than_anchor')
  })

  it('and a reader of the client library says which commit the server no longer delivers', async () => {
    const last = await write(4)
    await stack.server.halt()
    await flipBitOf(streamDir(), last)
    await stack.server.resume()
    const connection = await connect(stack.server.login('auditor'))
    const seen: number[] = []
    const reading = async () => {
      for await (const { seq } of openLedgerReader({ connection, pin: stack.pin, until: 'last' })) seen.push(seq)
    }
    await expect(reading()).rejects.toThrow(new RegExp(`not valid at ${last}`))
    expect(seen.at(-1)).toBe(last - 1)
    await connection.close()
  })

  it('when it is an older copy', async () => {
    const old = await write(3)
    await stack.server.halt()
    await cp(stack.server.storeDir, join(spare, 'store'), { recursive: true })
    await stack.server.resume()
    await write(3)
    await stack.server.halt()
    await rm(stack.server.storeDir, { recursive: true })
    await cp(join(spare, 'store'), stack.server.storeDir, { recursive: true })
    await stack.server.resume()
    expect(await refusalOf()).toBe('shorter_than_anchor')
    const { verdict, findings } = await verify()
    expect([verdict, findings[0]?.seq]).toEqual([2, old + 1])
  })

  it('when a second writer has gone on from an older copy: the fork is told apart where it begins', async () => {
    const old = await write(3)
    await stack.server.halt()
    await cp(stack.server.storeDir, join(spare, 'store'), { recursive: true })
    await cp(stack.dataDir, join(spare, 'data'), { recursive: true })
    await stack.server.resume()
    await write(6)
    const own = await readHead()
    const ownCopy = join(spare, 'own')
    await cp(stack.dataDir, ownCopy, { recursive: true })

    // Yesterday's machine, whole: it knows no better, writes, and is longer than the true ledger in the end.
    const restore = async (dir: string) => {
      await stack.server.halt()
      await rm(stack.server.storeDir, { recursive: true })
      await cp(join(spare, 'store'), stack.server.storeDir, { recursive: true })
      for (const name of Object.values(stack.files))
        await cp(name.replace(stack.dataDir, dir), name).catch(() => rm(name, { force: true }))
      await stack.server.resume()
    }
    await restore(join(spare, 'data'))
    await write(12)
    const forked = (await readStored()).messages
    for (const name of Object.values(stack.files)) await cp(name.replace(stack.dataDir, ownCopy), name)

    expect(await refusalOf()).toBe('anchor_disagrees')
    const verifier = createVerifier({ pin: stack.pin, anchors: [own] })
    for (const message of forked) verifier.add(message)
    const { verdict, findings } = verifier.finish()
    expect(verdict).toBe(2)
    expect(findings.map(({ seq }) => seq)).toEqual([expect.any(Number)])
    expect(findings[0]?.seq).toBeGreaterThan(old)
  })
})
