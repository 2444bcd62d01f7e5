import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect, type NatsConnection } from '@nats-io/transport-node'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Config } from '../../schemas/config.ts'
import { openAnchors } from '../../src/cli/openAnchors.ts'
import { toCheckpointText } from '../../src/core/checkpoint.ts'
import { parseVerifyKey } from '../../src/core/ed25519.ts'
import { formatNoteKey, type NoteKey, toNoteSignature } from '../../src/core/signedNote.ts'
import type { SignedCheckpoint } from '../../src/ledger/anchors/anchor.ts'
import { provisionCheckpoints } from '../../src/ledger/stream.ts'
import { never, unwrap } from '../fixtures/ledgerEntries.ts'
import { createSigner, ORIGIN } from '../fixtures/ledgerHistory.ts'
import { type NatsServer, startNatsServer } from '../fixtures/natsServer.ts'
import { createTelemetryLog } from '../fixtures/telemetryLog.ts'

const signer = createSigner('root')
const log: NoteKey = { name: ORIGIN, type: 'ed25519', key: unwrap(parseVerifyKey(signer.publicKey)) }
const witness: NoteKey = { ...log, name: 'witness.example/w', type: 'cosignature' }

const signed = (size: number): SignedCheckpoint => {
  const checkpoint = { origin: ORIGIN, size, root: new Uint8Array(32).fill(size) }
  const text = toCheckpointText(checkpoint)
  return {
    checkpoint,
    note: { text, signatures: [toNoteSignature(log, signer.sign(Buffer.from(text)))] },
    signedAtMs: 0,
  }
}

let folder: string
let second: NatsServer
let closed: NatsConnection
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kms-anchors-'))
  second = await startNatsServer({ configFile: 'deploy/checkpoints.nats.conf' })
  await writeFile(join(folder, 'password'), second.passwords['kms-ledger'])
  const provision = await connect({ ...second.login('provision'), noAsyncTraces: true })
  expect(await provisionCheckpoints(provision, 1)).toMatchObject({ ok: true })
  expect(await provisionCheckpoints(provision, 1)).toMatchObject({ ok: true })
  await provision.close()
  closed = provision
})
afterEach(async () => {
  await second.stop()
  await rm(folder, { recursive: true, force: true })
})

type Anchors = Config['ledger']['anchors']

/** With a connection for the ledger that whoever uses it fails on: a stream on servers of its own does not want it. */
const open = async (over: Partial<Anchors>) => {
  const anchors: Anchors = { required: 1, required_witnesses: 0, witnesses: [], ...over }
  const ledger = { checkpoint_interval_ms: 1_000, witness_interval_ms: 10_000, snapshot_interval_ms: 300_000, anchors }
  return openAnchors({ data_dir: folder, ledger }, ORIGIN, { ledger: closed, telemetry: createTelemetryLog() })
}
const stream = () => ({ servers: [second.url], user: 'kms-ledger', password_file: join(folder, 'password') })

describe('the anchors of a configuration', () => {
  it('keep checkpoints on servers of their own, and remember the newest after a restart', async () => {
    const first = unwrap(await open({ stream: stream() }))
    const [anchor] = first.settings.anchors
    expect(await anchor?.recall(undefined, never)).toEqual({ kind: 'nothing' })
    expect((await anchor?.keep(signed(4), { consistency: () => [] }, never))?.kind).toBe('kept')
    expect((await anchor?.keep(signed(9), { consistency: () => [] }, never))?.kind).toBe('kept')
    await first.close()
    const again = unwrap(await open({ stream: stream() }))
    const [later] = again.settings.anchors
    expect(await later?.recall(undefined, never)).toMatchObject({ kind: 'remembers', what: { size: 9 } })
    await again.close()
  })

  it('put no older checkpoint over a newer one of another process, and a newer one over an older', async () => {
    const [one, other] = [unwrap(await open({ stream: stream() })), unwrap(await open({ stream: stream() }))]
    const keep = (opened: typeof one, size: number) =>
      opened.settings.anchors[0]?.keep(signed(size), { consistency: () => [] }, never)
    expect((await keep(one, 5))?.kind).toBe('kept')
    expect((await keep(other, 4))?.kind).toBe('ahead')
    expect((await keep(other, 7))?.kind).toBe('kept')
    expect((await keep(one, 6))?.kind).toBe('ahead')
    expect((await keep(one, 8))?.kind).toBe('kept')
    await one.close()
    await other.close()
  })

  it('do without a server that is away, and with it again when it is back', async () => {
    await second.halt()
    const own = unwrap(await open({ stream: stream() }))
    const [anchor] = own.settings.anchors
    expect(await anchor?.recall(undefined, never)).toMatchObject({ kind: 'unanswered' })
    await second.resume()
    expect((await anchor?.keep(signed(4), { consistency: () => [] }, never))?.kind).toBe('kept')
    await own.close()
  })

  it('are refused for a witness key that is none, or of a ledger', async () => {
    const url = 'http://127.0.0.1:1/'
    expect(await open({ witnesses: [{ url, key: formatNoteKey(witness) }] })).toMatchObject({ ok: true })
    for (const key of ['x', formatNoteKey(log)])
      expect(await open({ witnesses: [{ url, key }] })).toMatchObject({
        ok: false,
        error: { message: expect.stringContaining('ledger.anchors.witnesses.0.key') },
      })
  })
})
