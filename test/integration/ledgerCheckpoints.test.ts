import { readFile } from 'node:fs/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { verifyCheckpoint, verifyProof } from '../../src/client/proof.ts'
import { type OpenedCheckpoint, openCheckpoint } from '../../src/core/checkpoint.ts'
import { formatNoteKey } from '../../src/core/signedNote.ts'
import { type AnchoredStack, startAnchoredStack } from '../fixtures/anchoredStack.ts'
import { drawRandom, never, unwrap } from '../fixtures/ledgerEntries.ts'
import { until } from '../fixtures/ledgerStack.ts'

let anchored: AnchoredStack
beforeEach(async () => {
  anchored = await startAnchoredStack()
})
afterEach(() => anchored[Symbol.asyncDispose]())

const trust = () => {
  const { stack, log, witness } = anchored
  return { origin: stack.pin.origin, ledgerKeys: [log], witnessKeys: [witness.key] }
}
const readFileCheckpoint = async (): Promise<OpenedCheckpoint> =>
  unwrap(openCheckpoint(await readFile(anchored.stack.files.checkpoint), trust()))

/** The newest checkpoint, as the auditor of the second server reads it. */
const readStreamCheckpoint = async (): Promise<OpenedCheckpoint> => {
  const auditor = await anchored.connectSecond('auditor')
  const answer = await auditor.request(
    '$JS.API.STREAM.MSG.GET.KMS_CHECKPOINTS',
    JSON.stringify({ last_by_subj: 'kms.checkpoints' }),
    { timeout: 2_000 },
  )
  const { message } = JSON.parse(answer.string())
  if (message === undefined) throw new Error(answer.string())
  return unwrap(openCheckpoint(Buffer.from(message.data, 'base64'), trust()))
}

describe('checkpoints', () => {
  it('cover what was written, are stored with a cosignature, and count as anchored when all agree', async () => {
    const { ledger } = await anchored.openWriter()
    const { receipt } = unwrap(await ledger.append(drawRandom(), never))
    await until(() => ledger.status().checkpoints?.anchored?.size === receipt.seq)
    for (const read of [readFileCheckpoint, readStreamCheckpoint]) {
      const { checkpoint, cosignedBy } = await read()
      expect(checkpoint.size).toBe(receipt.seq)
      expect(cosignedBy).toMatchObject([{ key: { name: anchored.witness.key.name } }])
    }
    expect(anchored.witness.state.get(anchored.stack.pin.origin)?.size).toBe(receipt.seq)
    expect(ledger.status().checkpoints).toMatchObject({
      signed: { size: receipt.seq },
      anchors: [
        { name: 'checkpoint file' },
        { name: 'stream KMS_CHECKPOINTS' },
        { name: `witness ${anchored.witness.key.name}` },
      ],
    })
  })

  it('cover the last commit after a stop', async () => {
    const last = await anchored.writeSome()
    expect((await readFileCheckpoint()).checkpoint.size).toBe(last)
    expect((await readStreamCheckpoint()).checkpoint.size).toBe(last)
    expect(anchored.witness.state.get(anchored.stack.pin.origin)?.size).toBe(last)
    expect(await anchored.refusalOf()).toBeUndefined()
  })

  it('upgrade a receipt: the proof for the newest one comes with it, and the client library believes both', async () => {
    const { ledger } = await anchored.openWriter()
    const { receipt } = unwrap(await ledger.append(drawRandom(), never))
    unwrap(await ledger.append(drawRandom(), never))
    await until(() => (ledger.status().checkpoints?.anchored?.size ?? 0) > receipt.seq)
    const proof = unwrap(await ledger.prove({ seq: receipt.seq, index: receipt.index }, never))
    const trust = {
      vkeys: [formatNoteKey(anchored.log)],
      witnessKeys: [formatNoteKey(anchored.witness.key)],
      witnessesMin: 1,
    }
    expect(proof.checkpoint).toBe(ledger.checkpoint())
    const checkpoint = unwrap(verifyCheckpoint(proof.checkpoint ?? '', trust))
    const { origin, seq, root, envelope, treeSize, path } = proof
    const reply = { origin, seq, root, envelope, tree_size: treeSize, path: [...path] }
    expect(verifyProof(reply, receipt, checkpoint).ok).toBe(true)
  })

  it('wait for an HSM that is away, and commits do not', async () => {
    const { ledger } = await anchored.openWriter()
    const before = unwrap(await ledger.append(drawRandom(), never)).receipt
    await until(() => ledger.status().checkpoints?.anchored?.size === before.seq)
    anchored.stack.root.away = true
    const after = unwrap(await ledger.append(drawRandom(), never)).receipt
    await until(() => anchored.stack.log.lines.some(({ message }) => message === 'no checkpoint was signed'))
    expect(ledger.status().checkpoints).toMatchObject({ anchored: { size: before.seq } })
    anchored.stack.root.away = false
    await until(() => ledger.status().checkpoints?.anchored?.size === after.seq)
  })

  it('are anchored by nobody while a witness that is required is silent, and the others have them', async () => {
    const { ledger } = await anchored.openWriter()
    anchored.witness.failing = { status: 500, body: '' }
    const { receipt } = unwrap(await ledger.append(drawRandom(), never))
    await until(() => ledger.status().checkpoints?.anchors[1]?.size === receipt.seq)
    expect(ledger.status().checkpoints?.anchors[2]).toMatchObject({ failing: 'unanswered' })
    expect(ledger.status().checkpoints?.anchored?.size ?? 0).toBeLessThan(receipt.seq)
    anchored.witness.failing = undefined
    const { seq } = unwrap(await ledger.append(drawRandom(), never)).receipt
    await until(() => ledger.status().checkpoints?.anchored?.size === seq)
  })

  it('go on over a change of writers', async () => {
    const first = await anchored.openWriter()
    const before = unwrap(await first.ledger.append(drawRandom(), never)).receipt
    await until(() => first.ledger.status().checkpoints?.anchored?.size === before.seq)
    const other = await anchored.stack.openWriter({
      takeOver: true,
      checkpoints: anchored.settings(await anchored.anchors()),
    })
    await until(() => first.ledger.status().role === 'follower')
    const { receipt } = unwrap(await other.ledger.append(drawRandom(), never))
    await until(() => other.ledger.status().checkpoints?.anchored?.size === receipt.seq)
    await first.ledger.stop()
    expect((await readFileCheckpoint()).checkpoint.size).toBe(receipt.seq)
  })
})

describe('the rights on the stream of checkpoints', () => {
  it.each(['kms-ledger', 'auditor'] as const)('let %s neither change nor remove it, nor consume it', async (user) => {
    const connection = await anchored.connectSecond(user)
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
