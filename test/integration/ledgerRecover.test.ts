import { cp, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openCheckpoint } from '../../src/core/checkpoint.ts'
import { parseVerifyKey } from '../../src/core/ed25519.ts'
import { createHeadFile } from '../../src/ledger/headFile.ts'
import { appendRecovery, planRecovery, type RecoveryPlan } from '../../src/ledger/recover.ts'
import type { Report } from '../../src/verify/report.ts'
import { createVerifier } from '../../src/verify/verifier.ts'
import { systemTime } from '../fixtures/fakeLedger.ts'
import { createKey, drawRandom, never, unwrap } from '../fixtures/ledgerEntries.ts'
import { type LedgerStack, startLedgerStack, until } from '../fixtures/ledgerStack.ts'
import { readHeadMemory, toOffline, unwrapLedger } from '../fixtures/offlineStack.ts'

let stack: LedgerStack
beforeEach(async () => {
  stack = await startLedgerStack()
  await writeSome()
})
afterEach(() => stack[Symbol.asyncDispose]())

/** Two records and a clean stop; gives the last sequence. */
const writeSome = async (): Promise<number> => {
  const { ledger } = await stack.openWriter()
  unwrap(await ledger.append(drawRandom(), never))
  unwrap(await ledger.append(drawRandom(), never))
  await ledger.stop()
  return ledger.status().seq
}
const publishJunk = async (): Promise<void> => {
  const connection = await stack.connect('kms-ledger')
  await connection.request('kms.ledger.usage', 'junk', { timeout: 2_000 })
}
const refusalOf = async (): Promise<string | undefined> => {
  const opened = await stack.open()
  if (!opened.ok) return opened.error.kind
  const ready = await opened.value.ledger.whenReady()
  await opened.value.ledger.stop()
  return ready.ok ? undefined : ready.error.kind
}
const options = () => toOffline(stack)
const readMemories = () => readHeadMemory(stack)
const plan = async (): Promise<RecoveryPlan> =>
  unwrapLedger(await planRecovery(await options(), { memories: await readMemories(), tree: undefined }, never))

/** Appends what the plan needs, and the head file after it, as the command does. */
const recover = async (made: RecoveryPlan, lost = made.misfits.map(({ size, hash }) => ({ size, hash }))) => {
  const tip = unwrapLedger(await appendRecovery(await options(), made, { reason: 'a test', lost }, never))
  const head = createHeadFile(stack.files.head, { clock: systemTime, scheduler: systemTime, telemetry: stack.log })
  head.note({ origin: stack.pin.origin, size: tip.view.at.seq, hash: tip.view.at.hash })
  await head.close()
  return tip
}
const verify = async (): Promise<Report> => {
  const verifier = createVerifier({ pin: stack.pin, anchors: [] })
  for (const message of await stack.readAll()) verifier.add(message)
  return verifier.finish()
}

describe('a recovery', () => {
  it('names a message that is no commit; then the service starts, writes, and every verification says so', async () => {
    await publishJunk()
    expect(await refusalOf()).toBe('bad_commit')
    const made = await plan()
    expect(made).toMatchObject({ gap: { from: 5, to: 5 }, misfits: [] })
    expect(made.reason).toContain('sequence 5')
    const tip = await recover(made)
    expect(tip.view.at.seq).toBe(6)
    const { ledger } = await stack.openWriter()
    unwrap(await ledger.append(createKey(1), never))
    const { seq } = ledger.status()
    await until(() => ledger.status().checkpoints?.anchored?.size === seq)
    await ledger.stop()
    const report = await verify()
    expect(report).toMatchObject({ verdict: 1, findings: [], recovered: [{ from: 5, to: 5, reason: 'a test' }] })
    expect(report.lines).toContain('recovered 5..5: "a test"')
    const key = {
      name: stack.pin.origin,
      type: 'ed25519' as const,
      key: unwrap(parseVerifyKey(stack.pin.rootPublicKey)),
    }
    const trust = { origin: stack.pin.origin, ledgerKeys: [key] }
    expect(unwrap(openCheckpoint(await readFile(stack.files.checkpoint), trust)).checkpoint.size).toBe(seq)
    expect(await refusalOf()).toBeUndefined()
  })

  it('names several of them in one gap', async () => {
    for (let n = 0; n < 3; n += 1) await publishJunk()
    const made = await plan()
    expect(made.gap).toMatchObject({ from: 5, to: 7 })
    await recover(made)
    expect(await refusalOf()).toBeUndefined()
    expect((await verify()).recovered).toEqual([{ from: 5, to: 7, reason: 'a test' }])
  })

  it('of a ledger that was cut gives up what the anchors remember, and only what is named', async () => {
    await stack.server.halt()
    const copy = join(stack.dataDir, 'store-copy')
    await cp(stack.server.storeDir, copy, { recursive: true })
    await stack.server.resume()
    const last = await writeSome()
    await stack.server.halt()
    await rm(stack.server.storeDir, { recursive: true })
    await cp(copy, stack.server.storeDir, { recursive: true })
    await stack.server.resume()
    expect(await refusalOf()).toBe('shorter_than_anchor')
    const made = await plan()
    expect(made).toMatchObject({ gap: { from: 5, to: 4 }, misfits: [{ name: 'head file', size: last }] })
    // The checkpoint file remembers a root at the size that was lost; both are given up.
    const checkpoint = (await readFile(stack.files.checkpoint, 'utf8')).split('\n')
    const root = Buffer.from(checkpoint[2] ?? '', 'base64').toString('hex')
    const lost = [...made.misfits.map(({ size, hash }) => ({ size, hash })), { size: last, hash: root }]
    await recover(made, lost)
    const { ledger } = await stack.openWriter()
    for (let n = 0; n < 6; n += 1) unwrap(await ledger.append(drawRandom(), never))
    await until(() => (ledger.status().checkpoints?.anchored?.size ?? 0) > last)
    await ledger.stop()
    expect(await refusalOf()).toBeUndefined()
    // This connection is older than the server's two restarts.
    await until(() =>
      stack.readAll().then(
        () => true,
        () => false,
      ),
    )
    expect((await verify()).lines).toContain('recovered 5..4: "a test"')
  })

  it('that does not give up the checkpoint which was lost too leaves the start refused', async () => {
    await stack.server.halt()
    const copy = join(stack.dataDir, 'store-copy')
    await cp(stack.server.storeDir, copy, { recursive: true })
    await stack.server.resume()
    await writeSome()
    await stack.server.halt()
    await rm(stack.server.storeDir, { recursive: true })
    await cp(copy, stack.server.storeDir, { recursive: true })
    await stack.server.resume()
    await recover(await plan())
    expect(await refusalOf()).toBe('shorter_than_anchor')
  })

  it('is not planned while a service writes, and not of a stream that holds another ledger', async () => {
    const { ledger } = await stack.openWriter()
    expect(await planRecovery(await options(), { memories: [], tree: undefined }, never)).toMatchObject({
      error: { kind: 'writer_lives' },
    })
    await ledger.stop()
    const pin = { ...stack.pin, origin: 'older/0123456789abcdef' }
    expect(await planRecovery({ ...(await options()), pin }, { memories: [], tree: undefined }, never)).toMatchObject({
      error: { kind: 'bad_commit' },
    })
  })

  it('is refused by the stream when somebody wrote since it was planned', async () => {
    await publishJunk()
    const made = await plan()
    await publishJunk()
    const appended = await appendRecovery(
      await options(),
      made,
      { reason: 'late', lost: [] },
      AbortSignal.timeout(3_000),
    )
    expect(appended).toMatchObject({ ok: false, error: { kind: 'bad_commit' } })
  })
})
