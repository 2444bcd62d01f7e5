import { cp, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createStreamAnchor } from '../../src/ledger/anchors/streamAnchor.ts'
import { createWitnessAnchor } from '../../src/ledger/anchors/witnessAnchor.ts'
import { connectNats } from '../../src/ledger/connections.ts'
import { appendRotation, planRotation } from '../../src/ledger/rotateRoot.ts'
import { type AnchoredStack, startAnchoredStack } from '../fixtures/anchoredStack.ts'
import { drawRandom, never, unwrap } from '../fixtures/ledgerEntries.ts'
import { startNatsServer } from '../fixtures/natsServer.ts'
import { noteHead, readHeadMemory, toOffline, unwrapLedger } from '../fixtures/offlineStack.ts'

let anchored: AnchoredStack
beforeEach(async () => {
  anchored = await startAnchoredStack()
})
afterEach(() => anchored[Symbol.asyncDispose]())

describe('a start is refused', () => {
  /** The JetStream store of the ledger as it was, put back after more was written: yesterday's disk. */
  const rollBack = async (keepFiles: readonly string[] = []): Promise<number> => {
    await anchored.writeSome()
    await anchored.stack.server.halt()
    const copy = join(anchored.stack.dataDir, 'copy')
    await cp(anchored.stack.server.storeDir, join(copy, 'store'), { recursive: true })
    for (const name of ['head.json', 'checkpoint']) await cp(join(anchored.stack.dataDir, name), join(copy, name))
    await anchored.stack.server.resume()
    const last = await anchored.writeSome()
    await anchored.stack.server.halt()
    await rm(anchored.stack.server.storeDir, { recursive: true })
    await cp(join(copy, 'store'), anchored.stack.server.storeDir, { recursive: true })
    for (const name of ['head.json', 'checkpoint'])
      if (!keepFiles.includes(name)) await cp(join(copy, name), join(anchored.stack.dataDir, name))
    await anchored.stack.server.resume()
    return last
  }

  it('by the stream of checkpoints, when ledger and files are yesterday’s and the witness is away', async () => {
    const last = await rollBack()
    anchored.witness.failing = { status: 500, body: '' }
    const checkpoints = anchored.settings(await anchored.anchors(), { required: 1, requiredWitnesses: 0 })
    const refusal = await anchored.refusalOf({ checkpoints })
    expect(refusal).toMatchObject({ kind: 'shorter_than_anchor' })
    expect(refusal?.message).toContain(`the stream KMS_CHECKPOINTS remembers commit ${last}`)
    expect(refusal?.message).toContain('docs/RUNBOOK.md')
  })

  it('by the checkpoint file, and by the witness, each alone', async () => {
    const last = await rollBack(['checkpoint'])
    const alone = anchored.settings([], { required: 1, requiredWitnesses: 0 })
    expect((await anchored.refusalOf({ checkpoints: alone }))?.message).toContain(
      `the checkpoint file remembers commit ${last}`,
    )
    await cp(join(anchored.stack.dataDir, 'copy', 'checkpoint'), anchored.stack.files.checkpoint)
    const seen = anchored.settings([createWitnessAnchor(anchored.witness.url, anchored.witness.key)], {
      required: 1,
      requiredWitnesses: 0,
    })
    const refusal = await anchored.refusalOf({ checkpoints: seen })
    expect(refusal).toMatchObject({ kind: 'shorter_than_anchor' })
    expect(refusal?.message).toContain(`the witness ${anchored.witness.key.name} remembers commit ${last}`)
  })

  it('when the ledger has another history than the witness has cosigned', async () => {
    await anchored.writeSome()
    const seen = anchored.witness.state.get(anchored.stack.pin.origin)
    if (seen === undefined) throw new Error('the witness has seen nothing')
    anchored.witness.state.set(anchored.stack.pin.origin, { size: seen.size - 1, root: new Uint8Array(32).fill(9) })
    const refusal = await anchored.refusalOf()
    expect(refusal).toMatchObject({ kind: 'anchor_disagrees' })
    expect(refusal?.message).toContain(`witness ${anchored.witness.key.name}`)
  })

  it('when the root at the size of a stored checkpoint is another, and when the checkpoint was planted', async () => {
    await anchored.writeSome()
    const text = await readFile(anchored.stack.files.checkpoint, 'utf8')
    const [origin = '', size = ''] = text.split('\n')
    await writeFile(anchored.stack.files.checkpoint, text.replace(`\n${size}\n`, `\n${Number(size) - 1}\n`))
    expect(await anchored.refusalOf()).toMatchObject({ kind: 'anchor_disagrees' })
    const forged = `${origin}\n${size}\n${Buffer.alloc(32).toString('base64')}\n`
    const bad = unwrap(
      await anchored.stack.root.signCheckpoint(
        'main',
        {
          root: anchored.stack.pin.rootPublicKey,
          checkpoint: { origin, size: 4, root: Buffer.alloc(32) },
        },
        never,
      ),
    )
    const key = Buffer.from(text.split(' ').at(2) ?? '', 'base64').subarray(0, 4)
    const signature = Buffer.concat([key, bad]).toString('base64')
    await writeFile(
      anchored.stack.files.checkpoint,
      `${forged.replace(`\n${size}\n`, '\n4\n')}\n\u2014 ${origin} ${signature}\n`,
    )
    const refusal = await anchored.refusalOf()
    expect(refusal).toMatchObject({ kind: 'anchor_disagrees' })
    expect(refusal?.message).toContain('commit 4 is not the one the checkpoint file remembers')
  })

  it('when fewer anchors than are required can say what they remember', async () => {
    await anchored.writeSome()
    await anchored.second.halt()
    const away = createStreamAnchor(async () => {
      throw new Error('the server is away')
    }, anchored.stack.pin.origin)
    const checkpoints = anchored.settings([away], { required: 2, requiredWitnesses: 0 })
    const refusal = await anchored.refusalOf({ checkpoints })
    expect(refusal).toMatchObject({ kind: 'anchors_unanswered' })
    expect(refusal?.message).toContain('the server is away')
    expect(await anchored.refusalOf({ checkpoints: { ...checkpoints, required: 1 } })).toBeUndefined()
  })

  it('when the stream’s newest message is no checkpoint, as long as it is required', async () => {
    await anchored.writeSome()
    const connection = await anchored.connectSecond('kms-ledger')
    await connection.request('kms.checkpoints', 'junk', { timeout: 2_000 })
    expect(await anchored.refusalOf()).toMatchObject({ kind: 'anchors_unanswered' })
  })
})

describe('a fork', () => {
  it('of yesterday’s copy, written on by a second service, is seen by the witness that both show it to', async () => {
    await anchored.writeSome()
    await anchored.stack.server.halt()
    await using fork = await startNatsServer()
    await fork.halt()
    await rm(fork.storeDir, { recursive: true })
    await cp(anchored.stack.server.storeDir, fork.storeDir, { recursive: true })
    await fork.resume()
    await anchored.stack.server.resume()
    const files = {
      file: join(anchored.stack.dataDir, 'forked'),
      treeFile: join(anchored.stack.dataDir, 'forked-tree'),
    }
    const headFile = join(anchored.stack.dataDir, 'forked-head')
    await cp(anchored.stack.files.head, headFile)
    const own = { required: 1, requiredWitnesses: 0 }
    const login = { servers: [fork.url], telemetry: anchored.stack.log }
    const connectFork = async (user: 'kms-front' | 'kms-ledger') => {
      const passwordFile = join(anchored.stack.dataDir, `fork-${user}`)
      await writeFile(passwordFile, fork.passwords[user])
      const connection = unwrapLedger(await connectNats({ ...login, user, passwordFile }))
      anchored.onClose(() => connection.close())
      return connection
    }
    const forked = await anchored.stack.openWriter({
      connection: await connectFork('kms-ledger'),
      front: await connectFork('kms-front'),
      headFile,
      checkpoints: anchored.settings([], { ...own, ...files }),
    })
    unwrap(await forked.ledger.append(drawRandom(), never))
    await forked.ledger.stop()
    // The first service goes on and its witness follows it; the second then shows the witness what it has.
    await anchored.writeSome(9)
    const refusal = await anchored.refusalOf({
      connection: await connectFork('kms-ledger'),
      headFile,
      checkpoints: anchored.settings([createWitnessAnchor(anchored.witness.url, anchored.witness.key)], {
        ...own,
        ...files,
      }),
    })
    expect(refusal).toMatchObject({ kind: 'shorter_than_anchor' })
    expect(refusal?.message).toContain(`witness ${anchored.witness.key.name}`)
    const grown = await anchored.stack.openWriter({
      connection: await connectFork('kms-ledger'),
      front: await connectFork('kms-front'),
      headFile,
      checkpoints: anchored.settings([], { ...own, ...files }),
    })
    for (let n = 0; n < 20; n += 1) unwrap(await grown.ledger.append(drawRandom(), never))
    await grown.ledger.stop()
    const later = await anchored.refusalOf({
      connection: await connectFork('kms-ledger'),
      headFile,
      checkpoints: anchored.settings([createWitnessAnchor(anchored.witness.url, anchored.witness.key)], {
        ...own,
        ...files,
      }),
    })
    expect(later).toMatchObject({ kind: 'anchor_disagrees' })
    expect(later?.message).toContain('another history')
  })
})

describe('a witness of a ledger whose root is rotated', () => {
  it('cosigns nothing by a key that it does not know, and goes on from where it was once it is told', async () => {
    const { stack, witness, tellWitness } = anchored
    await anchored.writeSome()
    const before = witness.state.get(stack.pin.origin)?.size ?? 0
    expect(before).toBeGreaterThan(0)
    const goal = { memories: await readHeadMemory(stack), tree: undefined }
    const { tip } = unwrapLedger(await planRotation(await toOffline(stack), goal, never))
    const rotated = unwrapLedger(await appendRotation(await toOffline(stack), tip, never))
    await noteHead(stack, rotated)
    await anchored.writeSome()
    expect(witness.answers.at(-1)).toBe(403)
    expect(witness.state.get(stack.pin.origin)?.size).toBe(before)
    tellWitness(rotated.chain.root.raw)
    const last = await anchored.writeSome()
    expect(witness.state.get(stack.pin.origin)?.size).toBe(last)
  })
})
