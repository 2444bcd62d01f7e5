import { mkdtemp, readFile, rm, unlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { connectNats } from '../../src/ledger/connections.ts'
import { ensureOrigin, initLedger, toLedgerFiles } from '../../src/ledger/genesis.ts'
import { formatVkey, parseVkey } from '../../src/verify/vkey.ts'
import { systemTime } from '../fixtures/fakeLedger.ts'
import { never, unwrap } from '../fixtures/ledgerEntries.ts'
import { type LedgerStack, startLedgerStack } from '../fixtures/ledgerStack.ts'
import { createMemoryRoot } from '../fixtures/memoryRoot.ts'
import { startNatsServer } from '../fixtures/natsServer.ts'

let stack: LedgerStack
beforeEach(async () => {
  stack = await startLedgerStack()
})
afterEach(() => stack[Symbol.asyncDispose]())

const isBootable = async (): Promise<boolean> => {
  const opened = await stack.open()
  return opened.ok && (await opened.value.ledger.whenReady()).ok
}

describe('init', () => {
  const init = async (over: Partial<Parameters<typeof initLedger>[0]> = {}) => {
    const own = { clock: systemTime, scheduler: systemTime, telemetry: stack.log, hsm: stack.root, backend: 'main' }
    const sync = { monitorUrls: [stack.server.monitorUrl], assumeSyncAlways: false }
    const [provision, connection] = [await stack.connect('provision'), await stack.connect('kms-ledger')]
    const { dataDir, pin } = stack
    const options = {
      ...own,
      sync,
      replicas: 1,
      keepsCheckpoints: true,
      dataDir,
      origin: pin.origin,
      provision,
      connection,
      formatVkey,
      parseVkey,
      ...over,
    }
    return initLedger(options, AbortSignal.timeout(10_000))
  }

  it('may be repeated, and changes nothing the second time', async () => {
    const before = await stack.readAll()
    const vkey = await readFile(stack.files.vkey, 'utf8')
    expect(await init()).toEqual({ ok: true, value: stack.pin })
    expect(await stack.readAll()).toEqual(before)
    expect(await readFile(stack.files.vkey, 'utf8')).toBe(vkey)
    expect(vkey).toBe(`${formatVkey(stack.pin)}\n`)
  })

  it('finishes what a crash after commit 1 left undone', async () => {
    await unlink(stack.files.vkey)
    await unlink(stack.files.head)
    expect(await init()).toMatchObject({ ok: true })
    expect(await isBootable()).toBe(true)
  })

  it('does not replace a head file that went missing later', async () => {
    const { ledger } = await stack.openWriter()
    await ledger.stop()
    await unlink(stack.files.head)
    expect(await init()).toMatchObject({ ok: true })
    expect(await isBootable()).toBe(false)
  })

  it('is refused on an empty stream while the token holds other objects of this origin, and resumes without them', async () => {
    await using server = await startNatsServer()
    const dataDir = await mkdtemp(join(tmpdir(), 'kms-init-'))
    const origin = await ensureOrigin(dataDir, 'second')
    if (!origin.ok) throw new Error(origin.error.message)
    const connectAs = async (user: 'provision' | 'kms-ledger') => {
      const passwordFile = join(dataDir, user)
      await writeFile(passwordFile, server.passwords[user])
      const made = await connectNats({ servers: [server.url], user, passwordFile, telemetry: stack.log })
      if (!made.ok) throw new Error(made.error.message)
      return made.value
    }
    const [provision, connection] = [await connectAs('provision'), await connectAs('kms-ledger')]
    const hsm = createMemoryRoot()
    const sync = { monitorUrls: [server.monitorUrl], assumeSyncAlways: false }
    const fresh = { dataDir, origin: origin.value, hsm, sync, provision, connection }
    // A crash after the keys were made and before commit 1.
    unwrap(await hsm.createGenesis('main', never))
    hsm.others = 3
    const refused = await init(fresh)
    expect(refused).toMatchObject({ ok: false, error: { kind: 'genesis_refused' } })
    expect(refused.ok ? '' : refused.error.message).toContain('the token holds 3 objects')
    hsm.others = 0
    expect(await init(fresh)).toMatchObject({ ok: true, value: { origin: origin.value } })
    await provision.close()
    await connection.close()
    await rm(dataDir, { recursive: true })
  })

  it('is refused over the ledger of another origin or another root', async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'kms-init-'))
    const origin = await ensureOrigin(dataDir, 'second')
    if (!origin.ok) throw new Error(origin.error.message)
    expect(await init({ dataDir, origin: origin.value })).toMatchObject({ error: { kind: 'genesis_refused' } })
    const stranger = createMemoryRoot()
    expect(await init({ hsm: stranger })).toMatchObject({ error: { kind: 'genesis_refused' } })
    unwrap(await stranger.createGenesis('main', never))
    expect(await init({ hsm: stranger })).toMatchObject({ error: { kind: 'genesis_refused' } })
    await rm(dataDir, { recursive: true })
  })

  it('keeps the origin it made first, and refuses a name that is none', async () => {
    const again = await ensureOrigin(stack.dataDir, 'other-name')
    expect(again).toEqual({ ok: true, value: stack.pin.origin })
    expect(await ensureOrigin(join(stack.dataDir), 'UPPER')).toEqual(again)
    const empty = await mkdtemp(join(tmpdir(), 'kms-init-'))
    expect(await ensureOrigin(empty, 'UPPER')).toMatchObject({ error: { kind: 'file' } })
    expect(toLedgerFiles(empty).origin.startsWith(empty)).toBe(true)
    await rm(empty, { recursive: true })
  })

  it('records the sealed context key for later starts', async () => {
    const { ledger } = unwrap(await stack.open())
    unwrap(await ledger.whenReady())
    const { sealedContextKey = new Uint8Array(0) } = ledger.view().genesis
    expect(new Uint8Array(sealedContextKey)).toEqual(new Uint8Array(60).fill(7))
  })
})
