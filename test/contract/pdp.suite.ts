import { describe, expect, it } from 'vitest'
import { LIMITS } from '../../schemas/limits.ts'
import type { PolicyDecisionPoint, Question } from '../../src/core/ports.ts'

/** A PDP in a world where `alice` may encrypt with any key that exists and nobody may do anything else. */
export interface PdpHarness {
  readonly pdp: PolicyDecisionPoint
  /** Puts the PDP where it has no verdict to give. */
  breakIt(): Promise<void>
  dispose(): Promise<void>
}

export const toQuestion = (over: Partial<Question> = {}): Question => ({
  request_id: 'req-1',
  principal: { id: 'alice', type: 'User', attributes: {} },
  action: 'kms:Encrypt',
  resource: {
    type: 'Key',
    id: `lid_${'a'.repeat(64)}`,
    attributes: {
      exists: true,
      spec: 'AES_256',
      usage: 'ENCRYPT_DECRYPT',
      state: 'enabled',
      effective_state: 'enabled',
      backend: 'softhsm',
      identity_tags: { _kms_key_id: '0192f0c1-2222-7000-8000-000000000000' },
      user_tags: {},
    },
  },
  context: { transport: 'nats' },
  ...over,
})

/** What the pipeline may expect of any PDP, real or double. */
export const describePdp = (name: string, open: () => Promise<PdpHarness>): void => {
  const withPdp = async (use: (harness: PdpHarness) => Promise<void>): Promise<void> => {
    const harness = await open()
    try {
      await use(harness)
    } finally {
      await harness.dispose()
    }
  }
  const signal = () => AbortSignal.timeout(LIMITS.pdpTimeoutMs * 5)
  const bob = { id: 'bob', type: 'User', attributes: {} }

  describe(`${name} as a policy decision point`, () => {
    it('permits what a policy permits', () =>
      withPdp(async ({ pdp }) => {
        expect((await pdp.decide(toQuestion(), signal())).decision).toBe('permit')
      }))

    it.each([
      ['another principal', toQuestion({ principal: bob })],
      ['another action', toQuestion({ action: 'kms:Decrypt' })],
      [
        'a key that does not exist',
        toQuestion({ resource: { type: 'Key', id: 'alias/none', attributes: { exists: false } } }),
      ],
      [
        'the service',
        toQuestion({ action: 'kms:ListKeys', resource: { type: 'Service', id: 'o', attributes: { exists: true } } }),
      ],
    ])('denies %s where nothing permits it', (_, question) =>
      withPdp(async ({ pdp }) => {
        expect((await pdp.decide(question, signal())).decision).toBe('deny')
      }),
    )

    it('gives verdicts that fit into the record', () =>
      withPdp(async ({ pdp }) => {
        for (const question of [toQuestion(), toQuestion({ principal: bob })]) {
          const verdict = await pdp.decide(question, signal())
          expect(verdict.pdp).toMatch(/^[a-z]{1,32}$/)
          expect(verdict.policy_version).toMatch(/^.{1,128}$/)
          expect(verdict.reasons.length).toBeLessThanOrEqual(LIMITS.verdictReasonsMax)
          for (const reason of verdict.reasons) expect(reason).toMatch(/^.{1,128}$/)
          expect(verdict.obligations).toEqual([])
        }
      }))

    it('says the same to the same question under another request id', () =>
      withPdp(async ({ pdp }) => {
        const first = await pdp.decide(toQuestion(), signal())
        expect(await pdp.decide(toQuestion({ request_id: 'req-2' }), signal())).toEqual(first)
      }))

    it('keeps 100 questions in flight apart', () =>
      withPdp(async ({ pdp }) => {
        const decisions = await Promise.all(
          Array.from({ length: 100 }, async (_, n) => {
            const question = n % 2 === 0 ? toQuestion() : toQuestion({ principal: bob })
            return (await pdp.decide(question, signal())).decision
          }),
        )
        expect(decisions).toEqual(Array.from({ length: 100 }, (_, n) => (n % 2 === 0 ? 'permit' : 'deny')))
      }))

    it('gives no verdict to a request that was aborted', () =>
      withPdp(async ({ pdp }) => {
        await expect(pdp.decide(toQuestion(), AbortSignal.abort())).rejects.toThrow()
      }))

    it('rejects, and does not permit, when it has no verdict', () =>
      withPdp(async ({ pdp, breakIt }) => {
        await breakIt()
        await expect(pdp.decide(toQuestion(), signal())).rejects.toThrow()
      }))

    it('says that it is ready', () =>
      withPdp(async ({ pdp }) => {
        expect(pdp.isReady()).toBe(true)
      }))
  })
}
