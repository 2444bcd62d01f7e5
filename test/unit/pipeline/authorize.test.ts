import { describe, expect, test } from 'vitest'
import type { PolicyDecisionPoint, Question } from '../../../src/core/ports.ts'
import { createAsk, mergeDecisions } from '../../../src/pipeline/authorize.ts'
import { createFakePdp } from '../../fixtures/fakePdp.ts'
import { createTelemetryLog } from '../../fixtures/telemetryLog.ts'

const QUESTION: Question = {
  request_id: 'r',
  principal: { id: 'alice', type: 'User', attributes: {} },
  action: 'kms:Encrypt',
  resource: { type: 'Service', id: 'o', attributes: { exists: true } },
  context: { transport: 'nats' },
}
const PERMIT = { decision: 'permit', pdp: 'p', policy_version: '1', reasons: ['a'], obligations: [] }
const never = () => new AbortController().signal

/** A PDP on the other side of a wire: what it answers is anybody's guess. */
const answering = (answer: unknown): PolicyDecisionPoint => ({
  isReady: () => true,
  decide: async () => JSON.parse(JSON.stringify(answer ?? null)),
})

const setUp = (pdp: PolicyDecisionPoint, timeoutMs = 20) => {
  const log = createTelemetryLog()
  return { log, ask: createAsk(pdp, log, timeoutMs) }
}

describe('a verdict', () => {
  test('that permits is a permit, with what the record shows of it', async () => {
    const { ask } = setUp(answering(PERMIT))
    const { decision: _decision, ...rest } = PERMIT
    expect(await ask(QUESTION, never())).toEqual({ permitted: true, decision: rest })
  })

  test.each([
    ['nothing', undefined],
    ['true', true],
    ['the word', 'permit'],
    ['a list', [PERMIT]],
    ['another spelling', { ...PERMIT, decision: 'PERMIT' }],
    ['a boolean decision', { ...PERMIT, decision: true }],
    ['no pdp', { ...PERMIT, pdp: undefined }],
    ['a pdp of 129 characters', { ...PERMIT, pdp: 'x'.repeat(129) }],
    ['a numeric version', { ...PERMIT, policy_version: 1 }],
    ['a version of 129 characters', { ...PERMIT, policy_version: 'x'.repeat(129) }],
    ['no reasons', { ...PERMIT, reasons: undefined }],
    ['reasons as one text', { ...PERMIT, reasons: 'a' }],
    ['17 reasons', { ...PERMIT, reasons: Array.from({ length: 17 }, () => 'a') }],
    ['a reason of 129 characters', { ...PERMIT, reasons: ['x'.repeat(129)] }],
    ['a reason that is no text', { ...PERMIT, reasons: [1] }],
    ['no obligations', { ...PERMIT, obligations: undefined }],
  ])('that is malformed is no permit: %s', async (_what, answer) => {
    const { ask, log } = setUp(answering(answer))
    expect(await ask(QUESTION, never())).toEqual({ permitted: false, code: 'PDP_UNAVAILABLE' })
    expect(log.lines).toMatchObject([{ level: 'error', fields: { why: 'malformed', request_id: 'r' } }])
  })

  test('that permits under an obligation is a denial: none can be fulfilled', async () => {
    const { ask } = setUp(answering({ ...PERMIT, obligations: ['watermark'] }))
    expect(await ask(QUESTION, never())).toMatchObject({ permitted: false, code: 'ACCESS_DENIED' })
  })

  test('more than is asked for does not reach the record', async () => {
    const { ask } = setUp(answering({ ...PERMIT, note: 'private' }))
    expect(JSON.stringify(await ask(QUESTION, never()))).not.toContain('private')
  })
})

describe('waiting for a verdict', () => {
  test('ends at the deadline with a denial, and aborts the PDP', async () => {
    let inner: AbortSignal | undefined
    const pdp: PolicyDecisionPoint = {
      isReady: () => true,
      decide(_question, signal) {
        inner = signal
        return new Promise(() => undefined)
      },
    }
    const { ask } = setUp(pdp)
    expect(await ask(QUESTION, never())).toEqual({ permitted: false, code: 'PDP_UNAVAILABLE' })
    expect(inner?.aborted).toBe(true)
  })

  test('a PDP that throws before it promises anything is a denial too', async () => {
    const pdp: PolicyDecisionPoint = {
      isReady: () => true,
      decide() {
        throw new Error('planted-secret')
      },
    }
    const { ask, log } = setUp(pdp)
    expect(await ask(QUESTION, never())).toEqual({ permitted: false, code: 'PDP_UNAVAILABLE' })
    expect(log.text()).not.toContain('planted-secret')
  })

  test('ends when the request does, which is not told as a silence of the PDP', async () => {
    const { ask, log } = setUp(createFakePdp('hang'), 10_000)
    const caller = new AbortController()
    const asked = ask(QUESTION, caller.signal)
    caller.abort()
    await expect(asked).rejects.toThrow()
    await expect(ask(QUESTION, caller.signal)).rejects.toThrow()
    expect(log.lines).toEqual([])
  })
})

describe('several verdicts', () => {
  test('make one decision with the reasons of all, each once, 16 at most', () => {
    const of = (...reasons: string[]) => ({ pdp: 'p', policy_version: '1', reasons, obligations: [] })
    expect(mergeDecisions([])).toBeUndefined()
    expect(mergeDecisions([of('a', 'b'), of('b', 'c')])?.reasons).toEqual(['a', 'b', 'c'])
    const many = Array.from({ length: 10 }, (_, n) => `${n}`)
    expect(mergeDecisions([of(...many), of(...many.map((n) => `x${n}`))])?.reasons.length).toBe(16)
  })
})
