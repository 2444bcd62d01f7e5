import { readFile, rm, writeFile } from 'node:fs/promises'
import { connect } from '@nats-io/transport-node'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openLedgerReader } from '../../src/client/ledgerReader.ts'
import { openCheckpoint } from '../../src/core/checkpoint.ts'
import { parseVerifyKey, type VerifyKey } from '../../src/core/ed25519.ts'
import { must } from '../../src/core/result.ts'
import { formatNote, toNoteSignature } from '../../src/core/signedNote.ts'
import { initLedger } from '../../src/ledger/genesis.ts'
import { readHeadFile } from '../../src/ledger/headFile.ts'
import { appendRotation, planRotation, type RotationPlan } from '../../src/ledger/rotateRoot.ts'
import type { Tip } from '../../src/ledger/tip.ts'
import { formatExportLine } from '../../src/verify/exportLine.ts'
import { formatVkey, parseVkey } from '../../src/verify/vkey.ts'
import { drawRandom, never, unwrap } from '../fixtures/ledgerEntries.ts'
import { type LedgerStack, startLedgerStack } from '../fixtures/ledgerStack.ts'
import { createMemoryRoot } from '../fixtures/memoryRoot.ts'
import { noteHead, readHeadMemory, toOffline, unwrapLedger } from '../fixtures/offlineStack.ts'
import { judgeHere, judgeInPython } from '../fixtures/pythonVerifier.ts'

let stack: LedgerStack
beforeEach(async () => {
  stack = await startLedgerStack()
})
afterEach(() => stack[Symbol.asyncDispose]())

/** A record and a clean stop. */
const writeSome = async (): Promise<void> => {
  const { ledger } = await stack.openWriter()
  unwrap(await ledger.append(drawRandom(), never))
  await ledger.stop()
}
const options = (hsm = stack.root) => toOffline(stack, hsm)
const init = async (hsm = stack.root) => {
  const [provision, connection] = [await stack.connect('provision'), await stack.connect('kms-ledger')]
  const sync = { monitorUrls: [stack.server.monitorUrl], assumeSyncAlways: false }
  const { dataDir, pin } = stack
  const ledger = { dataDir, origin: pin.origin, replicas: 1, keepsCheckpoints: true, formatVkey, parseVkey }
  return initLedger({ ...(await options(hsm)), ...ledger, sync, provision, connection }, never)
}
const readMemories = () => readHeadMemory(stack)
const ask = async () =>
  planRotation(await options(), { memories: await readMemories(), onStep: () => undefined, tree: undefined }, never)
const plan = async (): Promise<RotationPlan> => unwrapLedger(await ask())

/** As the command does, without checkpoints: those are the service's here, at its stop and after its next start. */
const rotate = async (): Promise<Tip> => {
  const tip = unwrapLedger(await appendRotation(await options(), (await plan()).tip, never))
  await noteHead(stack, tip)
  return tip
}
const rootsOf = async (): Promise<readonly string[]> =>
  unwrap(await stack.root.listRoots('main', never)).map((root) => Buffer.from(root).toString('hex'))
const keyOf = (root: Uint8Array): VerifyKey => {
  const key = parseVerifyKey(root)
  must(key.ok, 'a root is a key')
  return key.value
}
const readCheckpoint = async (root: Uint8Array) =>
  openCheckpoint(await readFile(stack.files.checkpoint), {
    origin: stack.pin.origin,
    ledgerKeys: [{ name: stack.pin.origin, type: 'ed25519', key: keyOf(root) }],
  })
const toLines = async (): Promise<string> =>
  (await stack.readAll()).map((one) => `${formatExportLine({ ...one, stream: 'KMS_LEDGER' })}\n`).join('')

describe('a rotation of the root', () => {
  it('is followed by epochs and checkpoints of the new one; both verifiers, readers and starts go on by the first', async () => {
    await writeSome()
    const roots: Uint8Array[] = [stack.pin.rootPublicKey]
    for (let n = 0; n < 2; n += 1) {
      const before = roots.at(-1) ?? new Uint8Array(0)
      expect(await readCheckpoint(before)).toMatchObject({ ok: true })
      const tip = await rotate()
      roots.push(tip.chain.root.raw)
      expect(tip.roots.map(({ key }) => key.raw)).toEqual(roots)
      await writeSome()
      const signed = unwrap(await readCheckpoint(tip.chain.root.raw))
      expect(signed.checkpoint.size).toBeGreaterThan(tip.view.at.seq)
      expect(await readCheckpoint(before)).toMatchObject({ ok: false })
    }
    expect(new Set(roots.map((root) => Buffer.from(root).toString('hex')))).toEqual(new Set(await rootsOf()))

    const head = unwrapLedger(await readHeadFile(stack.files.head))
    must(head !== undefined, 'the service left a head file')
    const anchors = [{ name: 'head file', size: head.size, hash: head.hash }]
    const given = { pin: stack.pin, anchors, lines: await toLines() }
    const here = await judgeHere(given)
    expect(here).toMatchObject({ exit: 0, findings: [] })
    expect(await judgeInPython([given])).toEqual([here])
    const wrongPin = { ...given, pin: { ...stack.pin, rootPublicKey: roots[2] ?? new Uint8Array(0) } }
    expect((await judgeHere(wrongPin)).exit).toBe(2)

    const auditor = await connect(stack.server.login('auditor'))
    const types: string[] = []
    for await (const { type } of openLedgerReader({ connection: auditor, pin: stack.pin, until: 'last' }))
      types.push(type)
    await auditor.close()
    expect(types.filter((type) => type === 'RootRotated')).toHaveLength(2)
    expect(types.filter((type) => type === 'EpochOpened')).toHaveLength(3)
  })

  it('needs no former root afterwards', async () => {
    await writeSome()
    await rotate()
    await writeSome()
    expect(unwrap(await stack.root.destroyRoot('main', stack.pin.rootPublicKey, never))).toBe(true)
    await rotate()
    await writeSome()
    expect(await judgeHere({ pin: stack.pin, lines: await toLines() })).toMatchObject({ exit: 1, findings: [] })
    // Such a ledger is told by its pin and by the root in force; neither alone is enough.
    expect(await init()).toEqual({ ok: true, value: stack.pin })
    const stranger = createMemoryRoot()
    unwrap(await stranger.createGenesis('main', never))
    expect(await init(stranger)).toMatchObject({ error: { kind: 'genesis_refused' } })
    await rm(stack.files.vkey)
    expect(await init()).toMatchObject({ error: { kind: 'genesis_refused' } })
  })

  it('that was interrupted after its root was made goes on with it, and makes no other', async () => {
    await writeSome()
    const { tip } = await plan()
    const broken = { ...stack.root, signAsRoot: () => stack.root.signAsRoot('main', SILENT, AbortSignal.abort()) }
    expect(await appendRotation({ ...(await options()), hsm: broken }, tip, never)).toMatchObject({
      error: { kind: 'hsm' },
    })
    const made = await rootsOf()
    expect(made).toHaveLength(2)
    const rotated = await rotate()
    expect(await rootsOf()).toEqual(made)
    expect(made).toContain(Buffer.from(rotated.chain.root.raw).toString('hex'))
  })

  it('is not the service’s concern when a root is left beside the one in force', async () => {
    await writeSome()
    unwrap(await stack.root.createNextRoot('main', [stack.pin.rootPublicKey], never))
    await writeSome()
    expect(await readCheckpoint(stack.pin.rootPublicKey)).toMatchObject({ ok: true })
  })

  it('that was interrupted after its commit is finished by a start or by another run, and is not done twice', async () => {
    await writeSome()
    expect((await plan()).isPending).toBe(false)
    const { tip } = await plan()
    // The commit is in the stream, and whoever wrote it never knew: neither head file nor checkpoint say so.
    unwrapLedger(await appendRotation(await options(), tip, never))
    const { isPending, tip: now } = await plan()
    expect(isPending).toBe(true)
    expect(now.view.at.seq).toBe(tip.view.at.seq + 1)
    // Another root now would be no valid commit, and is not written.
    expect(await appendRotation(await options(), now, never)).toMatchObject({ error: { kind: 'bad_commit' } })
    await writeSome()
    expect((await plan()).isPending).toBe(false)
    expect(await readCheckpoint(now.chain.root.raw)).toMatchObject({ ok: true })
    expect((await judgeHere({ pin: stack.pin, lines: await toLines() })).findings).toEqual([])
  })

  it('loses to whoever wrote since it was planned', async () => {
    await writeSome()
    const { tip } = await plan()
    await writeSome()
    expect(await appendRotation(await options(), tip, never)).toMatchObject({ error: { kind: 'bad_commit' } })
    expect((await plan()).isPending).toBe(false)
  })

  it('is not planned while a service writes, before the first epoch, or on a ledger that an anchor does not know', async () => {
    expect(await ask()).toMatchObject({ error: { kind: 'bad_commit' } })
    const { ledger } = await stack.openWriter()
    expect(await ask()).toMatchObject({ error: { kind: 'writer_lives' } })
    await ledger.stop()
    const head = JSON.parse(await readFile(stack.files.head, 'utf8'))
    await writeFile(stack.files.head, `${JSON.stringify({ ...head, size: head.size + 1 })}\n`)
    expect(await ask()).toMatchObject({ error: { kind: 'shorter_than_anchor' } })
  })

  it('leaves a checkpoint refused that the former root signs of what came after it', async () => {
    await writeSome()
    const rotated = await rotate()
    await writeSome()
    const { checkpoint, note } = unwrap(await readCheckpoint(rotated.chain.root.raw))
    expect(checkpoint.size).toBeGreaterThan(rotated.view.at.seq)
    const root = stack.pin.rootPublicKey
    const signature = unwrap(await stack.root.signCheckpoint('main', { root, checkpoint }, never))
    const key = { name: stack.pin.origin, type: 'ed25519', key: keyOf(root) } as const
    const forged = formatNote({ text: note.text, signatures: [toNoteSignature(key, signature)] })
    await writeFile(stack.files.checkpoint, forged)
    expect(await readCheckpoint(stack.pin.rootPublicKey)).toMatchObject({ ok: true })
    const opened = await stack.open()
    must(opened.ok, 'it opens')
    expect(await opened.value.ledger.whenReady()).toMatchObject({ error: { kind: 'anchor_disagrees' } })
  })
})

/** What no root signs, since no token holds this one. */
const SILENT = { root: new Uint8Array(32), message: new Uint8Array(0) }
