import { readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { initLedger } from '../../src/ledger/genesis.ts'
import { parseHeadFile } from '../../src/verify/anchors.ts'
import type { Report } from '../../src/verify/report.ts'
import { createVerifier } from '../../src/verify/verifier.ts'
import { formatVkey } from '../../src/verify/vkey.ts'
import { systemTime } from '../fixtures/fakeLedger.ts'
import { drawRandom, never, unwrap } from '../fixtures/ledgerEntries.ts'
import { type LedgerStack, startLedgerStack, until } from '../fixtures/ledgerStack.ts'

/** What becomes of a ledger whose store was damaged on the disk of a real nats-server. */
let stack: LedgerStack
let last: number
beforeEach(async () => {
  stack = await startLedgerStack()
  const { ledger } = await stack.openWriter()
  for (let n = 0; n < 12; n += 1) unwrap(await ledger.append(drawRandom(), never))
  await ledger.stop()
  last = ledger.status().seq
})
afterEach(() => stack[Symbol.asyncDispose]())

/** The folder with the stream's blocks of messages; the server is halted. */
const findMessages = async (): Promise<string> => {
  const files = await readdir(stack.server.storeDir, { recursive: true })
  const block = files.find((file) => file.includes('KMS_LEDGER') && file.endsWith('.blk'))
  if (block === undefined) throw new Error(`no block in ${files.join(' ')}`)
  return join(stack.server.storeDir, block, '..')
}
/** Without its index the server reads the blocks themselves, as after a power cut. */
const dropIndex = (folder: string): Promise<void> => rm(join(folder, 'index.db'), { force: true })

const damage = async (change: (folder: string) => Promise<void>): Promise<void> => {
  await stack.server.halt()
  await change(await findMessages())
  await stack.server.resume()
}

const refusalOf = async (): Promise<string | undefined> => {
  const opened = await stack.open()
  if (!opened.ok) return opened.error.kind
  const ready = await opened.value.ledger.whenReady()
  await opened.value.ledger.stop()
  expect(opened.value.roles).not.toContain('writer')
  return ready.ok ? undefined : ready.error.kind
}

/** By pin and head file, as an auditor would. */
const verify = async (): Promise<Report> => {
  const head = unwrap(parseHeadFile(await readFile(stack.files.head, 'utf8'), stack.pin.origin))
  const verifier = createVerifier({ pin: stack.pin, anchors: [head] })
  // This connection may be older than the server's restart.
  let messages: Awaited<ReturnType<LedgerStack['readAll']>> = []
  await until(async () => {
    try {
      messages = await stack.readAll()
      return true
    } catch {
      return false
    }
  })
  for (const message of messages) verifier.add(message)
  return verifier.finish()
}

describe('a store that was damaged', () => {
  it('by nothing but a restart is the same ledger', async () => {
    await damage(dropIndex)
    expect(await refusalOf()).toBeUndefined()
    expect((await verify()).findings).toEqual([])
  })

  it('by a cut of its tail is refused, and the verifier names where it ends', async () => {
    await damage(async (folder) => {
      const block = join(folder, '1.blk')
      await truncate(block, (await stat(block)).size - 700)
      await dropIndex(folder)
    })
    expect(await refusalOf()).toBe('shorter_than_anchor')
    const report = await verify()
    expect(report.verdict).toBe(2)
    expect(report.lastSeq).toBeLessThan(last)
    expect(report.findings[0]).toMatchObject({ seq: report.lastSeq + 1 })
  })

  it.each([0.3, 0.6, 0.95])(
    'by one flipped bit at %f of its length is refused, and the verifier fails it',
    async (at) => {
      await damage(async (folder) => {
        const block = join(folder, '1.blk')
        const bytes = await readFile(block)
        const place = Math.floor(bytes.length * at)
        bytes[place] = (bytes[place] ?? 0) ^ 1
        await writeFile(block, bytes)
        await dropIndex(folder)
      })
      expect(['shorter_than_anchor', 'bad_commit', 'stream_altered', 'unreachable']).toContain(await refusalOf())
      expect((await verify()).verdict).toBe(2)
    },
  )

  it('by the loss of its blocks is refused', async () => {
    await damage(async (folder) => {
      for (const file of await readdir(folder)) await rm(join(folder, file), { force: true })
    })
    expect(await refusalOf()).toBe('shorter_than_anchor')
    expect((await verify()).verdict).toBe(2)
  })

  it('and was made anew is refused, by the start and by init', async () => {
    await damage((folder) => rm(join(folder, '..'), { recursive: true }))
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
      },
      AbortSignal.timeout(10_000),
    )
    expect(made).toMatchObject({ ok: false, error: { kind: 'genesis_refused' } })
    expect(await refusalOf()).toBe('shorter_than_anchor')
  })
})
