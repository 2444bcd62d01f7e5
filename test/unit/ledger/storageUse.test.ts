import { describe, expect, it } from 'vitest'
import { createStorageWatch, type StorageUse } from '../../../src/ledger/storageUse.ts'
import { createFakeTime } from '../../fixtures/fakeTime.ts'
import { createTelemetryLog } from '../../fixtures/telemetryLog.ts'

const use = (usedBytes: number): StorageUse => ({ usedBytes, limitBytes: 100, isWarning: usedBytes >= 70 })

/** A watch that is told this, one answer at each look, and what it says after each. */
const watch = async (answers: readonly (StorageUse | undefined | Error)[]) => {
  const [time, log] = [createFakeTime(), createTelemetryLog()]
  let at = 0
  const watching = createStorageWatch({
    async read() {
      const answer = answers[at++]
      if (answer instanceof Error) throw answer
      return answer
    },
    intervalMs: 1000,
    scheduler: time,
    telemetry: log,
  })
  const seen: (number | undefined)[] = []
  await time.advance(0)
  for (const _ of answers) {
    seen.push(watching.use()?.usedBytes)
    await time.advance(1000)
  }
  watching.close()
  expect(time.timersPending).toBe(0)
  return { seen, warned: log.lines.filter(({ level }) => level === 'warn').map(({ fields }) => fields['percent']) }
}

describe('the watch over the storage', () => {
  it('asks at once and then again and again, and warns once when a bound is crossed', async () => {
    const { seen, warned } = await watch([use(10), use(69), use(70), use(71), use(99)])
    expect(seen).toEqual([10, 69, 70, 71, 99])
    expect(warned).toEqual([70])
  })

  it('warns again after there was room in between', async () => {
    expect((await watch([use(80), use(30), use(75)])).warned).toEqual([80, 75])
  })

  it('stands by what was told last while nobody answers, and is silent until somebody does', async () => {
    const { seen, warned } = await watch([new Error('away'), use(72), new Error('away'), undefined, use(73)])
    expect(seen).toEqual([undefined, 72, 72, 72, 73])
    expect(warned).toEqual([72])
  })
})
