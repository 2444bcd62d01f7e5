import { describe, expect, test } from 'vitest'
import type { Event } from '../../../schemas/events.ts'
import { LIMITS } from '../../../schemas/limits.ts'
import type { Principal } from '../../../src/core/ports.ts'
import { fail, ok, type Result } from '../../../src/core/result.ts'
import type { Circumstances, Subject } from '../../../src/pipeline/envelope.ts'
import { createRefusals } from '../../../src/pipeline/refusals.ts'
import { createFakeTime } from '../../fixtures/fakeTime.ts'
import { createPipelineStack, toCode } from '../../fixtures/pipelineStack.ts'
import { createTelemetryLog } from '../../fixtures/telemetryLog.ts'

interface Written {
  readonly who: string
  readonly code: string | undefined
  readonly data: Event['data']
}

const setUp = (answer: () => Result<true> = () => ok(true)) => {
  const time = createFakeTime()
  const log = createTelemetryLog()
  const written: Written[] = []
  const append = async (subject: Subject, body: { readonly data: Event['data'] }, { code }: Circumstances) => {
    written.push({ who: `${subject.principal.type} ${subject.principal.id}`, code, data: body.data })
    return answer()
  }
  return { time, log, written, refusals: createRefusals({ origin: 'o', scheduler: time, telemetry: log, append }) }
}

const user = (id: string, type = 'User'): Principal => ({ id, type, attributes: {}, method: 'fake' })

describe('refusals of a known caller', () => {
  test('are recorded one by one up to ten a second, then counted by code', async () => {
    const { refusals, time, written } = setUp()
    const each = Array.from({ length: 13 }, () => refusals.shouldRecord(user('a'), 'INVALID_REQUEST'))
    expect(each.filter(Boolean).length).toBe(LIMITS.refusalsRecordedPerPrincipalPerSecond)
    refusals.shouldRecord(user('a'), 'TOO_LARGE')
    await time.advance(1_000)
    expect(written).toEqual([
      { who: 'User a', code: 'INVALID_REQUEST', data: { count: 3 } },
      { who: 'User a', code: 'TOO_LARGE', data: { count: 1 } },
    ])
    expect(refusals.shouldRecord(user('a'), 'INVALID_REQUEST')).toBe(true)
  })

  test('do not use up the share of another caller, nor of one with the same id and another type', () => {
    const { refusals } = setUp()
    for (let n = 0; n < 11; n += 1) refusals.shouldRecord(user('a'), 'INVALID_REQUEST')
    expect(refusals.shouldRecord(user('a'), 'INVALID_REQUEST')).toBe(false)
    expect(refusals.shouldRecord(user('b'), 'INVALID_REQUEST')).toBe(true)
    expect(refusals.shouldRecord(user('a', 'Service'), 'INVALID_REQUEST')).toBe(true)
  })

  test('of more callers than are tracked are counted together, whatever a caller is named', async () => {
    const { refusals, time, written } = setUp()
    for (let n = 0; n < LIMITS.refusalPrincipalsTrackedMax; n += 1)
      refusals.shouldRecord(user(n === 0 ? 'others' : `u${n}`), 'INVALID_REQUEST')
    for (let n = 0; n < 15; n += 1) refusals.shouldRecord(user(`late${n}`), 'INVALID_REQUEST')
    await time.advance(1_000)
    expect(written).toEqual([{ who: 'Service others', code: 'INVALID_REQUEST', data: { count: 5 } }])
  })

  test('that were counted but cannot be recorded are told in the log, and the next are still tried', async () => {
    const { refusals, time, written, log } = setUp(() => fail('LEDGER_UNAVAILABLE', 'away'))
    refusals.countAuthentication('missing')
    for (let n = 0; n < 11; n += 1) refusals.shouldRecord(user('a'), 'INVALID_REQUEST')
    await time.advance(1_000)
    expect(written.length).toBe(2)
    expect(log.lines.map(({ level }) => level)).toEqual(['error', 'error'])
  })
})

describe('failed authentications', () => {
  test('are one record a second, by reason', async () => {
    const { refusals, time, written } = setUp()
    for (let n = 0; n < 1_000; n += 1) refusals.countAuthentication(n % 4 === 0 ? 'expired' : 'wrong_token')
    await time.advance(999)
    expect(written).toEqual([])
    await time.advance(1)
    expect(written.map(({ code, data }) => ({ code, data }))).toEqual([
      {
        code: 'UNAUTHENTICATED',
        data: {
          count: 1_000,
          reasons: [
            { reason: 'expired', count: 250 },
            { reason: 'wrong_token', count: 750 },
          ],
        },
      },
    ])
    await time.advance(5_000)
    expect(written.length).toBe(1)
    expect(time.timersPending).toBe(0)
  })

  test('are recorded at once by a flush', async () => {
    const { refusals, written } = setUp()
    refusals.countAuthentication('missing')
    await refusals.flush()
    expect(written.length).toBe(1)
  })

  test('through the pipeline stand in the ledger as one event, and the caller is told no reason', async () => {
    await using stack = await createPipelineStack()
    const answers = []
    for (const token of ['wrong', 'two words', undefined, 'wrong'])
      answers.push(await stack.send('GetLedgerHead', {}, { token }))
    expect(new Set(answers.map((answer) => (answer.ok ? '' : answer.error.message))).size).toBe(1)
    expect(answers.map(toCode)).toEqual(Array.from({ length: 4 }, () => 'UNAUTHENTICATED'))
    await stack.pipeline.flush()
    expect(stack.ports.events).toMatchObject([
      {
        type: 'AuthenticationRefused',
        data: {
          count: 4,
          reasons: [
            { reason: 'wrong_token', count: 2 },
            { reason: 'malformed', count: 1 },
            { reason: 'unknown_kind', count: 1 },
          ],
        },
      },
    ])
    expect(stack.ledger.status().seq).toBe(3)
  })
})
