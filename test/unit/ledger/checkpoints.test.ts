import { describe, expect, it } from 'vitest'
import { openCheckpoint } from '../../../src/core/checkpoint.ts'
import { parseVerifyKey } from '../../../src/core/ed25519.ts'
import { fail } from '../../../src/core/result.ts'
import { formatNote, type NoteKey } from '../../../src/core/signedNote.ts'
import type { Anchor, Kept, SignedCheckpoint } from '../../../src/ledger/anchors/anchor.ts'
import { type CheckpointsOptions, createCheckpoints } from '../../../src/ledger/checkpoints.ts'
import type { Tip } from '../../../src/ledger/tip.ts'
import { createFakeTime } from '../../fixtures/fakeTime.ts'
import { unwrap } from '../../fixtures/ledgerEntries.ts'
import { createSampleHistory, createSigner, ORIGIN, toEncrypted } from '../../fixtures/ledgerHistory.ts'
import { privateKeyOf } from '../../fixtures/noteSigner.ts'
import { signOwnCheckpoint } from '../../fixtures/rootSigning.ts'
import { createTelemetryLog } from '../../fixtures/telemetryLog.ts'
import { readTips } from '../../fixtures/tips.ts'

const history = createSampleHistory(4)
for (let n = 0; n < 30; n += 1) history.append([toEncrypted(n)])
const tips = readTips(history)
const tipAt = (size: number): Tip => {
  const tip = tips[size]
  if (tip === undefined) throw new Error(`there is no tip ${size}`)
  return tip
}
const log: NoteKey = {
  name: ORIGIN,
  type: 'ed25519',
  key: unwrap(parseVerifyKey(createSigner('root').publicKey)),
}

/** An anchor that does as it is told. */
const createAnchor = (name: string, isWitness = false) => {
  const kept: number[] = []
  const state: { answer: Kept; wait: Promise<void> } = {
    answer: { kind: 'kept', cosignatures: [] },
    wait: Promise.resolve(),
  }
  const anchor: Anchor = {
    name,
    ...(isWitness ? { witness: log } : {}),
    recall: async () => ({ kind: 'nothing' }),
    async keep({ checkpoint }: SignedCheckpoint) {
      kept.push(checkpoint.size)
      await state.wait
      return state.answer
    },
  }
  return { anchor, kept, state }
}

const create = (over: Partial<CheckpointsOptions> = {}) => {
  const time = createFakeTime()
  const telemetry = createTelemetryLog()
  const signed: number[] = []
  const hsm = { away: false }
  const checkpoints = createCheckpoints({
    anchors: [],
    required: 1,
    requiredWitnesses: 0,
    async sign({ checkpoint }) {
      if (hsm.away) return fail('HSM_UNAVAILABLE', 'away')
      signed.push(checkpoint.size)
      return signOwnCheckpoint(privateKeyOf('root'), checkpoint)
    },
    tree: () => undefined,
    clock: time,
    scheduler: time,
    telemetry,
    intervalMs: 1_000,
    witnessIntervalMs: 10_000,
    ...over,
  })
  return { checkpoints, time, telemetry, signed, hsm }
}

describe('checkpoints', () => {
  it('are at most one an interval, of the newest commit, and none while there is nothing new', async () => {
    const { checkpoints, time, signed } = create()
    for (let size = 3; size < 13; size += 1) {
      checkpoints.note(tipAt(size))
      await time.advance(100)
    }
    expect(signed).toEqual([12])
    await time.advance(120_000)
    expect(signed).toEqual([12])
    checkpoints.note(tipAt(13))
    await time.advance(1_000)
    expect(signed).toEqual([12, 13])
    const { note } = checkpoints.latest() ?? { note: undefined }
    const opened = note && openCheckpoint(Buffer.from(formatNote(note)), { origin: ORIGIN, ledgerKeys: [log] })
    expect(opened?.ok && opened.value.checkpoint.size).toBe(13)
    expect(time.timersPending).toBe(0)
  })

  it('come at least once an interval while commits go on', async () => {
    const { checkpoints, time, signed } = create()
    for (let size = 3; size < 33; size += 1) {
      checkpoints.note(tipAt(size))
      await time.advance(250)
    }
    expect(signed.length).toBeGreaterThanOrEqual(6)
    expect(signed).toEqual([...signed].sort((a, b) => a - b))
  })

  it('are tried again each interval while the HSM is away, which is said once, and its return too', async () => {
    const { checkpoints, time, signed, hsm, telemetry } = create()
    hsm.away = true
    checkpoints.note(tipAt(5))
    await time.advance(10_000)
    expect(signed).toEqual([])
    const lines = () => telemetry.lines.map(({ message }) => message)
    expect(lines()).toEqual(['no checkpoint was signed'])
    hsm.away = false
    await time.advance(1_000)
    expect(signed).toEqual([5])
    expect(lines()).toEqual(['no checkpoint was signed', 'checkpoints are signed again'])
  })

  it('by another key than the root’s in force are thrown away', async () => {
    const anchor = createAnchor('a')
    const { checkpoints, time, telemetry } = create({
      anchors: [anchor.anchor],
      sign: async ({ checkpoint }) => signOwnCheckpoint(privateKeyOf('another'), checkpoint),
    })
    checkpoints.note(tipAt(5))
    await time.advance(1_000)
    expect(anchor.kept).toEqual([])
    expect(checkpoints.latest()).toBeUndefined()
    expect(telemetry.lines.map(({ message }) => message)).toEqual(['no checkpoint was signed'])
  })

  it('go to witnesses less often, and cover the newest commit at the end for everybody', async () => {
    const [plain, witness] = [createAnchor('plain'), createAnchor('witness', true)]
    const tree = { consistency: () => [], flush: async () => undefined }
    const { checkpoints, time } = create({
      anchors: [plain.anchor, witness.anchor],
      tree: () => tree,
    })
    for (let size = 3; size < 18; size += 1) {
      checkpoints.note(tipAt(size))
      await time.advance(1_000)
    }
    expect(plain.kept.length).toBeGreaterThan(10)
    expect(witness.kept.length).toBeLessThanOrEqual(2)
    checkpoints.note(tipAt(20))
    await checkpoints.close()
    expect([plain.kept.at(-1), witness.kept.at(-1)]).toEqual([20, 20])
    checkpoints.note(tipAt(21))
    await time.advance(60_000)
    expect(plain.kept.at(-1)).toBe(20)
  })

  it('are one round at a time, however slow an anchor is', async () => {
    const slow = createAnchor('slow')
    let release = (): void => undefined
    slow.state.wait = new Promise((resolve) => {
      release = resolve
    })
    const { checkpoints, time, signed } = create({ anchors: [slow.anchor] })
    checkpoints.note(tipAt(4))
    await time.advance(1_000)
    for (let size = 5; size < 10; size += 1) {
      checkpoints.note(tipAt(size))
      await time.advance(1_000)
    }
    expect(signed).toEqual([4])
    release()
    await time.advance(0)
    await time.advance(1_000)
    expect(slow.kept).toEqual([4, 9])
  })
})

describe('a checkpoint counts as anchored', () => {
  const anchoredOf = async (required: number, requiredWitnesses: number, answers: readonly Kept['kind'][]) => {
    const anchors = answers.map((_, at) => createAnchor(`anchor ${at}`, at >= 2))
    const tree = { consistency: () => [], flush: async () => undefined }
    const { checkpoints, time } = create({
      anchors: anchors.map(({ anchor }) => anchor),
      required,
      requiredWitnesses,
      witnessIntervalMs: 1_000,
      tree: () => tree,
    })
    checkpoints.note(tipAt(5))
    await time.advance(1_000)
    for (const [at, kind] of answers.entries()) {
      const anchor = anchors[at]
      if (anchor !== undefined && kind !== 'kept') anchor.state.answer = { kind, why: 'as told' }
    }
    checkpoints.note(tipAt(9))
    await time.advance(1_000)
    return checkpoints.status()
  }

  it.each([
    ['all of four', 4, 0, ['kept', 'kept', 'kept', 'kept'], 9],
    ['one of four', 1, 0, ['kept', 'unanswered', 'unanswered', 'unanswered'], 9],
    ['not two of four', 2, 0, ['kept', 'unanswered', 'ahead', 'disagrees'], 5],
    ['two, but no witness', 2, 1, ['kept', 'kept', 'unanswered', 'unanswered'], 5],
    ['a witness, but not two anchors', 2, 1, ['unanswered', 'unanswered', 'kept', 'unanswered'], 5],
    ['one witness of two and one more', 2, 1, ['kept', 'unanswered', 'unanswered', 'kept'], 9],
    ['both witnesses', 2, 2, ['unanswered', 'unanswered', 'kept', 'kept'], 9],
  ] as const)('when %s have it', async (_what, required, requiredWitnesses, answers, size) => {
    const status = await anchoredOf(required, requiredWitnesses, answers)
    expect(status).toMatchObject({ signed: { size: 9, ageMs: 0 }, anchored: { size } })
    expect(status.anchors.map(({ failing }) => failing ?? 'kept')).toEqual(answers)
  })

  it('by nobody while too few have any', () => {
    const { checkpoints } = create({ anchors: [createAnchor('a').anchor] })
    expect(checkpoints.status()).toEqual({ anchors: [{ name: 'a' }] })
  })
})
