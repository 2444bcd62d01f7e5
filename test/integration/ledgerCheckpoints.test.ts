import { cp, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { connect } from '@nats-io/transport-node'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { verifyCheckpoint, verifyProof } from '../../src/client/proof.ts'
import { type OpenedCheckpoint, openCheckpoint } from '../../src/core/checkpoint.ts'
import { parseVerifyKey } from '../../src/core/ed25519.ts'
import { formatNoteKey, type NoteKey } from '../../src/core/signedNote.ts'
import type { Anchor } from '../../src/ledger/anchors/anchor.ts'
import { createStreamAnchor } from '../../src/ledger/anchors/streamAnchor.ts'
import { createWitnessAnchor } from '../../src/ledger/anchors/witnessAnchor.ts'
import { provisionCheckpoints } from '../../src/ledger/stream.ts'
import { drawRandom, never, unwrap } from '../fixtures/ledgerEntries.ts'
import { type LedgerStack, type StackLedgerOptions, startLedgerStack, until } from '../fixtures/ledgerStack.ts'
import { type NatsServer, startNatsServer } from '../fixtures/natsServer.ts'
import { startWitness, type TestWitness } from '../fixtures/witness.ts'

/** A ledger whose checkpoints go to a stream on a second server, in accounts of its own, and to a witness. */
let stack: LedgerStack
let second: NatsServer
let witness: TestWitness
let log: NoteKey
const closing: (() => Promise<unknown>)[] = []

beforeEach(async () => {
  stack = await startLedgerStack()
  second = await startNatsServer({ configFile: 'deploy/checkpoints.nats.conf' })
  log = { name: stack.pin.origin, type: 'ed25519', key: unwrap(parseVerifyKey(stack.pin.rootPublicKey)) }
  witness = await startWitness({ logs: new Map([[stack.pin.origin, log]]) })
  expect(await provisionCheckpoints(await connectSecond('provision'), 1)).toMatchObject({ ok: true })
})
afterEach(async () => {
  await stack[Symbol.asyncDispose]()
  for (const close of closing.splice(0).reverse()) await close()
  await witness[Symbol.asyncDispose]()
  await second.stop()
})

const connectSecond = async (user: 'kms-ledger' | 'provision' | 'auditor') => {
  const connection = await connect({ ...second.login(user), noAsyncTraces: true })
  closing.push(() => connection.close())
  return connection
}

/** Fresh anchors, as a process that starts has them. */
const anchorsOf = async (): Promise<readonly Anchor[]> => {
  const connection = await connectSecond('kms-ledger')
  return [createStreamAnchor(async () => connection, stack.pin.origin), createWitnessAnchor(witness.url, witness.key)]
}
const settings = (anchors: readonly Anchor[], over = {}) => ({
  file: stack.files.checkpoint,
  treeFile: stack.files.tree,
  anchors,
  required: 3,
  requiredWitnesses: 1,
  intervalMs: 50,
  witnessIntervalMs: 50,
  ...over,
})
const openWriter = async (over = {}) => stack.openWriter({ checkpoints: settings(await anchorsOf(), over) })

const refusalOf = async (options: StackLedgerOptions = {}): Promise<{ kind: string; message: string } | undefined> => {
  const checkpoints = options.checkpoints ?? settings(await anchorsOf())
  const opened = await stack.open({ ...options, checkpoints })
  if (!opened.ok) return opened.error
  const ready = await opened.value.ledger.whenReady()
  await opened.value.ledger.stop()
  return ready.ok ? undefined : ready.error
}

const trust = () => ({ origin: stack.pin.origin, ledgerKeys: [log], witnessKeys: [witness.key] })
const readFileCheckpoint = async (): Promise<OpenedCheckpoint> =>
  unwrap(openCheckpoint(await readFile(stack.files.checkpoint), trust()))

/** The newest checkpoint, as the auditor of the second server reads it. */
const readStreamCheckpoint = async (): Promise<OpenedCheckpoint> => {
  const auditor = await connectSecond('auditor')
  const answer = await auditor.request(
    '$JS.API.STREAM.MSG.GET.KMS_CHECKPOINTS',
    JSON.stringify({ last_by_subj: 'kms.checkpoints' }),
    { timeout: 2_000 },
  )
  const { message } = JSON.parse(answer.string())
  if (message === undefined) throw new Error(answer.string())
  return unwrap(openCheckpoint(Buffer.from(message.data, 'base64'), trust()))
}

/** Some commits, each durable; then a clean stop. Gives the last sequence. */
const writeSome = async (commits = 3): Promise<number> => {
  const { ledger } = await openWriter()
  for (let n = 0; n < commits; n += 1) unwrap(await ledger.append(drawRandom(), never))
  await ledger.stop()
  return ledger.status().seq
}

describe('checkpoints', () => {
  it('cover what was written, are stored with a cosignature, and count as anchored when all agree', async () => {
    const { ledger } = await openWriter()
    const { receipt } = unwrap(await ledger.append(drawRandom(), never))
    await until(() => ledger.status().checkpoints?.anchored?.size === receipt.seq)
    for (const read of [readFileCheckpoint, readStreamCheckpoint]) {
      const { checkpoint, cosignedBy } = await read()
      expect(checkpoint.size).toBe(receipt.seq)
      expect(cosignedBy).toMatchObject([{ key: { name: witness.key.name } }])
    }
    expect(witness.state.get(stack.pin.origin)?.size).toBe(receipt.seq)
    expect(ledger.status().checkpoints).toMatchObject({
      signed: { size: receipt.seq },
      anchors: [
        { name: 'checkpoint file' },
        { name: 'stream KMS_CHECKPOINTS' },
        { name: `witness ${witness.key.name}` },
      ],
    })
  })

  it('cover the last commit after a stop', async () => {
    const last = await writeSome()
    expect((await readFileCheckpoint()).checkpoint.size).toBe(last)
    expect((await readStreamCheckpoint()).checkpoint.size).toBe(last)
    expect(witness.state.get(stack.pin.origin)?.size).toBe(last)
    expect(await refusalOf()).toBeUndefined()
  })

  it('upgrade a receipt: the proof for the newest one comes with it, and the client library believes both', async () => {
    const { ledger } = await openWriter()
    const { receipt } = unwrap(await ledger.append(drawRandom(), never))
    unwrap(await ledger.append(drawRandom(), never))
    await until(() => (ledger.status().checkpoints?.anchored?.size ?? 0) > receipt.seq)
    const proof = unwrap(await ledger.prove({ seq: receipt.seq, index: receipt.index }, never))
    const trust = { vkeys: [formatNoteKey(log)], witnessKeys: [formatNoteKey(witness.key)], witnessesMin: 1 }
    expect(proof.checkpoint).toBe(ledger.checkpoint())
    const checkpoint = unwrap(verifyCheckpoint(proof.checkpoint ?? '', trust))
    const { origin, seq, root, envelope, treeSize, path } = proof
    const reply = { origin, seq, root, envelope, tree_size: treeSize, path: [...path] }
    expect(verifyProof(reply, receipt, checkpoint).ok).toBe(true)
  })

  it('wait for an HSM that is away, and commits do not', async () => {
    const { ledger } = await openWriter()
    const before = unwrap(await ledger.append(drawRandom(), never)).receipt
    await until(() => ledger.status().checkpoints?.anchored?.size === before.seq)
    stack.root.away = true
    const after = unwrap(await ledger.append(drawRandom(), never)).receipt
    await until(() => stack.log.lines.some(({ message }) => message === 'no checkpoint was signed'))
    expect(ledger.status().checkpoints).toMatchObject({ anchored: { size: before.seq } })
    stack.root.away = false
    await until(() => ledger.status().checkpoints?.anchored?.size === after.seq)
  })

  it('are anchored by nobody while a witness that is required is silent, and the others have them', async () => {
    const { ledger } = await openWriter()
    witness.failing = { status: 500, body: '' }
    const { receipt } = unwrap(await ledger.append(drawRandom(), never))
    await until(() => ledger.status().checkpoints?.anchors[1]?.size === receipt.seq)
    expect(ledger.status().checkpoints?.anchors[2]).toMatchObject({ failing: 'unanswered' })
    expect(ledger.status().checkpoints?.anchored?.size ?? 0).toBeLessThan(receipt.seq)
    witness.failing = undefined
    const { seq } = unwrap(await ledger.append(drawRandom(), never)).receipt
    await until(() => ledger.status().checkpoints?.anchored?.size === seq)
  })

  it('go on over a change of writers', async () => {
    const first = await openWriter()
    const before = unwrap(await first.ledger.append(drawRandom(), never)).receipt
    await until(() => first.ledger.status().checkpoints?.anchored?.size === before.seq)
    const other = await stack.openWriter({ takeOver: true, checkpoints: settings(await anchorsOf()) })
    await until(() => first.ledger.status().role === 'follower')
    const { receipt } = unwrap(await other.ledger.append(drawRandom(), never))
    await until(() => other.ledger.status().checkpoints?.anchored?.size === receipt.seq)
    await first.ledger.stop()
    expect((await readFileCheckpoint()).checkpoint.size).toBe(receipt.seq)
  })
})

describe('a start is refused', () => {
  /** The JetStream store of the ledger as it was, put back after more was written: yesterday's disk. */
  const rollBack = async (keepFiles: readonly string[] = []): Promise<number> => {
    await writeSome()
    await stack.server.halt()
    const copy = join(stack.dataDir, 'copy')
    await cp(stack.server.storeDir, join(copy, 'store'), { recursive: true })
    for (const name of ['head.json', 'checkpoint']) await cp(join(stack.dataDir, name), join(copy, name))
    await stack.server.resume()
    const last = await writeSome()
    await stack.server.halt()
    await rm(stack.server.storeDir, { recursive: true })
    await cp(join(copy, 'store'), stack.server.storeDir, { recursive: true })
    for (const name of ['head.json', 'checkpoint'])
      if (!keepFiles.includes(name)) await cp(join(copy, name), join(stack.dataDir, name))
    await stack.server.resume()
    return last
  }

  it('by the stream of checkpoints, when ledger and files are yesterday’s and the witness is away', async () => {
    const last = await rollBack()
    witness.failing = { status: 500, body: '' }
    const checkpoints = settings(await anchorsOf(), { required: 1, requiredWitnesses: 0 })
    const refusal = await refusalOf({ checkpoints })
    expect(refusal).toMatchObject({ kind: 'shorter_than_anchor' })
    expect(refusal?.message).toContain(`the stream KMS_CHECKPOINTS remembers commit ${last}`)
    expect(refusal?.message).toContain('docs/RUNBOOK.md')
  })

  it('by the checkpoint file, and by the witness, each alone', async () => {
    const last = await rollBack(['checkpoint'])
    const alone = settings([], { required: 1, requiredWitnesses: 0 })
    expect((await refusalOf({ checkpoints: alone }))?.message).toContain(`the checkpoint file remembers commit ${last}`)
    await cp(join(stack.dataDir, 'copy', 'checkpoint'), stack.files.checkpoint)
    const seen = settings([createWitnessAnchor(witness.url, witness.key)], { required: 1, requiredWitnesses: 0 })
    const refusal = await refusalOf({ checkpoints: seen })
    expect(refusal).toMatchObject({ kind: 'shorter_than_anchor' })
    expect(refusal?.message).toContain(`the witness ${witness.key.name} remembers commit ${last}`)
  })

  it('when the ledger has another history than the witness has cosigned', async () => {
    await writeSome()
    const seen = witness.state.get(stack.pin.origin)
    if (seen === undefined) throw new Error('the witness has seen nothing')
    witness.state.set(stack.pin.origin, { size: seen.size - 1, root: new Uint8Array(32).fill(9) })
    const refusal = await refusalOf()
    expect(refusal).toMatchObject({ kind: 'anchor_disagrees' })
    expect(refusal?.message).toContain(`witness ${witness.key.name}`)
  })

  it('when the root at the size of a stored checkpoint is another, and when the checkpoint was planted', async () => {
    await writeSome()
    const text = await readFile(stack.files.checkpoint, 'utf8')
    const [origin = '', size = ''] = text.split('\n')
    await writeFile(stack.files.checkpoint, text.replace(`\n${size}\n`, `\n${Number(size) - 1}\n`))
    expect(await refusalOf()).toMatchObject({ kind: 'anchor_disagrees' })
    const forged = `${origin}\n${size}\n${Buffer.alloc(32).toString('base64')}\n`
    const bad = unwrap(await stack.root.signCheckpoint('main', { origin, size: 4, root: Buffer.alloc(32) }, never))
    const key = Buffer.from(text.split(' ').at(2) ?? '', 'base64').subarray(0, 4)
    const signature = Buffer.concat([key, bad]).toString('base64')
    await writeFile(
      stack.files.checkpoint,
      `${forged.replace(`\n${size}\n`, '\n4\n')}\n\u2014 ${origin} ${signature}\n`,
    )
    const refusal = await refusalOf()
    expect(refusal).toMatchObject({ kind: 'anchor_disagrees' })
    expect(refusal?.message).toContain('commit 4 is not the one the checkpoint file remembers')
  })

  it('when fewer anchors than are required can say what they remember', async () => {
    await writeSome()
    await second.halt()
    const away = createStreamAnchor(async () => {
      throw new Error('the server is away')
    }, stack.pin.origin)
    const checkpoints = settings([away], { required: 2, requiredWitnesses: 0 })
    const refusal = await refusalOf({ checkpoints })
    expect(refusal).toMatchObject({ kind: 'anchors_unanswered' })
    expect(refusal?.message).toContain('the server is away')
    expect(await refusalOf({ checkpoints: { ...checkpoints, required: 1 } })).toBeUndefined()
  })

  it('when the stream’s newest message is no checkpoint, as long as it is required', async () => {
    await writeSome()
    const connection = await connectSecond('kms-ledger')
    await connection.request('kms.checkpoints', 'junk', { timeout: 2_000 })
    expect(await refusalOf()).toMatchObject({ kind: 'anchors_unanswered' })
  })
})

describe('the rights on the stream of checkpoints', () => {
  it.each(['kms-ledger', 'auditor'] as const)('let %s neither change nor remove it, nor consume it', async (user) => {
    const connection = await connectSecond(user)
    const tried = [
      '$JS.API.STREAM.PURGE.KMS_CHECKPOINTS',
      '$JS.API.STREAM.DELETE.KMS_CHECKPOINTS',
      '$JS.API.STREAM.UPDATE.KMS_CHECKPOINTS',
      '$JS.API.STREAM.MSG.DELETE.KMS_CHECKPOINTS',
      '$JS.API.CONSUMER.CREATE.KMS_CHECKPOINTS',
      ...(user === 'auditor' ? ['kms.checkpoints'] : []),
    ]
    for (const subject of tried)
      await expect(connection.request(subject, '{}', { timeout: 500 })).rejects.toThrow(
        /permissions|responders|timeout/i,
      )
  })
})
